package shardproxy

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
)

// throttled is a throttle of four places whose clock and lag a test sets.
type throttled struct {
	*throttle
	t     *testing.T
	at    time.Time
	lag   time.Duration
	known bool
}

func newThrottled(t *testing.T) *throttled {
	th := &throttled{t: t, at: time.Unix(1_000_000, 0)}
	th.throttle = newThrottle(Config{ApplyConnections: 4, ThrottleSlowdown: 3, ThrottleLag: 30 * time.Second, Now: func() time.Time { return th.at }},
		newMetrics(prometheus.NewRegistry()))
	return th
}

func (th *throttled) try() error {
	return th.enter(func() (time.Duration, bool) { return th.lag, th.known })
}

// fill enters until somebody is sent away, leaves again, and returns how many were let in.
func (th *throttled) fill() (n int) {
	for ; n < 10 && th.try() == nil; n++ {
	}
	for range n {
		th.leave()
	}
	return n
}

// flush has a flush take so long.
func (th *throttled) flush(rows int, took time.Duration) {
	th.t.Helper()
	th.at = th.at.Add(longestRest)
	if err := th.try(); err != nil {
		th.t.Fatal(err)
	}
	th.at = th.at.Add(took)
	th.applied(rows, took, false)
	th.leave()
}

func TestThrottleByCost(t *testing.T) {
	for _, c := range []struct {
		name  string
		rows  int
		took  time.Duration
		after int // flushes
		want  int // let in at a time; 10: all, more than the test asks for
	}{
		{"as usual", 5000, 40 * time.Millisecond, 200, 10},
		{"larger flushes cost no more a row", 50_000, 400 * time.Millisecond, 200, 10},
		{"slow", 5000, time.Second, 200, 1},
		{"slow, but only twice", 50_000, 900 * time.Millisecond, 200, 10},
		{"slow a row, but quick", 500, 200 * time.Millisecond, 200, 10},
		{"few rows say little", 100, 2 * time.Second, 200, 10},
		{"slow for so long that it is usual", 5000, time.Second, 3000, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			th := newThrottled(t)
			for range 1000 {
				th.flush(5000, 40*time.Millisecond)
			}
			for range c.after {
				th.flush(c.rows, c.took)
			}
			th.at = th.at.Add(time.Minute)
			if got := th.fill(); got != c.want {
				t.Errorf("%d flushes at a time are let in, want %d", got, c.want)
			}
		})
	}
}

// When the primary is well again, so are the writers, within some tens of flushes.
func TestThrottleRecovers(t *testing.T) {
	th := newThrottled(t)
	for range 1000 {
		th.flush(5000, 40*time.Millisecond)
	}
	for range 100 {
		th.flush(5000, time.Second)
	}
	if got := th.fill(); got != 1 {
		t.Fatalf("%d flushes at a time are let in while the primary suffers, want 1", got)
	}
	for range 80 {
		th.flush(5000, 40*time.Millisecond)
	}
	if got := th.fill(); got != 10 {
		t.Errorf("%d flushes at a time are let in, want as many as come", got)
	}
}

// A flush that failed for the database's sake halves what is let in at once.
func TestThrottleByFailure(t *testing.T) {
	th := newThrottled(t)
	th.applied(5000, 20*time.Second, true)
	if got := th.fill(); got != 2 {
		t.Errorf("%d flushes at a time are let in after a failure, want 2", got)
	}
}

func TestThrottleByLag(t *testing.T) {
	th := newThrottled(t)
	look := func(times int, change time.Duration) {
		for range times {
			th.at, th.lag = th.at.Add(lagInterval), th.lag+change
			if th.try() == nil {
				th.leave()
			}
		}
	}
	th.known, th.lag = true, 10*time.Second
	look(20, time.Second)
	if got := th.fill(); got != 10 {
		t.Fatalf("%d flushes at a time are let in while lag is within the bound, want all", got)
	}
	look(30, time.Second)
	if th.byLag != leastByLag {
		t.Errorf("%.2f flushes at a time are let in while a replica falls behind, want %.2f", th.byLag, leastByLag)
	}
	before := th.byLag
	look(20, -time.Second)
	if th.byLag != before {
		t.Errorf("%.2f flushes at a time are let in while the replica catches up, want %.2f as before", th.byLag, before)
	}
	look(50, -time.Second)
	if got := th.fill(); got != 10 {
		t.Errorf("%d flushes at a time are let in when the replica has caught up, want all", got)
	}
	// A replica that went away has no say.
	th.lag = time.Hour
	look(30, time.Second)
	th.known = false
	look(30, 0)
	if got := th.fill(); got != 10 {
		t.Errorf("%d flushes at a time are let in when the replica is gone, want all", got)
	}
}

// Less than one flush at a time means one and then a pause, after which writers are told to come back.
func TestThrottleRests(t *testing.T) {
	th := newThrottled(t)
	th.byLag, th.known, th.lag = leastByLag, true, time.Minute
	if err := th.try(); err != nil {
		t.Fatal(err)
	}
	th.applied(5000, time.Second, false)
	th.leave()
	err := th.try()
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok || p.Code != wire.CodeThrottled || p.Status != 429 || p.RetryAfter != 3*time.Second || wire.Retryable(p.Code) {
		t.Fatalf("got %v, want to be sent away for 3s, and not to another proxy", err)
	}
	th.at = th.at.Add(3 * time.Second)
	if err := th.try(); err != nil {
		t.Errorf("got %v after the pause", err)
	}
}
