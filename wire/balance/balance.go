// Package balance spreads calls over servers that are equal to the caller: the least busy one first, another one when a call
// fails in a way that another may answer.
//
// Guarantees: at most Config.Attempts tries a call, all within its deadline; a server that can't be reached, or that
// stays silent, is left alone for Config.OpenFor after a few failures (its circuit breaker); retries altogether stay
// below a share of the calls, so that they can't make an overload worse. What a server answers, be it an error, never opens
// its breaker: the server is alive.
//
// A Balancer starts no goroutines and is safe for concurrent use.
package balance

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quipudb/quipu/wire"
)

// Config configures a Balancer. Zero values give the defaults named here.
type Config struct {
	Attempts  int           // tries a call; 3
	Failures  int           // failures in a row that open a breaker; 3
	OpenFor   time.Duration // how long a breaker stays open before one call may try again; 1 s
	HangAfter time.Duration // silence that counts as a failure of the server rather than a short deadline; 2 s
	Backoff   time.Duration // before a server is tried again by the same call, doubled each time, jittered; 25 ms

	OnRetry   func(code wire.Code)       // told of every retry and what made it necessary
	OnBreaker func(url string, open int) // told when a breaker closes (0), half-opens (1), opens (2) or is forgotten (−1)
}

func (c Config) withDefaults() Config {
	setDefault(&c.Attempts, 3)
	setDefault(&c.Failures, 3)
	setDefault(&c.OpenFor, time.Second)
	setDefault(&c.HangAfter, 2*time.Second)
	setDefault(&c.Backoff, 25*time.Millisecond)
	if c.OnRetry == nil {
		c.OnRetry = func(wire.Code) {}
	}
	if c.OnBreaker == nil {
		c.OnBreaker = func(string, int) {}
	}
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Balancer keeps what is known of the servers.
type Balancer struct {
	cfg     Config
	budget  *budget
	servers *servers
}

// New returns a balancer that knows nothing yet.
func New(cfg Config) *Balancer {
	cfg = cfg.withDefaults()
	return &Balancer{cfg: cfg, budget: newBudget(), servers: newServers(cfg)}
}

// Do calls one of the servers, which urls lists anew before each try, and others while that may help. It returns call's last
// error, or a *wire.Problem unavailable if there was no server to call.
func (b *Balancer) Do(ctx context.Context, urls func() []string, call func(ctx context.Context, url string) error) error {
	b.budget.called()
	tried := map[string]bool{}
	var last error
	for attempt := 1; ; attempt++ {
		list := urls()
		s, others, ok := b.servers.pick(list, tried)
		if !ok && len(tried) > 0 && again(last) {
			if b.pause(ctx, attempt) != nil {
				return last
			}
			clear(tried)
			s, others, ok = b.servers.pick(list, tried)
		}
		if !ok {
			return b.none(last, len(list))
		}
		if attempt > 1 {
			if !b.budget.take() {
				s.done(errUnclear)
				return last
			}
			b.cfg.OnRetry(wire.CodeOf(last))
		}
		tried[s.url] = true
		last = b.try(ctx, s, others && attempt < b.cfg.Attempts, call)
		if last == nil || attempt >= b.cfg.Attempts || !wire.Retryable(wire.CodeOf(last)) || ctx.Err() != nil {
			return last
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
	timer := time.NewTimer(most/2 + rand.N(most/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try makes one call. It leaves half of the time to a later one if there is another server to go to.
func (b *Balancer) try(ctx context.Context, s *picked, others bool, call func(context.Context, string) error) (err error) {
	attempt, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok && others {
		attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	defer cancel()
	begin, outcome := time.Now(), errUnclear
	defer func() { s.done(outcome) }() // also when call panics
	err = call(attempt, s.url)
	outcome = b.judge(ctx, err, time.Since(begin))
	return err
}

// judge says what a call's outcome tells of its server: nil, errServer, or errUnclear.
func (b *Balancer) judge(ctx context.Context, err error, took time.Duration) error {
	p, ok := errors.AsType[*wire.Problem](err)
	switch {
	case err == nil || !ok:
		return nil
	case p.Cause == nil: // the server's own answer
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
