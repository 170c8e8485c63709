package writer

import (
	"context"
	"slices"
	"sync"
	"time"
)

// shardSlots bounds how many flushes of a shard are under way: who wants one takes a slot, in the order of asking. While the shard asked for a
// rest nobody gets one, however much there is to flush. It is safe for concurrent use.
type shardSlots struct {
	size int

	mu     sync.Mutex // guards what follows, and the slots
	shards map[string]*shardQueue
}

// shardQueue is one shard's; there are as many as the topology names.
type shardQueue struct {
	taken   int
	waiting []*slot   // at most one a partition
	rests   time.Time // until then
}

// slot is a place among the flushes of a shard, had or waited for. Whoever asked for one gives it back once.
type slot struct {
	all   *shardSlots
	queue *shardQueue
	asked time.Time
	had   chan struct{} // closed when it is had
}

func newShardSlots(size int) *shardSlots {
	return &shardSlots{size: size, shards: map[string]*shardQueue{}}
}

// ask takes a slot, or begins to wait for one.
func (s *shardSlots) ask(shard string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueLocked(shard)
	t := &slot{all: s, queue: q, asked: time.Now(), had: make(chan struct{})}
	if q.taken < s.size && !q.resting() {
		q.taken++
		close(t.had)
	} else {
		q.waiting = append(q.waiting, t)
	}
	return t
}

func (s *shardSlots) queueLocked(shard string) *shardQueue {
	q, ok := s.shards[shard]
	if !ok {
		q = &shardQueue{}
		s.shards[shard] = q
	}
	return q
}

// longestRest bounds what a shard may ask for.
const longestRest = 5 * time.Second

// rest gives a shard that asked for it some time without new flushes.
func (s *shardSlots) rest(shard string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queueLocked(shard)
	if until := time.Now().Add(min(d, longestRest)); until.After(q.rests) {
		q.rests = until
		time.AfterFunc(time.Until(until), func() { s.handOut(q) })
	}
}

// handOut gives free slots to those who wait, once a rest is over.
func (s *shardSlots) handOut(q *shardQueue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !q.resting() && q.taken < s.size && len(q.waiting) > 0 {
		next := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		q.taken++
		close(next.had)
	}
}

func (q *shardQueue) resting() bool { return time.Now().Before(q.rests) }

// isHad tells whether the slot is had.
func (t *slot) isHad() bool {
	select {
	case <-t.had:
		return true
	default:
		return false
	}
}

// await waits until the slot is had. When ctx ends before, it is given back.
func (t *slot) await(ctx context.Context) error {
	select {
	case <-t.had:
		return nil
	case <-ctx.Done():
		t.giveBack()
		return ctx.Err()
	}
}

// giveBack hands the slot to who waits longest, or ends the wait for it.
func (t *slot) giveBack() {
	t.all.mu.Lock()
	defer t.all.mu.Unlock()
	q := t.queue
	switch {
	case !t.isHad():
		q.waiting = slices.DeleteFunc(q.waiting, func(other *slot) bool { return other == t })
	case len(q.waiting) > 0 && !q.resting():
		next := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		close(next.had)
	default:
		q.taken--
	}
}
