package shardproxy

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveCheckpoints tells the checkpoints of every database. One that can't be asked is missing, whatever is remembered of it: the
// log is trimmed by this answer.
func (p *Proxy) serveCheckpoints(ctx context.Context, c echo.Context) error {
	all := p.databases.Load()
	if all == nil {
		return errNotProbed
	}
	out := wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{}}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	for _, d := range all.list {
		if d.State != cluster.Attached {
			continue // it can't become the primary before it has what the primary has
		}
		wg.Go(func() {
			told, err := d.checkpoints(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.log.Warn("reading checkpoints failed", "database", d.ID, "error", err)
				out.Missing = append(out.Missing, d.ID)
				return
			}
			out.Checkpoints = append(out.Checkpoints, told...)
		})
	}
	wg.Wait()
	slices.Sort(out.Missing)
	slices.SortFunc(out.Checkpoints, func(a, b wire.Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Database, b.Database))
	})
	return httpserver.SendJSON(c, out)
}

func (d *database) checkpoints(ctx context.Context) ([]wire.Checkpoint, error) {
	if h := d.health.Load(); !h.admitted {
		return nil, h.reason
	}
	stored, err := d.monitor.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	told := make([]wire.Checkpoint, len(stored))
	for i, s := range stored {
		told[i] = checkpointOf(s)
		told[i].Database = d.ID
	}
	return told, nil
}
