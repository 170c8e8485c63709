package reader

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

// Cold is cold storage. *cold.Storage is one.
type Cold interface {
	Collect(ctx context.Context, q *cold.Question) (*cold.Answer, error)
}

// manner is how a request wants its questions answered.
type manner struct {
	partial bool // with what there is, where cold storage can't be read
	explain bool
	minAsOf int64        // that will do for a kept answer
	budget  *cold.Budget // of the whole request
}

func (r *Reader) manner(partial, explain bool, minAsOf int64) manner {
	return manner{partial: partial, explain: explain, minAsOf: minAsOf, budget: cold.NewBudget(r.limits.ColdMaxBytes)}
}

// told is the answer to a lookup: what the shards told, and cold storage added to it.
type told struct {
	*wire.StatsAnswer
	failed  map[string]*wire.Problem // by key
	lacking map[string]bool          // keys whose points are of what there is
	plan    *plan                    // if it was asked for
}

// tellAll answers a lookup, in parts if one answer would name too many objects of cold storage.
func (r *Reader) tellAll(ctx context.Context, l *lookup, m manner, take func(*lookup, *told, error)) {
	answer, err := r.tell(ctx, l, m)
	if wire.CodeOf(err) != wire.CodeTooLarge || len(l.keys) == 1 {
		take(l, answer, err)
		return
	}
	half := len(l.keys) / 2
	for _, part := range []*lookup{
		{kind: l.kind, span: l.span, keys: l.keys[:half], of: l.of[:half]},
		{kind: l.kind, span: l.span, keys: l.keys[half:], of: l.of[half:]},
	} {
		r.tellAll(ctx, part, m, take)
	}
}

// tell answers a lookup: from the shards, and from cold storage what they say is there.
func (r *Reader) tell(ctx context.Context, l *lookup, m manner) (*told, error) {
	answer, recalled, err := r.recall(ctx, l, m)
	if err != nil {
		return nil, err
	}
	open := l.without(recalled)
	got := r.collect(ctx, open, answer, m.budget)
	if got.lost() {
		// Objects may have been replaced since the shards told: those that they refer to now hold the same rows.
		if answer, recalled, err = r.recall(ctx, l, m); err != nil {
			return nil, err
		}
		open = l.without(recalled)
		got = r.collect(ctx, open, answer, m.budget)
	}
	out := &told{StatsAnswer: answer, failed: map[string]*wire.Problem{}, lacking: map[string]bool{}}
	if m.explain {
		out.plan = explained(l, answer, got)
	}
	if got != nil {
		for i := range answer.Keys {
			key := &answer.Keys[i]
			if at := slices.Index(open.keys, key.Key); at >= 0 {
				key.Points = addPoints(key.Points, got.Points[at])
			}
		}
		out.Sources = append(out.Sources, coldSources(answer, got)...)
		out.lack(open, got, m)
	}
	r.keepAll(l, out, recalled)
	return out, nil
}

// without returns the lookup without keys that are answered.
func (l *lookup) without(answered map[string]bool) *lookup {
	if len(answered) == 0 {
		return l
	}
	rest := &lookup{kind: l.kind, span: l.span}
	for i, key := range l.keys {
		if !answered[key] {
			rest.keys, rest.of = append(rest.keys, key), append(rest.of, l.of[i])
		}
	}
	return rest
}

// collected is what cold storage has of a lookup; nil if nothing is there.
type collected struct{ *cold.Answer }

// lost tells whether an object was not where the shards said.
func (c *collected) lost() bool {
	return c != nil && slices.ContainsFunc(c.Failures, func(f cold.Failure) bool { return errors.Is(f.Err, cold.ErrMissing) })
}

// errNoCold is why a reader without cold storage can't answer.
var errNoCold = errors.New("this reader has no cold storage")

// collect reads what an answer says is in cold storage.
func (r *Reader) collect(ctx context.Context, l *lookup, answer *wire.StatsAnswer, budget *cold.Budget) *collected {
	if len(answer.Cold) == 0 || len(l.keys) == 0 {
		return nil
	}
	q := &cold.Question{Type: l.kind, Keys: make([]cold.Key, len(l.keys)), Start: l.span.start, Parts: answer.Cold, Budget: budget}
	for i, key := range l.keys {
		q.Keys[i].Name = key
		q.Keys[i].Partition, q.Keys[i].Known = r.partition(l.kind, key)
	}
	got, err := r.readCold(ctx, q)
	if err != nil {
		r.logger.Debug("cold parts can't be read", "type", l.kind, "keys", len(l.keys), "error", err)
		got = nothing(q, err)
	}
	return &collected{got}
}

func (r *Reader) readCold(ctx context.Context, q *cold.Question) (*cold.Answer, error) {
	if r.cold == nil {
		return nil, errNoCold
	}
	if err := r.coldQuestions.enter(); err != nil {
		return nil, err
	}
	defer r.coldQuestions.leave()
	ctx, cancel := context.WithTimeout(ctx, r.limits.ColdTimeout)
	defer cancel()
	defer func(begin time.Time) { r.metrics.lookups.WithLabelValues("cold").Observe(time.Since(begin).Seconds()) }(time.Now())
	return r.cold.Collect(ctx, q)
}

// nothing is the answer when not a single object could be asked for.
func nothing(q *cold.Question, err error) *cold.Answer {
	out := &cold.Answer{Points: make([]map[int64]*event.Aggregate, len(q.Keys)), Reads: make([]cold.Reads, len(q.Parts))}
	f := cold.Failure{Err: err}
	for i := range q.Keys {
		f.Keys = append(f.Keys, i)
	}
	for i, part := range q.Parts {
		if len(part.Objects) > 0 {
			f.Ranges = append(f.Ranges, cold.Range{Part: i, From: part.From, To: part.To, Partitions: part.Partitions})
		}
	}
	if len(f.Ranges) > 0 {
		out.Failures = append(out.Failures, f)
	}
	return out
}

// lack says for which keys cold storage could not be read: they fail, or, where a part of the answer will do, are marked.
func (t *told) lack(l *lookup, got *collected, m manner) {
	for _, f := range got.Failures {
		p := coldProblem(f, t.Cold, m.budget)
		for _, at := range f.Keys {
			switch key := l.keys[at]; {
			case m.partial && p.Code != wire.CodeUnprocessable && p.Code != wire.CodeInternal:
				t.lacking[key] = true
			case t.failed[key] == nil:
				t.failed[key] = p
			}
		}
		for _, gap := range f.Ranges {
			part := &t.Cold[gap.Part]
			t.Coverage.Missing = append(t.Coverage.Missing, wire.Missing{
				Shard: part.Shard, Partitions: gap.Partitions, Code: p.Code, Detail: p.Detail, Resolution: part.Resolution, From: gap.From, To: gap.To,
			})
		}
	}
	t.Coverage.Missing = withoutSeams(t.Coverage.Missing)
	t.Coverage.Answered -= lackingPartitions(t.Coverage.Missing)
}

// lackingPartitions counts the partitions that answered, but not with all.
func lackingPartitions(missing []wire.Missing) int {
	partial, whole := map[int]bool{}, map[int]bool{}
	for _, m := range missing {
		for _, partition := range m.Partitions {
			if m.Resolution == "" {
				whole[partition] = true
			} else {
				partial[partition] = true
			}
		}
	}
	n := 0
	for partition := range partial {
		if !whole[partition] {
			n++
		}
	}
	return n
}

// addPoints adds what cold storage has to the points of a key, which ascend.
func addPoints(points []wire.Point, more map[int64]*event.Aggregate) []wire.Point {
	for i := range points {
		if extra := more[points[i].Start]; extra != nil {
			sum := aggregateOf(&points[i])
			sum.Merge(*extra)
			points[i] = pointOf(points[i].Start, sum)
		}
	}
	have := len(points)
	for start, extra := range more {
		if _, ok := slices.BinarySearchFunc(points[:have], start, byStart); !ok {
			points = append(points, pointOf(start, *extra))
		}
	}
	slices.SortFunc(points, func(a, b wire.Point) int { return byStart(a, b.Start) })
	return points
}

func byStart(p wire.Point, start int64) int {
	switch {
	case p.Start < start:
		return -1
	case p.Start > start:
		return 1
	}
	return 0
}

func aggregateOf(p *wire.Point) event.Aggregate {
	a := event.NewAggregate()
	a.Count = p.Count
	if p.HasValues {
		a.HasValues, a.ValueCount, a.Sum, a.Min, a.Max = true, p.ValueCount, p.Sum, p.Min, p.Max
	}
	return a
}

func pointOf(start int64, a event.Aggregate) wire.Point {
	p := wire.Point{Start: start, Count: a.Count}
	if a.HasValues {
		p.HasValues, p.ValueCount, p.Sum, p.Min, p.Max = true, a.ValueCount, a.Sum, a.Min, a.Max
	}
	return p
}

// coldSources says what was read of cold storage, by shard and resolution.
func coldSources(answer *wire.StatsAnswer, got *collected) []wire.Source {
	var join joiner
	for i, part := range answer.Cold {
		if reads := got.Reads[i]; reads.Objects > 0 {
			join.source(wire.Source{
				Shard: part.Shard, Role: wire.RoleCold, Resolution: part.Resolution, AsOf: answer.AsOf,
				Objects: reads.Objects, Cached: reads.Cached, Bytes: reads.Bytes,
			})
		}
	}
	return join.out.Sources
}
