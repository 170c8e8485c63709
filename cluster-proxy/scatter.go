package clusterproxy

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
)

// maxFanOut bounds how many shards one request asks at once.
const maxFanOut = 32

// A tenth of a request's time, up to maxReserve, is kept back for gathering: an answer that says what is missing must still
// reach a caller that waits no longer than its deadline.
const maxReserve = 500 * time.Millisecond

func withReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, maxReserve)))
}

// part is what one shard has to answer of a request: items by their place in the request, and their partitions.
type part struct {
	shard      string
	items      []int
	partitions []int // ascending, each once
}

// split groups items by the shard of their partition.
func split(s *cluster.Snapshot, partitionOf []int, items []int) []part {
	byShard := map[string]*part{}
	for _, item := range items {
		shard, _ := s.ShardOf(partitionOf[item])
		if byShard[shard] == nil {
			byShard[shard] = &part{shard: shard}
		}
		p := byShard[shard]
		p.items = append(p.items, item)
		p.partitions = append(p.partitions, partitionOf[item])
	}
	parts := make([]part, 0, len(byShard))
	for _, shard := range slices.Sorted(maps.Keys(byShard)) {
		p := *byShard[shard]
		slices.Sort(p.partitions)
		p.partitions = slices.Compact(p.partitions)
		parts = append(parts, p)
	}
	return parts
}

// each calls fn for every part, several at once, and returns when all are done.
func each(parts []part, fn func(part)) {
	var group errgroup.Group
	group.SetLimit(maxFanOut)
	for _, p := range parts {
		group.Go(func() error {
			fn(p)
			return nil
		})
	}
	_ = group.Wait() // the goroutines above return no errors
}

// scatter asks every part of a request for its items, given the partition of each, several at once. A part whose shard does not own
// what it was asked for is split anew and asked again, once, if the topology has moved some of it meanwhile. done is told of
// every part's end and called by several goroutines.
func (p *Proxy) scatter(ctx context.Context, s *cluster.Snapshot, partitionOf []int, ask func(context.Context, part) error, done func(part, error)) {
	ctx, cancel := withReserve(ctx)
	defer cancel()
	items := make([]int, len(partitionOf))
	for i := range items {
		items[i] = i
	}
	each(split(s, partitionOf, items), func(one part) {
		err := ask(ctx, one)
		if wire.CodeOf(err) == wire.CodeMisrouted && p.moved(one) {
			p.metrics.Retried(wire.CodeMisrouted)
			for _, again := range split(p.cfg.Snapshot(), partitionOf, one.items) {
				done(again, ask(ctx, again))
			}
			return
		}
		done(one, err)
	})
}

// moved tells whether the topology has another shard for any of a part's partitions by now.
func (p *Proxy) moved(one part) bool {
	return slices.ContainsFunc(one.partitions, func(partition int) bool {
		_, moved := p.movedTo(partition, one.shard)
		return moved
	})
}

// owners returns a part for every shard that owns any partition.
func owners(s *cluster.Snapshot) []part {
	partitions := make([]int, len(s.Topology.Partitions))
	for i := range partitions {
		partitions[i] = i
	}
	return split(s, partitions, partitions)
}
