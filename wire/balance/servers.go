package balance

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// What a call's outcome tells of its server.
var (
	errServer  = errors.New("server failed")
	errAnswer  = errors.New("server answered that it failed") // of interest to outliers only, not to the breaker
	errUnclear = errors.New("outcome says nothing of the server")
)

// Servers that have not been called for keepFor are forgotten once more than keepServers are known.
const (
	keepServers = 64
	keepFor     = 10 * time.Minute
)

// A server of another zone counts as twice as busy, and as busy with spillAt calls more: so near ones are chosen until they are that busy.
const spillAt = 16

// server is what is known of one.
type server struct {
	url      string
	breaker  *gobreaker.TwoStepCircuitBreaker[struct{}]
	inFlight int
	turn     uint64    // when it was picked last, for ties
	used     time.Time // when it was picked last, for forgetting
	record   record
}

type servers struct {
	cfg Config

	mu        sync.Mutex // guards what follows, and the servers
	known     map[string]*server
	latencies map[string]*latency // by kind of call; there are as many as the program has
	turn      uint64
}

func newServers(cfg Config) *servers {
	return &servers{cfg: cfg, known: map[string]*server{}, latencies: map[string]*latency{}}
}

// picked is a server that a call was counted in for. end must be called once.
type picked struct {
	url    string
	usual  time.Duration // what 95 of 100 calls of this kind take at most, 0 if that is not known
	others bool          // there are more to go to

	all     *servers
	server  *server
	kind    string
	outcome func(error) // for the breaker
}

// Which servers pick may choose.
const (
	lastResort = false // ejected ones as well, if there are no others
	goodOnly   = true
)

// candidate is a server that may be picked. Less weight is better.
type candidate struct {
	*server
	ejected bool
	weight  int
}

// pick chooses the least busy of the servers that were not tried and whose breaker lets a call pass, near ones and those that are not
// ejected first; among equals the one that was picked longest ago. It returns nil if there is none.
func (s *servers) pick(kind string, list []Server, not []string, onlyGood bool) *picked {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var room [8]candidate
	candidates := s.candidatesLocked(room[:0], list, now)
	s.examineLocked(candidates, now)
	slices.SortFunc(candidates, func(a, b candidate) int {
		if a.ejected != b.ejected {
			if a.ejected {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.turn, b.turn))
	})
	for i, c := range candidates {
		if slices.Contains(not, c.url) || onlyGood && c.ejected {
			continue
		}
		outcome, err := c.breaker.Allow()
		if err != nil {
			continue
		}
		s.turn++
		c.turn, c.used = s.turn, now
		c.inFlight++
		p := &picked{url: c.url, all: s, server: c.server, kind: kind, outcome: outcome}
		p.others = slices.ContainsFunc(candidates[i+1:], func(o candidate) bool {
			return !slices.Contains(not, o.url) && o.breaker.State() != gobreaker.StateOpen
		})
		if l := s.latencies[kind]; l != nil {
			p.usual = l.p95
		}
		return p
	}
	return nil
}

func (s *servers) candidatesLocked(out []candidate, list []Server, now time.Time) []candidate {
	for _, one := range list {
		c := candidate{server: s.serverLocked(one.URL, now)}
		c.weight = c.inFlight
		if s.cfg.Zone != "" && one.Zone != s.cfg.Zone {
			c.weight = 2*c.inFlight + spillAt
		}
		out = append(out, c)
	}
	return out
}

// notCalled is what end is told of a server that was picked in vain.
const notCalled = -1

// end counts the call out and notes what it tells of its server.
func (p *picked) end(outcome error, took time.Duration) {
	now := time.Now()
	p.all.mu.Lock()
	p.server.inFlight--
	if took >= 0 {
		p.all.observeLocked(p.server, p.kind, outcome, took, now)
	}
	p.all.mu.Unlock()
	if errors.Is(outcome, errAnswer) {
		outcome = nil
	}
	p.outcome(outcome)
}

func (s *servers) observeLocked(c *server, kind string, outcome error, took time.Duration, now time.Time) {
	if outcome == nil || errors.Is(outcome, errUnclear) { // a failure's time is another matter; a call that was given up took that long at least
		l := s.latencies[kind]
		if l == nil {
			l = &latency{since: now}
			s.latencies[kind] = l
		}
		l.observe(now, took)
	}
	c.record.observe(kind, outcome, took, now)
}

func (s *servers) serverLocked(url string, now time.Time) *server {
	if c, ok := s.known[url]; ok {
		return c
	}
	if len(s.known) >= keepServers {
		s.forgetLocked(now)
	}
	c := &server{url: url, used: now, record: record{since: now}}
	c.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         url,
		Timeout:      s.cfg.OpenFor,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= uint32(s.cfg.Failures) },
		IsSuccessful: func(err error) bool { return err == nil },
		IsExcluded:   func(err error) bool { return errors.Is(err, errUnclear) },
		OnStateChange: func(url string, _, to gobreaker.State) {
			s.cfg.OnBreaker(url, int(to))
		},
	})
	s.known[url] = c
	s.cfg.OnBreaker(url, int(gobreaker.StateClosed))
	return c
}

func (s *servers) forgetLocked(now time.Time) {
	for url, c := range s.known {
		if c.inFlight == 0 && now.Sub(c.used) > keepFor {
			delete(s.known, url)
			if c.record.out {
				s.cfg.OnEject(url, Rejoined)
			}
			s.cfg.OnBreaker(url, -1)
		}
	}
}
