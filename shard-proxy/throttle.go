package shardproxy

import (
	"math"
	"sync"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
)

// A throttle slows writers down while the shard suffers, by how many flushes may be under way at a time, on average. It learns that from
// two things that it measures itself:
//
//   - what a row costs: when flushes take long and rows several times as long as they used to, fewer flushes at a time are let in, down to one. Its
//     steps are those of the limit "Gradient2" of Netflix's concurrency-limits: the old limit times (usual cost ÷ cost now), and some room to
//     grow. A limit of calls alike would not do: a flush has one row or fifty thousand, so it is the time a row that is compared.
//   - how far replicas are behind: while one is beyond the bound and does not catch up, less and less is let in, down to one flush in four
//     times of its length. Those that are away, don't apply, or that the log is no longer kept for have no say.
//
// Who is sent away is told to come back in a while, and not to try another proxy, which guards the same databases (wire.CodeThrottled). Heartbeats
// are never throttled: they cost nothing, and lag is measured by them. It is safe for concurrent use.
type throttle struct {
	places   float64       // most flushes at a time
	slowdown float64       // times the usual cost that are too slow; 0: cost is no matter
	maxLag   time.Duration // of a replica; 0: lag is no matter
	now      func() time.Time
	metrics  *metrics

	mu      sync.Mutex // guards what follows
	running int
	byCost  float64 // flushes at a time, as cost allows
	byLag   float64 // and as lag does
	usual   float64 // seconds a row, over many flushes
	recent  float64 // and over the last few
	seen    float64 // flushes, up to usualFlushes
	lag     time.Duration
	judged  time.Time // when lag was looked at
	rests   time.Time // nobody is let in before, so that fewer than one is under way on average
}

const (
	usualFlushes    = 2000 // that usual is the mean of, about
	recentFlushes   = 8
	tellingRows     = 200                    // fewer say little about the cost
	suffersFrom     = 500 * time.Millisecond // a flush that takes less shows no suffering
	growth          = 0.5                    // of byCost, a flush
	smoothing       = 0.2                    // part of a step that is taken
	leastByCost     = 1
	leastByLag      = 0.25
	lagInterval     = time.Second // between two looks
	lagStep         = 0.8         // a look
	lagRecovery     = 1.2
	longestRest     = 5 * time.Second
	throttledFor    = time.Second // how long those are sent away who come too early
	failedFlushStep = 0.5
)

func newThrottle(cfg Config, m *metrics) *throttle {
	places := float64(cfg.ApplyConnections)
	t := &throttle{places: places, slowdown: float64(cfg.ThrottleSlowdown), maxLag: cfg.ThrottleLag, now: cfg.Now, metrics: m, byCost: places, byLag: places}
	t.showLocked()
	return t
}

// enter lets a flush in, or sends it away. Whoever was let in calls leave.
func (t *throttle) enter(worst func() (time.Duration, bool)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.judgeLagLocked(now, worst)
	allowed := min(t.byCost, t.byLag)
	rest := t.rests.Sub(now)
	if rest <= 0 && (t.running == 0 || float64(t.running+1) <= allowed) || allowed >= t.places {
		t.running++
		return nil
	}
	cause := "cost"
	if t.byLag < t.byCost {
		cause = "lag"
	}
	t.metrics.throttled.WithLabelValues(cause).Inc()
	return wire.NewProblem(wire.CodeThrottled, "the shard suffers (%s): %.2f flushes at a time are let in", cause, allowed).WithRetryAfter(max(throttledFor, rest))
}

func (t *throttle) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
}

// applied notes how long the primary took for so many rows, or that it failed.
func (t *throttle) applied(rows int, took time.Duration, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case failed:
		t.byCost = max(leastByCost, t.byCost*failedFlushStep)
	case rows >= tellingRows:
		t.costLocked(took.Seconds()/float64(rows), took)
	}
	if allowed := min(t.byCost, t.byLag); allowed < 1 {
		t.rests = t.now().Add(min(longestRest, time.Duration(float64(took)*(1/allowed-1))))
	}
	t.showLocked()
}

// costLocked takes a step of the limit by cost.
func (t *throttle) costLocked(cost float64, took time.Duration) {
	if t.usual == 0 {
		t.usual, t.recent = cost, cost
	}
	t.recent += (cost - t.recent) / recentFlushes
	t.seen = min(t.seen+1, usualFlushes)
	t.usual += (cost - t.usual) / max(t.seen, recentFlushes)
	if t.usual > 2*t.recent { // what was slow for long is over: believe it sooner
		t.usual *= 0.95
	}
	gradient := 1.0
	if t.slowdown > 0 && took >= suffersFrom {
		gradient = max(0.5, min(1, t.slowdown*t.usual/t.recent))
	}
	step := t.byCost*gradient + growth
	t.byCost = max(leastByCost, min(t.places, t.byCost*(1-smoothing)+step*smoothing))
}

// judgeLagLocked takes a step of the limit by lag, once an interval.
func (t *throttle) judgeLagLocked(now time.Time, worst func() (time.Duration, bool)) {
	if t.maxLag <= 0 || now.Sub(t.judged) < lagInterval {
		return
	}
	t.judged = now
	lag, known := worst()
	switch {
	case !known || lag <= t.maxLag/2:
		t.byLag = min(t.places, t.byLag*lagRecovery)
	case lag > t.maxLag && lag >= t.lag:
		t.byLag = max(leastByLag, t.byLag*lagStep)
	}
	t.lag = lag
	t.showLocked()
}

func (t *throttle) showLocked() {
	t.metrics.throttle.WithLabelValues("cost").Set(math.Round(t.byCost*100) / 100)
	t.metrics.throttle.WithLabelValues("lag").Set(math.Round(t.byLag*100) / 100)
}

// worstLag returns how far the last of the replicas is behind that apply what they get and may become the primary.
func (p *Proxy) worstLag() (worst time.Duration, known bool) {
	all := p.databases.Load()
	if all == nil {
		return 0, false
	}
	for _, d := range all.list {
		if d.Role != cluster.Replica || d.Unpromotable || !d.health.Load().healthy {
			continue
		}
		if lag, ok := all.lagOf(d); ok {
			worst, known = max(worst, lag), true
		}
	}
	return worst, known
}
