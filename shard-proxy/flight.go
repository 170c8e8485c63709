package shardproxy

import (
	"context"
	"sync"
	"time"

	"github.com/quipudb/quipu/wire"
)

// flight is a query that is being asked of a database, for one question or several.
type flight struct {
	questions []question
	cancel    context.CancelFunc
	wanted    int  // who waits for it, or has started it for the future; guarded by flights
	landed    bool // guarded by flights

	done    chan struct{} // closed when the rest is set
	entries map[question]*entry
	err     error
}

// flights are the queries under way, so that nobody asks a database twice at a time. They end with whoever wants them last, and are awaited by close.
type flights struct {
	waiters int // the most that wait for the queries of others
	metrics *cacheMetrics

	mu      sync.Mutex // guards all below
	open    map[question]*flight
	waiting int
	closed  bool
	group   sync.WaitGroup
}

func newFlights(waiters int, m *cacheMetrics) *flights {
	return &flights{waiters: waiters, metrics: m, open: map[question]*flight{}}
}

// ask is how a flight asks. It returns an entry for each question.
type ask func(ctx context.Context, questions []question) (map[question]*entry, error)

// board joins the queries under way for some questions and starts one for the others. It returns an overloaded problem if too many wait for queries of
// others already. The caller must await every flight, or leave it.
func (f *flights) board(ctx context.Context, questions []question, within time.Duration, query ask) (joined map[question]*flight, own *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var mine []question
	for _, q := range questions {
		other := f.open[q]
		if other == nil {
			mine = append(mine, q)
			continue
		}
		if joined == nil {
			joined = map[question]*flight{}
		}
		joined[q] = other
	}
	if f.closed {
		return nil, nil, errNotProbed
	}
	if len(joined) > 0 {
		if f.waiting >= f.waiters {
			f.metrics.refused.Inc()
			return nil, nil, wire.NewProblem(wire.CodeOverloaded, "%d calls wait for queries that are under way", f.waiting).WithRetryAfter(overloadedFor)
		}
		f.waiting++
		f.metrics.waiting.Set(float64(f.waiting))
	}
	for _, other := range joined {
		other.wanted++
	}
	if len(mine) > 0 {
		own = f.startLocked(ctx, mine, within, query)
	}
	return joined, own, nil
}

// startLocked starts a query. It outlives the call that it began with as long as somebody else wants it.
func (f *flights) startLocked(ctx context.Context, questions []question, within time.Duration, query ask) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	own := &flight{questions: questions, cancel: cancel, wanted: 1, done: make(chan struct{})}
	for _, q := range questions {
		f.open[q] = own
	}
	f.group.Go(func() {
		defer cancel()
		entries, err := query(ctx, questions)
		f.mu.Lock()
		defer f.mu.Unlock()
		own.entries, own.err, own.landed = entries, err, true
		f.clearLocked(own)
		close(own.done)
	})
	return own
}

// refresh starts a query for the future, unless it is under way or too many are.
func (f *flights) refresh(ctx context.Context, q question, within time.Duration, query ask) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.open[q] != nil || len(f.open) >= f.waiters {
		return false
	}
	f.startLocked(ctx, []question{q}, within, query)
	return true
}

// await returns when a flight has landed or ctx ends.
func (f *flights) await(ctx context.Context, one *flight) error {
	defer f.leave(one)
	select {
	case <-one.done:
		return one.err
	default:
	}
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave ends a query that nobody wants any more: what it would answer is nobody's.
func (f *flights) leave(one *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one.wanted--; one.wanted > 0 || one.landed {
		return
	}
	one.cancel()
	f.clearLocked(one) // a new call must not join what was cancelled
}

func (f *flights) clearLocked(one *flight) {
	for _, q := range one.questions {
		if f.open[q] == one {
			delete(f.open, q)
		}
	}
}

// left notes that a call waits for nobody any more.
func (f *flights) left() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	f.metrics.waiting.Set(float64(f.waiting))
}

// close refuses what comes from now on and waits for what is under way.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	for _, one := range f.open {
		one.cancel()
	}
	f.mu.Unlock()
	f.group.Wait()
}
