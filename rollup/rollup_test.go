package rollup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/rollup"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var now = time.Date(2025, 11, 22, 3, 30, 0, 0, time.UTC)

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// shard is a shard without tables: hours and days are complete once they were announced, computed and advanced.
type shard struct {
	mu       sync.Mutex
	hour     int64 // complete before
	day      int64
	stage    int
	epoch    uint64
	owner    string
	fails    []wire.Code // what the next steps fail with
	lostStep bool        // the next step is done, and its answer lost
	leaders  []string
	lists    int // ranked lists to prune
	flood    int // prunings yet to come of lists that grow again at once
}

func (s *shard) state() wire.RollupState {
	return wire.RollupState{Shard: "s1", Epoch: s.epoch, Owner: s.owner, ListsDue: s.lists > 0, Marks: []wire.RollupMark{
		{Resolution: "hour", CompleteBefore: s.hour, ComputingBefore: s.hour}, {Resolution: "day", CompleteBefore: s.day, ComputingBefore: s.day},
	}}
}

func (s *shard) step(r *wire.RollupRequest) (any, *wire.Problem) {
	if len(s.fails) > 0 {
		code := s.fails[0]
		s.fails = s.fails[1:]
		return nil, wire.NewProblem(code, "as told")
	}
	if r.Epoch != s.epoch || r.Owner != s.owner {
		return nil, wire.NewProblem(wire.CodeFenced, "%s leads with %d", s.owner, s.epoch)
	}
	mark, size, name := &s.hour, int64(60), "hour"
	if s.hour+60 > r.Until {
		mark, size, name = &s.day, 24*60, "day"
		if s.day+size > s.hour {
			if s.lists == 0 {
				return wire.RollupStep{Action: wire.RollupIdle}, nil
			}
			if s.flood--; s.flood < 0 {
				s.lists--
			}
			return wire.RollupStep{Action: wire.RollupPruned, Resolution: "hour", Rows: 7}, nil
		}
	}
	actions := []wire.RollupAction{wire.RollupAnnounced, wire.RollupComputed, wire.RollupAdvanced}
	done := wire.RollupStep{Action: actions[s.stage], Resolution: name, Start: *mark, Rows: int64(s.stage % 2)}
	if s.stage = (s.stage + 1) % 3; s.stage == 0 {
		*mark += size
	}
	if s.lostStep {
		s.lostStep = false
		return nil, wire.NewProblem(wire.CodeDeadline, "the answer is lost")
	}
	return done, nil
}

func (s *shard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out any
	var problem *wire.Problem
	switch r.URL.Path {
	case wire.PathRollup:
		out = s.state()
	case wire.PathRollupClaim:
		var in wire.RollupClaim
		_ = json.NewDecoder(r.Body).Decode(&in)
		s.epoch, s.owner = s.epoch+1, in.Owner
		s.leaders = append(s.leaders, in.Owner)
		out = wire.RollupClaimed{Epoch: s.epoch}
	default:
		var in wire.RollupRequest
		_ = json.NewDecoder(r.Body).Decode(&in)
		out, problem = s.step(&in)
	}
	if problem != nil {
		w.Header().Set("Content-Type", wire.ProblemType)
		w.WriteHeader(problem.Status)
		out = problem
	}
	_ = json.NewEncoder(w).Encode(out)
}

// rig is a roller before one shard with two proxies, of which one is gone.
type rig struct {
	shard    *shard
	roller   *rollup.Roller
	registry *prometheus.Registry
}

func newRig(t *testing.T, change func(*rollup.Config)) *rig {
	t.Helper()
	r := &rig{registry: prometheus.NewRegistry()}
	today := now.Truncate(24 * time.Hour)
	r.shard = &shard{hour: minuteOf(today.Add(-3 * time.Hour)), day: minuteOf(today.Add(-24 * time.Hour))}
	server := httptest.NewServer(r.shard)
	client := wire.NewClient(wire.ClientConfig{Timeout: patience})
	t.Cleanup(func() { client.Close(); server.Close() })
	snapshot := &cluster.Snapshot{
		Topology: cluster.Topology{Shards: []cluster.Shard{{ID: "s1"}}},
		Members: map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: {
			{ID: "gone", Shard: "s1", URL: "http://127.0.0.1:1"}, {ID: "p1", Shard: "s1", URL: server.URL}, {ID: "p2", Shard: "s2", URL: "http://127.0.0.1:1"},
		}},
	}
	var lock sync.Mutex
	cfg := rollup.Config{
		Owner: "r1", Snapshot: func() *cluster.Snapshot { return snapshot }, Client: client, Delay: 40 * time.Minute, Interval: 10 * time.Millisecond,
		Registerer: r.registry, Now: func() time.Time { return now },
		Lock: func(_ context.Context, name string) (func(), error) {
			if name != "rollup-s1" {
				t.Errorf("got lock %s", name)
			}
			lock.Lock()
			return lock.Unlock, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.roller, err = rollup.New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// metric returns the value of a series of shard s1, named by its metric and the value of one label.
func (r *rig) metric(t *testing.T, series string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	name, label, _ := strings.Cut(series, " ")
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, pair := range m.GetLabel() {
				if family.GetName() == name && pair.GetValue() == label {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	t.Errorf("there is no %s", series)
	return 0
}

// runUntil runs the role until a condition holds.
func (r *rig) runUntil(t *testing.T, condition func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.roller.Run(ctx) }()
	testkit.Eventually(t, patience, func() error {
		r.shard.mu.Lock()
		defer r.shard.mu.Unlock()
		return condition()
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// reached tells whether all that is closed at now is rolled up: at 3:30, 40 minutes after the end, hours to 2:00 and the day before.
func (s *shard) reached() error {
	today := minuteOf(now.Truncate(24 * time.Hour))
	if s.hour != today+2*60 || s.day != today {
		return fmt.Errorf("hours are complete before %d and days before %d", s.hour, s.day)
	}
	return nil
}

func TestRoleRollsUpWhatIsClosed(t *testing.T) {
	r := newRig(t, nil)
	r.runUntil(t, r.shard.reached)
	for series, want := range map[string]float64{
		"quipu_rollup_lag_seconds hour": 5400, "quipu_rollup_lag_seconds day": 12600, "quipu_rollup_rows_total hour": 5, "quipu_rollup_rows_total day": 1,
		"quipu_rollup_steps_total advanced": 6, "quipu_rollup_leading s1": 0,
	} {
		if got := r.metric(t, series); got != want {
			t.Errorf("%s: got %v, want %v", series, got, want)
		}
	}
	if got := len(r.shard.leaders); got != 1 {
		t.Errorf("the shard was claimed %d times, want once: afterwards there is nothing to do", got)
	}
}

// Lists that late events have lengthened don't wait for the next hour. Their rows are not those of the tables.
func TestRolePrunesLists(t *testing.T) {
	r := newRig(t, nil)
	r.runUntil(t, r.shard.reached)
	r.shard.mu.Lock()
	r.shard.lists = 3
	r.shard.mu.Unlock()
	r.runUntil(t, func() error {
		if r.shard.lists > 0 {
			return errors.New("lists are left")
		}
		return nil
	})
	if rows, steps := r.metric(t, "quipu_rollup_rows_total hour"), r.metric(t, "quipu_rollup_steps_total pruned"); rows != 5 || steps != 3 {
		t.Errorf("got %v rows and %v steps, want 5 and 3", rows, steps)
	}
}

// What passes is tried again, and a step that was done without an answer is followed by the next.
func TestRoleGetsOverFailures(t *testing.T) {
	r := newRig(t, nil)
	r.shard.fails = []wire.Code{wire.CodeUnavailable, wire.CodeOverloaded, wire.CodeInternal, wire.CodeDeadline}
	r.shard.lostStep = true
	r.runUntil(t, r.shard.reached)
}

// A leader that lost its lead stops, and says so to who wants to know.
func TestFencedLeaderStops(t *testing.T) {
	r := newRig(t, nil)
	r.shard.fails = []wire.Code{wire.CodeFenced}
	if err := r.roller.RunOnce(t.Context(), "s1", now); wire.CodeOf(err) != wire.CodeFenced {
		t.Fatalf("got %v, want %s", err, wire.CodeFenced)
	}
	if err := r.roller.RunOnce(t.Context(), "s1", now.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if today := minuteOf(now.Truncate(24 * time.Hour)); r.shard.hour != today+60 || r.shard.day != today {
		t.Errorf("hours are complete before %d and days before %d, want 1:00 and today", r.shard.hour, r.shard.day)
	}
}

func TestLockIsAwaitedWithinBounds(t *testing.T) {
	r := newRig(t, func(c *rollup.Config) {
		c.Patience = 10 * time.Millisecond
		c.Lock = func(ctx context.Context, _ string) (func(), error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	if err := r.roller.RunOnce(t.Context(), "s1", now); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if r.shard.epoch != 0 {
		t.Error("the shard was claimed without its lock")
	}
}

// Two roles at once: one leads at a time.
func TestTwoRolesTakeTurns(t *testing.T) {
	r := newRig(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := r.roller.RunOnce(ctx, "s1", now.Add(-40*time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := r.shard.reached(); err != nil {
		t.Error(err)
	}
	if got := len(r.shard.leaders); got != 1 {
		t.Errorf("the shard was claimed %d times, want once: who waited for the lock has nothing to do", got)
	}
}

// archiver has some pieces of work, and looks at the roll-up before each.
type archiver struct {
	t      *testing.T
	shard  *shard
	pieces int
	fails  error
	done   int
}

func (a *archiver) Due(_ context.Context, shard string) bool {
	if shard != "s1" {
		a.t.Errorf("got shard %s", shard)
	}
	a.shard.mu.Lock()
	defer a.shard.mu.Unlock()
	return a.pieces > 0
}

func (a *archiver) Step(_ context.Context, _ string, leader wire.Leader) (bool, error) {
	a.shard.mu.Lock()
	defer a.shard.mu.Unlock()
	if err := a.shard.reached(); err != nil {
		a.t.Errorf("a piece of the archive's work comes before the roll-up is done: %v", err)
	}
	if leader.Epoch != a.shard.epoch || leader.Owner != a.shard.owner {
		a.t.Errorf("got %+v, want who leads", leader)
	}
	if a.fails != nil {
		err := a.fails
		a.fails = nil
		return false, err
	}
	if a.pieces == 0 {
		return false, nil
	}
	a.pieces--
	a.done++
	// An hour ends meanwhile that must not wait for the next pieces.
	a.shard.hour -= 60
	return true, nil
}

// The archive works under the same lead, a piece at a time, after all that is to be rolled up; its failure is not the roll-up's.
func TestArchiveTakesTurnsWithTheRollUp(t *testing.T) {
	a := &archiver{t: t, pieces: 3, fails: errors.New("cold storage is away")}
	r := newRig(t, func(c *rollup.Config) { c.Archive = a })
	a.shard = r.shard
	r.runUntil(t, func() error {
		if a.done < 3 {
			return fmt.Errorf("%d pieces are done", a.done)
		}
		return r.shard.reached()
	})
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "quipu_rollup_errors_total" {
			t.Errorf("the archive's failure counts as the roll-up's: %v", family)
		}
	}
	a.pieces, a.fails = 1, errors.New("cold storage is away")
	if err := r.roller.RunOnce(t.Context(), "s1", now.Add(-40*time.Minute)); !errors.Is(err, rollup.ErrArchive) {
		t.Errorf("got %v, want %v", err, rollup.ErrArchive)
	}
}

// Lists that grow for as long as late events come don't keep the archive from its work, nor does the archive keep lists from being pruned.
func TestGrowingListsLeaveTheArchiveItsTurn(t *testing.T) {
	a := &archiver{t: t, pieces: 2}
	r := newRig(t, func(c *rollup.Config) { c.Archive = a })
	a.shard = r.shard
	r.shard.lists, r.shard.flood = 1, 1<<40
	r.runUntil(t, func() error {
		if a.done < 2 {
			return fmt.Errorf("%d pieces are done", a.done)
		}
		return r.shard.reached()
	})
	r.shard.mu.Lock()
	r.shard.flood = 250
	r.shard.mu.Unlock()
	err := r.roller.RunOnce(t.Context(), "s1", now.Add(-40*time.Minute))
	r.shard.mu.Lock()
	defer r.shard.mu.Unlock()
	if err != nil || r.shard.lists > 0 {
		t.Errorf("%d lists are left, and %v", r.shard.lists, err)
	}
}

// endless always has something to do, as when late events keep coming.
type endless struct {
	begun  chan struct{} // closed with the first piece
	pieces atomic.Int64
}

func (*endless) Due(context.Context, string) bool { return true }

func (e *endless) Step(context.Context, string, wire.Leader) (bool, error) {
	if e.pieces.Add(1) == 1 {
		close(e.begun)
	}
	return true, nil
}

// A shard for which there is always something to do is led in turns, so that a command which waits for the lead gets it. So it goes on after that.
func TestLeadIsGivenToWhoWaits(t *testing.T) {
	a := &endless{begun: make(chan struct{})}
	r := newRig(t, func(c *rollup.Config) { c.Archive, c.Turn = a, 20*time.Millisecond })
	led := make(chan error, 1)
	var before int64
	go func() {
		<-a.begun
		led <- r.roller.Lead(t.Context(), "s1", func(context.Context, wire.Leader) error {
			before = a.pieces.Load()
			return nil
		})
	}()
	waiting := true
	r.runUntil(t, func() error {
		if waiting {
			select {
			case err := <-led:
				if err != nil {
					t.Error(err)
				}
				waiting = false
			default:
				return fmt.Errorf("the command waits for the lead, while %d pieces were archived", a.pieces.Load())
			}
		}
		if a.pieces.Load() == before {
			return errors.New("the role does not go on")
		}
		return nil
	})
	r.shard.mu.Lock()
	defer r.shard.mu.Unlock()
	if r.shard.epoch < 3 {
		t.Errorf("got epoch %d, want three claims at least: of the role, of the command, and of the role again", r.shard.epoch)
	}
}

// Lead gives the lock and a new epoch, and takes them back.
func TestLead(t *testing.T) {
	r := newRig(t, nil)
	for range 2 {
		if err := r.roller.Lead(t.Context(), "s1", func(_ context.Context, leader wire.Leader) error {
			if leader.Epoch != r.shard.epoch || leader.Owner != "r1" {
				t.Errorf("got %+v, want epoch %d", leader, r.shard.epoch)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if r.shard.epoch != 2 {
		t.Errorf("got epoch %d, want 2", r.shard.epoch)
	}
}
