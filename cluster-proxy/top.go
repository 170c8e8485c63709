package clusterproxy

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// top merges the shards' rankings: a key is on one shard only, so the best of all are among the best of each. A shard whose ranking isn't exact says
// how much a key that it left out may count; if that is less than the last of all has, it can't matter.
func (p *Proxy) top(ctx context.Context, r *wire.TopRequest) (*wire.TopAnswer, error) {
	if err := checkTop(r); err != nil {
		return nil, err
	}
	s, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	ctx, cancel := withReserve(ctx)
	defer cancel()
	out, misrouted, err := p.topOf(ctx, s, r)
	if misrouted {
		// A ranking is of all partitions, so a shard that lost one can't be asked for the rest: start again.
		if now := p.cfg.Snapshot(); now != nil && !slices.Equal(now.Topology.Partitions, s.Topology.Partitions) {
			p.metrics.Retried(wire.CodeMisrouted)
			out, _, err = p.topOf(ctx, now, r)
		}
	}
	if err != nil {
		return nil, err
	}
	p.metrics.missed("top", out.Coverage.Missing)
	return out, nil
}

func checkTop(r *wire.TopRequest) error {
	switch {
	case !event.ValidTypeName(r.Type):
		return wire.NewProblem(wire.CodeBadRequest, "%q is no event type's name", r.Type).WithField("type")
	case r.N < 1 || r.N > wire.MaxTop:
		return wire.NewProblem(wire.CodeBadRequest, "n is %d, must be 1 to %d", r.N, wire.MaxTop).WithField("n")
	case r.From >= r.To:
		return wire.NewProblem(wire.CodeBadRequest, "the range from minute %d to %d is empty", r.From, r.To).WithField("to_minute")
	}
	return nil
}

func (p *Proxy) topOf(ctx context.Context, s *cluster.Snapshot, r *wire.TopRequest) (out *wire.TopAnswer, misrouted bool, err error) {
	parts := owners(s)
	var needed []int
	for _, one := range parts {
		needed = append(needed, one.partitions...)
	}
	g := newGathering(needed)
	out = &wire.TopAnswer{Entries: []wire.TopEntry{}}
	whole, doubtful := true, int64(0) // what shards whose ranking isn't exact may have left out counts at most
	var mu sync.Mutex                 // guards all above and misrouted
	each(parts, func(one part) {
		answer, err := askShard[wire.TopAnswer](ctx, p, "top", one.shard, wire.PathTop, r)
		if err != nil {
			answer = &wire.TopAnswer{}
			g.failed(one.shard, one.partitions, err)
		} else {
			g.answered(one, &answer.Provenance)
		}
		mu.Lock()
		defer mu.Unlock()
		misrouted = misrouted || isMisrouted(answer, err)
		own := ownEntries(s, r.Type, one.shard, answer.Entries)
		out.Entries = append(out.Entries, own...)
		whole = whole && err == nil && len(own) == len(answer.Entries)
		out.Others = max(out.Others, answer.Others)
		if !answer.Exact {
			whole = whole && answer.Others > 0
			doubtful = max(doubtful, answer.Others)
		}
	})
	if out.Provenance, err = g.provenance(); err != nil {
		return nil, misrouted, err
	}
	rank(out, r.N)
	last := int64(0)
	if len(out.Entries) == r.N {
		last = out.Entries[r.N-1].Count
	}
	// A key that counts just as much as the last one may come before it.
	out.Exact = whole && len(out.Coverage.Missing) == 0 && (doubtful < last || doubtful == 0)
	return out, misrouted, nil
}

// isMisrouted tells whether a shard does not own all that the topology gives it.
func isMisrouted(answer *wire.TopAnswer, err error) bool {
	return wire.CodeOf(err) == wire.CodeMisrouted ||
		slices.ContainsFunc(answer.Coverage.Missing, func(m wire.Missing) bool { return m.Code == wire.CodeMisrouted })
}

// ownEntries leaves out keys of partitions that are another shard's: while a partition moves, both may hold its rows.
func ownEntries(s *cluster.Snapshot, eventType, shard string, entries []wire.TopEntry) []wire.TopEntry {
	return slices.DeleteFunc(slices.Clone(entries), func(e wire.TopEntry) bool {
		owner, _ := s.ShardOf(s.PartitionOf(eventType, e.Key))
		return owner != shard
	})
}

// rank sorts by count, then key, and keeps the first n. Those that fall off are others.
func rank(out *wire.TopAnswer, n int) {
	slices.SortFunc(out.Entries, func(a, b wire.TopEntry) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	if len(out.Entries) > n {
		out.Others = max(out.Others, out.Entries[n].Count)
		out.Entries = out.Entries[:n]
	}
}
