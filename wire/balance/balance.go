// Package balance spreads calls over servers that are equal to the caller: the least busy one first, those of the caller's zone
// before others, another one when a call fails in a way that another may answer or, for questions, takes unusually long.
//
//	servers ─► not ejected ─► near before far, unless near ones are busy ─► least busy ─► breaker lets it pass ─► call
//	              ▲                                                                            │ no answer after the p95:
//	   outliers: failures in a row, share of failures,                                         ▼ a question goes to a second
//	   latency, all compared with the other servers ◄──────────────── outcome, latency ◄── server as well (hedge)
//
// Guarantees: at most Config.Attempts tries a call, all within its deadline; a server that can't be reached, or that
// stays silent, is left alone for Config.OpenFor after a few failures (its circuit breaker), and longer each time if it is worse than the
// others (ejection); at least half of the servers, and one, are never ejected; retries and hedges altogether stay below a share of the
// calls, so that they can't make an overload worse. What a server answers, be it an error, never opens its breaker: the server is alive. It may
// eject it, though, if the others do better.
//
// A Balancer starts no goroutines but for hedges, which end with their call, and is safe for concurrent use.
package balance

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// Config configures a Balancer. Zero values give the defaults named here.
type Config struct {
	Attempts  int           // tries a call; 3
	Failures  int           // failures in a row that open a breaker; 3
	OpenFor   time.Duration // how long a breaker stays open before one call may try again; 1 s
	HangAfter time.Duration // silence that counts as a failure of the server rather than a short deadline; 2 s
	Backoff   time.Duration // before a server is tried again by the same call, doubled each time, jittered; 25 ms

	Zone       string        // of the caller: servers of this zone come first; "" for none
	HedgeShare float64       // hedges a question, altogether; 0 for none
	HedgeLeast time.Duration // a hedge never comes sooner than this; 5 ms
	EjectFor   time.Duration // how long an outlier is left alone at first, doubled each time up to maxEjectFactor; 5 s

	OnRetry   func(code wire.Code)                // told of every retry and what made it necessary
	OnBreaker func(url string, open int)          // told when a breaker closes (0), half-opens (1), opens (2) or is forgotten (−1)
	OnHedge   func(kind string, won bool)         // told how each hedge ended
	OnEject   func(url string, reason EjectCause) // told when a server is ejected, and with Rejoined when that is over
}

func (c Config) withDefaults() Config {
	setDefault(&c.Attempts, 3)
	setDefault(&c.Failures, 3)
	setDefault(&c.OpenFor, time.Second)
	setDefault(&c.HangAfter, 2*time.Second)
	setDefault(&c.Backoff, 25*time.Millisecond)
	setDefault(&c.HedgeLeast, 5*time.Millisecond)
	setDefault(&c.EjectFor, 5*time.Second)
	if c.OnRetry == nil {
		c.OnRetry = func(wire.Code) {}
	}
	if c.OnBreaker == nil {
		c.OnBreaker = func(string, int) {}
	}
	if c.OnHedge == nil {
		c.OnHedge = func(string, bool) {}
	}
	if c.OnEject == nil {
		c.OnEject = func(string, EjectCause) {}
	}
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Server is one of those that may answer.
type Server struct{ URL, Zone string }

// Balancer keeps what is known of the servers.
type Balancer struct {
	cfg     Config
	retries *budget
	hedges  *budget
	servers *servers
}

// New returns a balancer that knows nothing yet.
func New(cfg Config) *Balancer {
	cfg = cfg.withDefaults()
	return &Balancer{
		cfg: cfg, retries: newBudget(retriesPerCall, retriesMost), hedges: newBudget(cfg.HedgeShare, hedgesMost),
		servers: newServers(cfg),
	}
}

// question is one call: what kind it is of, who may answer, and how to ask.
type question struct {
	kind    string // latencies are compared within a kind
	servers func() []Server
	ask     func(ctx context.Context, url string) (any, error)
	hedged  bool
}

// Do calls one of the servers, which list names anew before each try, and others while that may help. It returns call's last
// error, or a *wire.Problem unavailable if there was no server to call. Two tries never overlap.
func (b *Balancer) Do(ctx context.Context, kind string, list func() []Server, call func(ctx context.Context, url string) error) error {
	_, err := b.run(ctx, &question{kind: kind, servers: list, ask: func(ctx context.Context, url string) (any, error) {
		return nil, call(ctx, url)
	}})
	return err
}

// Ask is Do for a question that may be put to two servers at once, and returns the first good answer: call must bear to run twice at a
// time. The slower one's context is cancelled, and Ask returns when both have ended.
func Ask[T any](ctx context.Context, b *Balancer, kind string, list func() []Server, call func(ctx context.Context, url string) (T, error)) (T, error) {
	out, err := b.run(ctx, &question{kind: kind, servers: list, hedged: b.cfg.HedgeShare > 0, ask: func(ctx context.Context, url string) (any, error) {
		return call(ctx, url)
	}})
	if err != nil {
		var none T
		return none, err
	}
	return out.(T), nil
}

func (b *Balancer) run(ctx context.Context, q *question) (any, error) {
	b.retries.called()
	if q.hedged {
		b.hedges.called()
	}
	var room [4]string
	tried := room[:0]
	var last error
	for attempt := 1; ; attempt++ {
		list := q.servers()
		s := b.servers.pick(q.kind, list, tried, lastResort)
		if s == nil && len(tried) > 0 && again(last) {
			if b.pause(ctx, attempt) != nil {
				return nil, last
			}
			tried = tried[:0]
			s = b.servers.pick(q.kind, list, tried, lastResort)
		}
		if s == nil {
			return nil, b.none(last, len(list))
		}
		if attempt > 1 {
			if !b.retries.take() {
				s.end(errUnclear, notCalled)
				return nil, last
			}
			b.cfg.OnRetry(wire.CodeOf(last))
		}
		tried = append(tried, s.url)
		var out any
		if out, last = b.try(ctx, q, s, attempt < b.cfg.Attempts, &tried); last == nil {
			return out, nil
		}
		if attempt >= b.cfg.Attempts || !wire.Retryable(wire.CodeOf(last)) || ctx.Err() != nil {
			return nil, last
		}
	}
}

// again tells whether the server that failed may answer if it is asked once more.
func again(err error) bool {
	code := wire.CodeOf(err)
	return code == wire.CodeUnavailable || code == wire.CodeTermChanged
}

func (b *Balancer) none(last error, listed int) error {
	switch {
	case last != nil:
		return last
	case listed == 0:
		return wire.NewProblem(wire.CodeUnavailable, "no server is registered").WithRetryAfter(b.cfg.OpenFor)
	}
	return wire.NewProblem(wire.CodeUnavailable, "none of %d servers could be reached a moment ago", listed).WithRetryAfter(b.cfg.OpenFor)
}

// pause waits before servers are tried a second time.
func (b *Balancer) pause(ctx context.Context, attempt int) error {
	most := b.cfg.Backoff << min(attempt-1, 10)
	return wait.For(ctx, most/2+rand.N(most/2+1))
}

// try makes one call, and perhaps a hedge of it. It leaves half of the time to a later one if there is another server to go to.
func (b *Balancer) try(ctx context.Context, q *question, s *picked, more bool, tried *[]string) (any, error) {
	if deadline, ok := ctx.Deadline(); ok && more && s.others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	if q.hedged && s.others && s.usual > 0 {
		return b.hedge(ctx, q, s, tried)
	}
	return b.call(ctx, q, s)
}

// call asks the server that was picked, and notes what that tells of it.
func (b *Balancer) call(ctx context.Context, q *question, s *picked) (out any, err error) {
	begin, outcome := time.Now(), errUnclear
	defer func() { s.end(outcome, time.Since(begin)) }() // also when call panics
	out, err = q.ask(ctx, s.url)
	outcome = b.judge(ctx, err, time.Since(begin))
	return out, err
}

// failing are the answers that another server might not have to give: too many of them make an outlier.
var failing = []wire.Code{wire.CodeUnavailable, wire.CodeInternal, wire.CodeOverloaded, wire.CodeSchema}

// judge says what a call's outcome tells of its server: nil, errServer, errAnswer, or errUnclear.
func (b *Balancer) judge(ctx context.Context, err error, took time.Duration) error {
	p, ok := errors.AsType[*wire.Problem](err)
	switch {
	case err == nil || !ok:
		return nil
	case p.Cause == nil: // the server's own answer
		if slices.Contains(failing, p.Code) {
			return errAnswer
		}
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return errUnclear
	case p.Code == wire.CodeUnavailable:
		return errServer
	case p.Code == wire.CodeDeadline && took >= b.cfg.HangAfter:
		return errServer
	}
	return errUnclear
}
