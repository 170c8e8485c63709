package cold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/event"
)

// keysAtOnce bounds the keys that one lookup has, and so the rows that it holds in memory.
const keysAtOnce = 128

// Collect reads what the parts of a question hold. The error is that of parts that make no sense; whatever could not be read is in the
// answer's Failures.
func (s *Storage) Collect(ctx context.Context, q *Question) (*Answer, error) {
	if err := q.check(); err != nil {
		return nil, fmt.Errorf("read cold parts: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collection{storage: s, question: q, stop: cancel}
	c.answer.Points = make([]map[int64]*event.Aggregate, len(q.Keys))
	c.answer.Reads = make([]Reads, len(q.Parts))
	var group errgroup.Group
	group.SetLimit(cap(s.slots))
	for _, j := range q.jobs() {
		for keys := range slices.Chunk(j.keys, keysAtOnce) {
			group.Go(func() error {
				c.run(ctx, j, keys)
				return nil
			})
		}
	}
	_ = group.Wait() // the goroutines above return no errors
	slices.SortFunc(c.answer.Failures, func(a, b Failure) int { return cmp.Compare(a.Object, b.Object) })
	return &c.answer, nil
}

// collection is a question being answered.
type collection struct {
	storage  *Storage
	question *Question
	stop     context.CancelFunc

	mu       sync.Mutex // guards all below
	hopeless error      // why everything was stopped
	answer   Answer
	counted  map[string]bool // objects in answer.Reads
}

// run reads some keys of one object and adds their rows.
func (c *collection) run(ctx context.Context, j *job, keys []int) {
	t := &take{object: j.object, kind: c.question.Type, spend: c.question.Budget.spend, got: map[string]*segment{}}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = c.question.Keys[key].Name
	}
	err := t.run(ctx, c.storage, names)
	c.mu.Lock()
	defer c.mu.Unlock()
	if hopeless(err) && c.hopeless == nil {
		c.hopeless = err
		c.stop()
	}
	if errors.Is(err, context.Canceled) && c.hopeless != nil {
		err = c.hopeless
	}
	var lacking []int
	for _, key := range keys {
		if got := t.got[c.question.Keys[key].Name]; got != nil {
			c.merge(j, key, got)
		} else {
			lacking = append(lacking, key)
		}
	}
	if len(lacking) > 0 {
		c.answer.Failures = append(c.answer.Failures, c.failure(j, lacking, err))
	}
	c.count(j, t)
}

// hopeless tells whether other objects would fail as well.
func hopeless(err error) bool { return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTooMuch) }

func (c *collection) merge(j *job, key int, s *segment) {
	for _, u := range j.uses {
		part := &c.question.Parts[u.part]
		for i := range s.rows {
			row := &s.rows[i]
			if row.Start >= part.From && row.Start < part.To && slices.Contains(u.partitions, row.Partition) {
				c.answer.add(key, c.question.Start(row.Start), row.Aggregate)
			}
		}
	}
}

// failure says what is missing for lack of an object.
func (c *collection) failure(j *job, keys []int, err error) Failure {
	f := Failure{Object: j.object.Object, Keys: keys, Err: err}
	for _, u := range j.uses {
		part := &c.question.Parts[u.part]
		r := Range{Part: u.part, From: part.From, To: part.To}
		if j.object.From < j.object.To {
			r.From, r.To = max(r.From, j.object.From), min(r.To, j.object.To)
		}
		for _, partition := range u.partitions {
			if slices.ContainsFunc(keys, func(key int) bool { return c.question.Keys[key].within([]int{partition}) }) {
				r.Partitions = append(r.Partitions, partition)
			}
		}
		if len(r.Partitions) > 0 && r.From < r.To {
			f.Ranges = append(f.Ranges, r)
		}
	}
	return f
}

func (c *collection) count(j *job, t *take) {
	reads := &c.answer.Reads[j.uses[0].part]
	if !c.counted[j.object.Object] {
		if c.counted == nil {
			c.counted = map[string]bool{}
		}
		c.counted[j.object.Object] = true
		reads.Objects++
		if t.lookups == 0 && len(t.got) > 0 {
			reads.Cached++
		}
		if t.empty() {
			reads.Empty++
		}
	}
	reads.Bytes += t.bytes.Load()
}
