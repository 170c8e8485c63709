package shardproxy

import (
	"context"
	"slices"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
)

// snapshot returns the cluster as last known.
func (p *Proxy) snapshot() (*cluster.Snapshot, error) {
	if s := p.cfg.Snapshot(); s != nil {
		return s, nil
	}
	return nil, wire.NewProblem(wire.CodeUnavailable, "the cluster is not known yet").WithRetryAfter(awayFor)
}

var steps = map[wire.Step]mysql.Step{
	wire.StepNone: mysql.StepNone, wire.StepMinute: mysql.StepMinute, wire.StepHour: mysql.StepHour, wire.StepDay: mysql.StepDay,
}

func checkStats(r *wire.StatsRequest) (mysql.Step, error) {
	step, ok := steps[r.Step]
	bad := func(field, format string, args ...any) (mysql.Step, error) {
		return 0, wire.NewProblem(wire.CodeBadRequest, format, args...).WithField(field)
	}
	switch {
	case !ok:
		return bad("step", "%q is no step", r.Step)
	case !event.ValidTypeName(r.Type):
		return bad("type", "%q is no event type's name", r.Type)
	case len(r.Keys) == 0 || len(r.Keys) > wire.MaxKeysPerStats:
		return bad("keys", "%d keys, must be 1 to %d", len(r.Keys), wire.MaxKeysPerStats)
	case r.From >= r.To:
		return bad("to_minute", "the range from minute %d to %d is empty", r.From, r.To)
	case step > 1 && r.From%int64(step) != 0:
		return bad("from_minute", "minute %d does not begin a %s", r.From, r.Step)
	case step > 1 && r.To%int64(step) != 0:
		return bad("to_minute", "minute %d does not begin a %s", r.To, r.Step)
	}
	for _, key := range r.Keys {
		if len(key) == 0 || len(key) > event.MaxKeyBytes {
			return bad("keys", "a key has %d bytes, must be 1 to %d", len(key), event.MaxKeyBytes)
		}
	}
	return step, nil
}

// stats answers for keys of this shard. A key whose partition the shard does not own makes the call misrouted.
func (p *Proxy) stats(ctx context.Context, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	step, err := checkStats(r)
	if err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	ask := &mysql.StatsRequest{Type: r.Type, From: max(r.From, 0), To: min(r.To, event.MaxMinute+1), Step: step, MaxPoints: wire.MaxPointsPerStats, MaxColdObjects: wire.MaxColdObjects}
	at := make(map[string]int, len(r.Keys)) // where a key is in ask
	for _, key := range r.Keys {
		if _, twice := at[key]; !twice {
			at[key] = len(ask.Keys)
			ask.Keys = append(ask.Keys, mysql.StatsKey{Partition: s.PartitionOf(r.Type, key), Name: key})
		}
	}
	var got *mysql.StatsAnswer
	from, err := p.reading(ctx, func(ctx context.Context, db *mysql.DB) (err error) {
		ctx, done := p.within(ctx, classOfStats(r))
		defer done()
		got, err = db.Stats(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &wire.StatsAnswer{Keys: make([]wire.KeyStats, 0, len(r.Keys)), Provenance: p.provenance(from, &got.Header, len(got.AsOf), nil)}
	for _, key := range r.Keys {
		out.Keys = append(out.Keys, keyStats(key, got.Keys[at[key]], r))
	}
	out.Cold = p.coldParts(got.Cold)
	if r.Explain {
		for _, piece := range got.Pieces {
			out.Plan = append(out.Plan, wire.PlanSegment{
				Shard: p.cfg.ShardID, Database: from.ID, Place: piece.Place, Resolution: piece.Resolution, From: piece.From, To: piece.To,
			})
		}
	}
	return out, nil
}

func (p *Proxy) coldParts(parts []mysql.ColdPart) []wire.ColdPart {
	var out []wire.ColdPart
	for _, part := range parts {
		objects := make([]wire.ColdObject, len(part.Objects))
		for i, o := range part.Objects {
			objects[i] = wire.ColdObject{Object: o.Object, Bytes: o.Bytes, Rows: o.Rows, SHA256: o.SHA256, Partitions: o.Partitions, From: o.From, To: o.To}
		}
		out = append(out, wire.ColdPart{Shard: p.cfg.ShardID, Resolution: part.Resolution, From: part.From, To: part.To, Partitions: part.Partitions, Objects: objects})
	}
	return out
}

func keyStats(key string, stats mysql.KeyStats, r *wire.StatsRequest) wire.KeyStats {
	out := wire.KeyStats{Key: key, Known: stats.Known, Points: make([]wire.Point, len(stats.Points))}
	for i := range stats.Points {
		out.Points[i] = pointOf(&stats.Points[i])
	}
	if r.Step == wire.StepNone {
		out.Points[0].Start = r.From
	}
	return out
}

func pointOf(p *mysql.Point) wire.Point {
	out := wire.Point{Start: p.Start, Count: p.Count}
	if p.HasValues {
		out.HasValues, out.ValueCount, out.Sum, out.Min, out.Max = true, p.ValueCount, p.Sum, p.Min, p.Max
	}
	return out
}

// provenance says where an answer is from (INV-8).
func (p *Proxy) provenance(from candidate, h *mysql.Header, needed int, missing []wire.Missing) wire.Provenance {
	setBack := p.tide.observe(h.Term, h.AsOf)
	out := wire.Provenance{
		Stale:    from.stale || setBack,
		Coverage: wire.Coverage{Partitions: needed, Answered: len(h.AsOf), Missing: missing},
	}
	first := true
	for _, asOf := range h.AsOf {
		if first || asOf < out.AsOf {
			out.AsOf, first = asOf, false
		}
	}
	out.Sources = []wire.Source{{Shard: p.cfg.ShardID, Database: from.ID, Role: string(from.Role), Resolution: h.Resolution, AsOf: out.AsOf}}
	p.metrics.read(from, out.Stale)
	return out
}

func checkTop(r *wire.TopRequest) error {
	switch {
	case !event.ValidTypeName(r.Type):
		return wire.NewProblem(wire.CodeBadRequest, "%q is no event type's name", r.Type).WithField("type")
	case r.N < 1 || r.N > wire.MaxTop:
		return wire.NewProblem(wire.CodeBadRequest, "n is %d, must be 1 to %d", r.N, wire.MaxTop).WithField("n")
	case r.From >= r.To || r.From < 0 || r.To > event.MaxMinute+1:
		return wire.NewProblem(wire.CodeBadRequest, "minutes %d to %d are no range", r.From, r.To).WithField("to_minute")
	}
	return nil
}

// top ranks the keys of the partitions that the shard owns.
func (p *Proxy) top(ctx context.Context, r *wire.TopRequest) (out *wire.TopAnswer, from candidate, header *mysql.Header, err error) {
	s, err := p.snapshot()
	if err != nil {
		return nil, from, nil, err
	}
	var got *mysql.TopAnswer
	from, err = p.reading(ctx, func(ctx context.Context, db *mysql.DB) (err error) {
		ctx, done := p.within(ctx, guard.Top)
		defer done()
		got, err = db.Top(ctx, &mysql.TopRequest{Type: r.Type, From: r.From, To: r.To, N: r.N, MaxScanned: wire.MaxTopScanned})
		return err
	})
	if err != nil {
		return nil, from, nil, err
	}
	wanted := s.Topology.PartitionsOf(p.cfg.ShardID)
	out = &wire.TopAnswer{Exact: got.Exact, Others: got.Others, Entries: make([]wire.TopEntry, len(got.Entries))}
	out.Provenance = p.provenance(from, &got.Header, len(wanted), p.missing(wanted, got.AsOf))
	out.Coverage.Answered = min(out.Coverage.Answered, out.Coverage.Partitions)
	for i := range got.Entries {
		point := pointOf(&got.Entries[i].Point)
		point.Start = r.From
		out.Entries[i] = wire.TopEntry{Key: got.Entries[i].Key, Point: point}
	}
	return out, from, &got.Header, nil
}

// missing names the partitions that the topology gives to the shard and the database does not own.
func (p *Proxy) missing(wanted []int, owned map[int]int64) []wire.Missing {
	absent := slices.DeleteFunc(slices.Clone(wanted), func(partition int) bool { _, ok := owned[partition]; return ok })
	if len(absent) == 0 {
		return nil
	}
	return []wire.Missing{{Shard: p.cfg.ShardID, Partitions: absent, Code: wire.CodeMisrouted, Detail: "the shard does not own them"}}
}
