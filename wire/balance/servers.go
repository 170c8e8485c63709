package balance

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// What a call's outcome tells of its server, for the breaker.
var (
	errServer  = errors.New("server failed")
	errUnclear = errors.New("outcome says nothing of the server")
)

// Servers that have not been called for keepFor are forgotten once more than keepServers are known.
const (
	keepServers = 64
	keepFor     = 10 * time.Minute
)

// server is what is known of one.
type server struct {
	url      string
	breaker  *gobreaker.TwoStepCircuitBreaker[struct{}]
	inFlight int
	turn     uint64    // when it was picked last, for ties
	used     time.Time // when it was picked last, for forgetting
}

type servers struct {
	cfg Config

	mu    sync.Mutex
	known map[string]*server
	turn  uint64
}

func newServers(cfg Config) *servers { return &servers{cfg: cfg, known: map[string]*server{}} }

// picked is a server that a call was counted in for. done must be called once.
type picked struct {
	url  string
	done func(outcome error)
}

// pick chooses the least busy of the servers that were not tried and whose breaker lets a call pass; among equals the one
// that was picked longest ago. others tells whether there are more to go to.
func (s *servers) pick(urls []string, tried map[string]bool) (p *picked, others, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	candidates := make([]*server, 0, len(urls))
	for _, url := range urls {
		if !tried[url] {
			candidates = append(candidates, s.serverLocked(url))
		}
	}
	slices.SortFunc(candidates, func(a, b *server) int {
		return cmp.Or(cmp.Compare(a.inFlight, b.inFlight), cmp.Compare(a.turn, b.turn))
	})
	for i, c := range candidates {
		done, err := c.breaker.Allow()
		if err != nil {
			continue
		}
		s.turn++
		c.turn, c.used = s.turn, time.Now()
		c.inFlight++
		others = slices.ContainsFunc(candidates[i+1:], func(o *server) bool { return o.breaker.State() != gobreaker.StateOpen })
		return &picked{c.url, func(outcome error) { s.finish(c, done, outcome) }}, others, true
	}
	return nil, false, false
}

func (s *servers) finish(c *server, done func(error), outcome error) {
	s.mu.Lock()
	c.inFlight--
	s.mu.Unlock()
	done(outcome)
}

func (s *servers) serverLocked(url string) *server {
	if c, ok := s.known[url]; ok {
		return c
	}
	if len(s.known) >= keepServers {
		s.forgetLocked()
	}
	c := &server{url: url, used: time.Now()}
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

func (s *servers) forgetLocked() {
	for url, c := range s.known {
		if c.inFlight == 0 && time.Since(c.used) > keepFor {
			delete(s.known, url)
			s.cfg.OnBreaker(url, -1)
		}
	}
}
