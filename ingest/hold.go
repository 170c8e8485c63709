package ingest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// maxArchivedBody bounds a wire.LogArchived.
const maxArchivedBody = 4 << 10

// archived is how far the archive of raw events came, by partition, as it told. It is not kept on disk: after a start nothing is trimmed
// until it was told again. It is safe for concurrent use.
type archived struct {
	mu     sync.Mutex
	before []uint64 // all that the partition held below is in cold storage; 0: nobody told
}

func newArchived(partitions int) *archived { return &archived{before: make([]uint64, partitions)} }

func (a *archived) get(partition int) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.before[partition]
}

func (a *archived) raise(partition int, before uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before[partition] = max(a.before[partition], before)
}

// getHold serves wire.PathLogHold.
func (i *Ingest) getHold(c echo.Context) error {
	answer, err := i.hold(c.Request().Context())
	if err != nil {
		return logProblem(err)
	}
	return c.JSON(http.StatusOK, answer)
}

// postArchived serves wire.PathLogHold. Telling twice, or less than before, changes nothing.
func (i *Ingest) postArchived(c echo.Context) error {
	body, err := io.ReadAll(io.LimitReader(c.Request().Body, maxArchivedBody))
	if err != nil {
		return wire.NewProblem(wire.CodeBadRequest, "read body: %v", err)
	}
	var told wire.LogArchived
	if err := httpserver.DecodeJSON(body, &told); err != nil {
		return err
	}
	if told.Partition < 0 || told.Partition >= len(i.lanes) {
		return noPartition(told.Partition, len(i.lanes))
	}
	if own := i.cfg.Log.Incarnation(); told.Incarnation != own {
		return wire.NewProblem(wire.CodeConflict, "this is the log %s, not %s", own, told.Incarnation).WithField("incarnation")
	}
	bounds, err := i.cfg.Log.Bounds(c.Request().Context(), told.Partition)
	if err != nil {
		return logProblem(err)
	}
	if told.Before > bounds.Next {
		return wire.NewProblem(wire.CodeBeyondEnd, "partition %d ends before offset %d", told.Partition, bounds.Next).WithField("before")
	}
	i.archived.raise(told.Partition, told.Before)
	return i.getHold(c)
}

func (i *Ingest) hold(ctx context.Context) (*wire.LogHold, error) {
	now, err := i.cfg.Log.Now()
	if err != nil {
		return nil, fmt.Errorf("read the log's clock: %w", err)
	}
	answer := &wire.LogHold{Incarnation: i.cfg.Log.Incarnation(), Holds: i.cfg.Hold, NowMs: now}
	answer.UsedBytes, answer.LimitBytes = i.cfg.Log.Bytes()
	for p := range i.lanes {
		b, err := i.cfg.Log.Bounds(ctx, p)
		if err != nil {
			return nil, err
		}
		answer.Partitions = append(answer.Partitions, wire.LogHeldPartition{Partition: p, First: b.First, Next: b.Next, Archived: i.archived.get(p)})
	}
	return answer, nil
}

// archivedBefore lowers what could be trimmed to what is archived, if that is what the log waits for.
func (i *Ingest) archivedBefore(partition int, before uint64) uint64 {
	if !i.cfg.Hold {
		return before
	}
	return min(before, i.archived.get(partition))
}

// holdBack is archivedBefore, noted; waits tells whether more could be trimmed if it was archived.
func (i *Ingest) holdBack(partition int, before uint64) (limit uint64, waits bool) {
	limit = i.archivedBefore(partition, before)
	if i.cfg.Hold {
		i.metrics.waits(partition, limit < before)
	}
	return limit, limit < before
}

// warnOfHold says ahead of time where it leads that trimming waits for the archive: a full log refuses events.
func (i *Ingest) warnOfHold(waiting int) {
	if used, limit := i.cfg.Log.Bytes(); waiting > 0 && used > limit/2 {
		i.cfg.Logger.Warn("the log fills up and is not trimmed, as raw events are not archived: at its bound it refuses events",
			"partitions", waiting, "bytes", used, "max_bytes", limit)
	}
}
