package writer_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

type cellName struct {
	Kind, Key string
	Minute    int64
}

type counts map[cellName]event.Aggregate

func (c counts) add(name cellName, a event.Aggregate) {
	sum, ok := c[name]
	if !ok {
		sum = event.NewAggregate()
	}
	sum.Merge(a)
	c[name] = sum
}

// partitionState is what one database holds of a partition.
type partitionState struct {
	checkpoint wire.Checkpoint
	counts     counts
}

func (s partitionState) clone() partitionState {
	return partitionState{s.checkpoint, maps.Clone(s.counts)}
}

// applied is one request that reached the shard.
type applied struct {
	at      time.Time
	request wire.ApplyRequest
	err     error
}

// memShard is a shard in memory that keeps the contract of Apply and Claim.
type memShard struct {
	mu         sync.Mutex
	partitions map[int]partitionState
	history    map[int][]partitionState // after every commit
	calls      []applied
	inFlight   map[int]int
	most       int                                  // requests under way at once
	overlap    bool                                 // two requests of one partition were under way at once
	poison     func(wire.Row) bool                  // rows that can't be applied; nil: none
	noClaim    func(wire.Checkpoint) bool           // claims that fail; nil: none
	fault      func(call int) (before, after error) // fail before, or commit and then fail
	linger     func(call int) time.Duration         // answer at once that the time ran out, and apply so much later; 0: no
	delay      func(call int) time.Duration
	perRow     time.Duration
	numCalls   int
}

func newMemShard(partitions int) *memShard {
	s := &memShard{partitions: map[int]partitionState{}, history: map[int][]partitionState{}, inFlight: map[int]int{}}
	for p := range partitions {
		s.partitions[p] = partitionState{wire.Checkpoint{Partition: p, NextOffset: 1, WindowFrom: 1}, counts{}}
	}
	return s
}

func (s *memShard) Claim(_ context.Context, r wire.ClaimRequest) (*wire.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.partitions[r.Partition]
	if s.noClaim != nil && s.noClaim(state.checkpoint) {
		return nil, wire.NewProblem(wire.CodeUnavailable, "the shard is away")
	}
	state.checkpoint.Epoch = max(state.checkpoint.Epoch+1, r.MinEpoch)
	state.checkpoint.Owner = r.Owner
	s.commitLocked(r.Partition, state)
	c := state.checkpoint
	return &c, nil
}

func (s *memShard) Apply(ctx context.Context, r *wire.ApplyRequest) (*wire.ApplyAnswer, error) {
	delay, linger, before, after := s.arrive(r)
	defer s.leave(r.Partition)
	if linger > 0 {
		copied := *r
		copied.Rows = slices.Clone(r.Rows)
		time.AfterFunc(linger, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = s.applyLocked(&copied)
		})
		return nil, wire.NewProblem(wire.CodeDeadline, "the time ran out")
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, wire.NewProblem(wire.CodeDeadline, "apply: %v", ctx.Err())
		}
	}
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.applyLocked(r)
	copied := *r
	copied.Rows = slices.Clone(r.Rows)
	s.calls = append(s.calls, applied{time.Now(), copied, err})
	if err == nil && after != nil {
		return nil, after
	}
	if err != nil {
		return nil, err
	}
	return &wire.ApplyAnswer{NextOffset: r.Next, Rows: len(r.Rows)}, nil
}

func (s *memShard) arrive(r *wire.ApplyRequest) (delay, linger time.Duration, before, after error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numCalls++
	s.inFlight[r.Partition]++
	s.overlap = s.overlap || s.inFlight[r.Partition] > 1
	total := 0
	for _, n := range s.inFlight {
		total += n
	}
	s.most = max(s.most, total)
	if s.fault != nil {
		before, after = s.fault(s.numCalls)
	}
	if s.delay != nil {
		delay = s.delay(s.numCalls)
	}
	delay += time.Duration(len(r.Rows)) * s.perRow
	if s.linger != nil {
		linger = s.linger(s.numCalls)
	}
	return delay, linger, before, after
}

func (s *memShard) leave(p int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight[p]--
}

func (s *memShard) applyLocked(r *wire.ApplyRequest) error {
	state, ok := s.partitions[r.Partition]
	c := state.checkpoint
	switch {
	case !ok:
		return wire.NewProblem(wire.CodeMisrouted, "partition %d is not here", r.Partition)
	case c.Epoch != r.Epoch:
		return wire.NewProblem(wire.CodeFenced, "epoch is %d", c.Epoch).WithCheckpoint(c)
	case c.NextOffset != r.Expected || (c.Incarnation != "" && c.Incarnation != r.Incarnation):
		return wire.NewProblem(wire.CodeOffsetMoved, "offset is %d", c.NextOffset).WithCheckpoint(c)
	}
	state = state.clone()
	for _, row := range r.Rows {
		if s.poison != nil && s.poison(row) {
			return wire.NewProblem(wire.CodeUnapplicable, "key %s is out of range", row.Key)
		}
		state.counts.add(cellName{row.Type, row.Key, row.Minute}, row.Aggregate)
	}
	state.checkpoint.NextOffset, state.checkpoint.WindowFrom, state.checkpoint.AsOf = r.Next, r.WindowFrom, max(r.AsOf, c.AsOf)
	state.checkpoint.Incarnation, state.checkpoint.Checksum = r.Incarnation, r.Checksum
	s.commitLocked(r.Partition, state)
	return nil
}

func (s *memShard) commitLocked(p int, state partitionState) {
	s.history[p] = append(s.history[p], s.partitions[p])
	s.partitions[p] = state
}

// rewind puts a partition back to where it was some commits ago, as the promotion of a stale replica does.
func (s *memShard) rewind(p, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.history[p]
	if commits = min(commits, len(h)); commits == 0 {
		return
	}
	s.partitions[p] = h[len(h)-commits]
	s.history[p] = h[:len(h)-commits]
}

func (s *memShard) state(p int) partitionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partitions[p].clone()
}

func (s *memShard) applied() []applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// promises returns what is wrong with what the requests that reached the shard said of the log: every batch appended strictly
// before as-of lies below next, and the window as of as-of begins at window from or later.
func (s *memShard) promises(log *memLog) string {
	for _, call := range s.applied() {
		q := call.request
		if q.WindowFrom > q.Next {
			return fmt.Sprintf("window from %d is beyond next offset %d", q.WindowFrom, q.Next)
		}
		for _, record := range log.all(q.Partition) {
			if record.AppendTime < q.AsOf && record.Offset >= q.Next {
				return fmt.Sprintf("partition %d: as-of %d is promised at offset %d, but batch %d was appended at %d",
					q.Partition, q.AsOf, q.Next, record.Offset, record.AppendTime)
			}
			if inWindow := record.AppendTime/1000 >= q.AsOf/1000-600; inWindow && record.Offset < q.WindowFrom {
				return fmt.Sprintf("partition %d: batch %d is in the window as of %d, which is said to begin at %d",
					q.Partition, record.Offset, q.AsOf, q.WindowFrom)
			}
		}
	}
	return ""
}

func (s *memShard) setFault(fault func(call int) (before, after error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *memShard) setDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = func(int) time.Duration { return d }
}

func (s *memShard) setWindowFrom(p int, offset uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.partitions[p]
	state.checkpoint.WindowFrom = offset
	s.partitions[p] = state
}
