package ingest

import (
	"context"
	"fmt"
	"slices"

	"github.com/quipudb/quipu/wire"
)

// Replicas says which databases may become the primary of their shard. The log is kept for those, so that they can catch up from it.
type Replicas interface {
	// Promotable tells of each replica whether it may. Databases that are not in the map are primaries.
	Promotable() map[string]bool
	// SetPromotable fails if the database is the primary by now.
	SetPromotable(ctx context.Context, database string, promotable bool) error
}

// A log that is fuller than this, in percent, though all was trimmed that could be, is no longer kept for replicas that lag or are away.
const crowdedPercent = 90

// crowded tells whether the log is so full that it is not kept for replicas.
func (i *Ingest) crowded() bool {
	used, limit := i.cfg.Log.Bytes()
	return used > limit/100*crowdedPercent
}

// withoutUnpromotable leaves out what the log is no longer kept for, and keeps it again for replicas that have caught up with what it holds, once
// there is room: before, the log still has what it is about to drop. It returns the replicas that the log is kept for.
func (i *Ingest) withoutUnpromotable(ctx context.Context, answer *wire.CheckpointsAnswer) (promotable []string, err error) {
	if i.cfg.Replicas == nil {
		return nil, nil
	}
	given := map[string]bool{}
	for id, may := range i.cfg.Replicas.Promotable() {
		if !may && !i.crowded() && !slices.Contains(answer.Missing, id) && i.reaches(ctx, id, answer.Checkpoints) {
			if err := i.cfg.Replicas.SetPromotable(ctx, id, true); err != nil {
				return nil, fmt.Errorf("keep the log for %s again: %w", id, err)
			}
			i.cfg.Logger.Info("the replica has caught up with what the log holds: it may be promoted again", "database", id)
			may = true
		}
		if given[id] = !may; may {
			promotable = append(promotable, id)
		}
	}
	answer.Missing = slices.DeleteFunc(slices.Clone(answer.Missing), func(id string) bool { return given[id] })
	answer.Checkpoints = slices.DeleteFunc(slices.Clone(answer.Checkpoints), func(c wire.Checkpoint) bool { return given[c.Database] })
	return promotable, nil
}

// reaches tells whether the log still holds all that a database would need as the primary.
func (i *Ingest) reaches(ctx context.Context, database string, checkpoints []wire.Checkpoint) bool {
	known := false
	for _, c := range checkpoints {
		if c.Database != database || c.Partition < 0 || c.Partition >= len(i.lanes) {
			continue
		}
		bounds, err := i.cfg.Log.Bounds(ctx, c.Partition)
		if err != nil || c.Incarnation != bounds.Incarnation || min(c.WindowFrom, c.NextOffset) < bounds.First {
			return false
		}
		known = true
	}
	return known
}

// heldBackBy lists the replicas without which more could be trimmed. What the archive of raw events holds, they don't.
func (i *Ingest) heldBackBy(promotable []string, checkpoints []wire.Checkpoint, needed []uint64) (behind []string) {
	for _, id := range promotable {
		others := slices.DeleteFunc(slices.Clone(checkpoints), func(c wire.Checkpoint) bool { return c.Database == id })
		for partition, from := range neededFrom(others, i.cfg.Log.Incarnation(), len(i.lanes)) {
			if i.archivedBefore(partition, from) > needed[partition] {
				behind = append(behind, id)
				break
			}
		}
	}
	return behind
}

// giveUp ends keeping a crowded log for replicas that hold it back. They stay replicas, and are read; what they lack they get from their primary.
func (i *Ingest) giveUp(ctx context.Context, promotable, databases []string) error {
	if i.cfg.Replicas == nil || !i.crowded() {
		return nil
	}
	for _, id := range databases {
		if !slices.Contains(promotable, id) {
			continue // a primary: nothing can do without it
		}
		if err := i.cfg.Replicas.SetPromotable(ctx, id, false); err != nil {
			return fmt.Errorf("stop keeping the log for %s: %w", id, err)
		}
		i.metrics.unpromotable.Inc()
		i.cfg.Logger.Error("the log is nearly full and is no longer kept for a replica that lags: it can't be promoted until it has caught up", "database", id)
	}
	return nil
}
