package clusterproxy

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveCheckpoints concatenates what the shards tell. The log is trimmed by the answer, so a database counts as missing unless
// it told a checkpoint for every partition of its shard; that all are missing is an answer, too.
func (p *Proxy) serveCheckpoints(ctx context.Context, c echo.Context) error {
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	ctx, cancel := withReserve(ctx)
	defer cancel()
	out := &wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{}}
	var mu sync.Mutex // guards out
	each(owners(s), func(one part) {
		answer := &wire.CheckpointsAnswer{}
		err := p.onShard(ctx, "checkpoints", one.shard, func(ctx context.Context, base string) error {
			*answer = wire.CheckpointsAnswer{}
			return p.cfg.Client.JSON(ctx, http.MethodGet, base+wire.PathCheckpoints, nil, answer)
		})
		if err != nil {
			p.log.Warn("asking a shard for its checkpoints failed", "shard", one.shard, "error", err)
			answer = &wire.CheckpointsAnswer{}
		}
		mu.Lock()
		defer mu.Unlock()
		out.Checkpoints = append(out.Checkpoints, answer.Checkpoints...)
		out.Missing = append(out.Missing, missingDatabases(s, one, answer)...)
	})
	slices.SortFunc(out.Checkpoints, func(a, b wire.Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Database, b.Database))
	})
	slices.Sort(out.Missing)
	return httpserver.SendJSON(c, out)
}

// missingDatabases lists the databases that the shard reports missing, and those in their place in the topology that lack a partition.
func missingDatabases(s *cluster.Snapshot, one part, answer *wire.CheckpointsAnswer) []string {
	type place struct {
		database  string
		partition int
	}
	told := map[place]bool{}
	for _, c := range answer.Checkpoints {
		told[place{c.Database, c.Partition}] = true
	}
	missing := slices.Clone(answer.Missing)
	shard, _ := s.Topology.Shard(one.shard)
	for _, d := range shard.Databases {
		if d.State != cluster.Attached {
			continue // it can't become the primary before it has what the primary has
		}
		lacks := slices.ContainsFunc(one.partitions, func(partition int) bool { return !told[place{d.ID, partition}] })
		if lacks && !slices.Contains(missing, d.ID) {
			missing = append(missing, d.ID)
		}
	}
	return missing
}
