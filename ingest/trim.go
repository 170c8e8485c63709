package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quipudb/quipu/wire"
)

// Checkpoints tells how far every database has counted.
type Checkpoints interface {
	Checkpoints(ctx context.Context) (wire.CheckpointsAnswer, error)
}

// keepTrimming trims the log every so often until ctx ends.
func (i *Ingest) keepTrimming(ctx context.Context) {
	ticker := time.NewTicker(i.cfg.TrimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		outcome := "done"
		if err := i.trim(ctx); err != nil {
			outcome = "held_back"
			i.cfg.Logger.Warn("the log is not trimmed", "error", err)
		}
		i.metrics.trims.WithLabelValues(outcome).Inc()
	}
}

// trim drops what no database needs any more and retention does not keep. If what some database has counted is unknown, nothing is dropped.
// Retention yields to the log's bound: as long as the log is fuller than it should be, batches are kept for half of the time. What is to be
// archived first never yields.
func (i *Ingest) trim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.TrimTimeout)
	defer cancel()
	answer, err := i.cfg.Checkpoints.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("ask for checkpoints: %w", err)
	}
	promotable, err := i.withoutUnpromotable(ctx, &answer)
	if err != nil {
		return err
	}
	if len(answer.Missing) > 0 {
		return errors.Join(fmt.Errorf("checkpoints of %v are not known", answer.Missing), i.giveUp(ctx, promotable, answer.Missing))
	}
	needed := neededFrom(answer.Checkpoints, i.cfg.Log.Incarnation(), len(i.lanes))
	now, err := i.cfg.Log.Now()
	if err != nil {
		return fmt.Errorf("read the log's clock: %w", err)
	}
	for retention := i.cfg.Retention; ; {
		waiting, err := i.trimBelow(ctx, needed, now-retention.Milliseconds())
		if err != nil {
			return err
		}
		if used, limit := i.cfg.Log.Bytes(); used <= limit/4*3 || retention == 0 {
			i.warnOfHold(waiting)
			return i.giveUp(ctx, promotable, i.heldBackBy(promotable, answer.Checkpoints, needed))
		}
		if retention /= 2; retention < leastRetention {
			retention = 0
		}
	}
}

// leastRetention is not worth halving.
const leastRetention = time.Minute

// trimBelow drops what was appended before an instant and is not needed, by partition, and counts the partitions where more could go if
// it was archived.
func (i *Ingest) trimBelow(ctx context.Context, needed []uint64, appendTimeMs int64) (waiting int, err error) {
	for partition, before := range needed {
		if before <= 1 {
			continue
		}
		kept, err := i.cfg.Log.Seek(ctx, partition, appendTimeMs)
		if err != nil {
			return waiting, fmt.Errorf("find what retention keeps of partition %d: %w", partition, err)
		}
		before, waits := i.holdBack(partition, min(before, kept))
		if waits {
			waiting++
		}
		if before <= 1 {
			continue
		}
		if err := i.cfg.Log.Trim(ctx, partition, before); err != nil {
			return waiting, fmt.Errorf("trim partition %d: %w", partition, err)
		}
	}
	return waiting, nil
}

// neededFrom returns, by partition, the first offset that some database still needs to rebuild its window from; 0 if that is not known.
func neededFrom(checkpoints []wire.Checkpoint, incarnation string, partitions int) []uint64 {
	needed := make([]uint64, partitions)
	known := make([]bool, partitions)
	for _, c := range checkpoints {
		if c.Partition < 0 || c.Partition >= partitions {
			continue
		}
		from := min(c.WindowFrom, c.NextOffset)
		if c.Incarnation != incarnation {
			from = 0 // it has counted nothing of this log yet
		}
		if !known[c.Partition] || from < needed[c.Partition] {
			needed[c.Partition], known[c.Partition] = from, true
		}
	}
	return needed
}
