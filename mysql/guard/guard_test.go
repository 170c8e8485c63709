package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/quipudb/quipu/mysql/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server stands for a database: it runs statements until they are killed.
type server struct {
	mu      sync.Mutex
	running map[string]bool
	kills   []string
	deaf    bool          // does not do what it is told
	slow    chan struct{} // kills wait for it
}

func (s *server) Look(_ context.Context, t guard.Target) (guard.Sight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return guard.Sight{Running: s.running[t.Mark], RowsExamined: 7}, nil
}

func (s *server) Kill(ctx context.Context, t guard.Target) (guard.Sight, error) {
	if s.slow != nil {
		select {
		case <-s.slow:
		case <-ctx.Done():
			return guard.Sight{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.running[t.Mark]
	if was {
		s.kills = append(s.kills, t.Mark)
	}
	if !s.deaf {
		delete(s.running, t.Mark)
	}
	return guard.Sight{Running: was, RowsExamined: 9}, nil
}

// killed returns the marks of what was killed, in order.
func (s *server) killed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kills)
}

func (s *server) begin(g *guard.Guard, class guard.Class) *guard.Query {
	q := g.Begin(context.Background(), guard.Statement{Text: "SELECT 1", Database: "s1-a", Class: class, Connection: 5, Server: "x", Killer: s})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[q.Mark()] = true
	return q
}

// bubble runs a test in fake time, with a guard that runs.
func bubble(t *testing.T, test func(*testing.T, *guard.Guard, *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := guard.New(guard.Config{Deadlines: map[guard.Class]time.Duration{guard.Point: time.Second}, KillTimeout: 3 * time.Second})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		test(t, g, &server{running: map[string]bool{}})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlinesAreByClass(t *testing.T) {
	bubble(t, func(t *testing.T, g *guard.Guard, s *server) {
		point, admin, write := s.begin(g, guard.Point), s.begin(g, guard.Admin), s.begin(g, guard.Write)
		time.Sleep(1100 * time.Millisecond)
		if running := g.Running(); len(s.killed()) != 1 || s.killed()[0] != point.Mark() || len(running) != 3 || running[0].Ending != guard.Deadline {
			t.Errorf("kills %q, running %+v", s.killed(), running)
		}
		if !point.End(guard.Interrupted) {
			t.Error("the connection of what was killed may be used again")
		}
		time.Sleep(time.Minute)
		if len(s.killed()) != 2 || s.killed()[1] != admin.Mark() || write.Mark() != "" {
			t.Errorf("kills %q, want that of what reads after 30 s and none of what writes", s.killed())
		}
		if err := g.Kill(t.Context(), g.Running()[1].ID); !errors.Is(err, guard.ErrWrite) {
			t.Errorf("kill of a write: got %v", err)
		}
		admin.End(guard.Interrupted)
		if write.End(guard.Done) {
			t.Error("the connection of what was not killed is spoiled")
		}
	})
}

// While a kill is under way its connection is not given back; when it hangs, not for ever.
func TestEndWaitsForAKill(t *testing.T) {
	for name, hangs := range map[string]bool{"answers": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, g *guard.Guard, s *server) {
				s.slow = make(chan struct{})
				q := s.begin(g, guard.Point)
				time.Sleep(1100 * time.Millisecond) // the kill has begun
				ended := make(chan bool)
				go func() { ended <- q.End(guard.Done) }()
				synctest.Wait()
				select {
				case <-ended:
					t.Fatal("ended while the kill was under way")
				default:
				}
				if !hangs {
					close(s.slow)
				}
				begin := time.Now()
				if spoiled := <-ended; !spoiled {
					t.Error("the connection may be used again")
				}
				if waited := time.Since(begin); waited > 3*time.Second || !hangs && waited > 0 {
					t.Errorf("waited %v", waited)
				}
				time.Sleep(10 * time.Second)
			})
		})
	}
}

// What was abandoned is listed until it is dead. What won't die is given up after a while, and told.
func TestAbandonedIsKilledUntilItIsDead(t *testing.T) {
	bubble(t, func(t *testing.T, g *guard.Guard, s *server) {
		s.deaf = true // nobody kills yet
		q := s.begin(g, guard.Point)
		q.Abandon(context.Canceled)
		time.Sleep(100 * time.Millisecond)
		if running := g.Running(); len(running) != 1 || running[0].Ending != guard.Cancelled {
			t.Errorf("running %+v", running)
		}
		s.mu.Lock()
		s.deaf = false
		s.mu.Unlock()
		time.Sleep(time.Second)
		if running := g.Running(); len(running) != 0 {
			t.Errorf("running %+v", running)
		}
		if d := g.Digests(); len(d) != 1 || d[0].Killed != 1 || d[0].MaxExamined != 9 {
			t.Errorf("digests %+v", d)
		}
		s.mu.Lock()
		s.deaf = true
		s.mu.Unlock()
		s.begin(g, guard.Point).Abandon(context.DeadlineExceeded)
		time.Sleep(time.Minute)
		if running := g.Running(); len(running) != 0 || len(s.killed()) > 20 {
			t.Errorf("running %+v after %d kills", running, len(s.killed()))
		}
	})
}

// INV-9: what waits to be killed is bounded, and so are digests.
func TestBounds(t *testing.T) {
	g := guard.New(guard.Config{MaxDigests: 3}) // does not run: nothing is killed
	s := &server{running: map[string]bool{}}
	for range 3000 {
		s.begin(g, guard.Point).Abandon(context.Canceled)
	}
	if n := len(g.Running()); n > 1024 {
		t.Errorf("%d wait", n)
	}
	for i := range 10 {
		q := g.Begin(t.Context(), guard.Statement{Text: fmt.Sprintf("SELECT a%d", i), Class: guard.Point, Killer: s})
		q.End(guard.Done)
	}
	if n := len(g.Digests()); n != 3 {
		t.Errorf("%d digests", n)
	}
}
