package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// deletedAtOnce bounds the rows of one DELETE.
const deletedAtOnce = 20_000

// CommitLate makes objects the place of all sealed late rows of one cold day, or of a part of it, [From, To), and deletes those. It returns a *ConservationError if the sums differ,
// and ErrConflict while a restored range holds copies of the day, for they would lack the rows. Repeating a commit that took place succeeds.
func (p *Primary) CommitLate(ctx context.Context, c *ArchiveCommit) (ArchiveMark, error) {
	from := c.From - c.From%minutesPerDay
	table, err := c.check(from, from+minutesPerDay)
	if err == nil && (c.From < 0 || c.From >= c.To || c.To > from+minutesPerDay) {
		err = fmt.Errorf("minutes %d to %d are not of one day: %w", c.From, c.To, ErrUnapplicable)
	}
	var mark ArchiveMark
	if err == nil {
		mark, err = p.committing(ctx, c, table, func(ctx context.Context, tx *transaction) error { return tx.commitLate(ctx, c, table, p.cfg.Now()) })
	}
	if err != nil && !errors.Is(err, errDone) {
		return ArchiveMark{}, fmt.Errorf("commit late %s rows: %w", c.Resolution, err)
	}
	return mark, nil
}

func (t *transaction) commitLate(ctx context.Context, c *ArchiveCommit, table resolution, now time.Time) error {
	states, err := t.manifestStates(ctx, c.names())
	if err != nil {
		return err
	}
	if len(states) > 0 {
		return t.committedBefore(ctx, c)
	}
	mark, err := t.mark(ctx, table)
	if err != nil {
		return err
	}
	if c.To > mark.ColdBefore {
		return fmt.Errorf("the day at minute %d is not cold, %s rows are before %d: %w", c.From, c.Resolution, mark.ColdBefore, ErrConflict)
	}
	restored, err := t.restoredWithin(ctx, c.Resolution, c.From, c.To)
	if err != nil {
		return err
	}
	for _, r := range restored {
		if r.State != rangeReleasing {
			return fmt.Errorf("the day at minute %d is restored: %w", c.From, ErrConflict)
		}
	}
	// Nobody adds to rows of earlier rounds, and only the leader deletes them: no lock is needed to sum them up.
	sealed := fmt.Sprintf("start >= %s AND start < %s AND late_round < %d", appendTime(nil, c.From), appendTime(nil, c.To), mark.LateRound)
	stored, err := t.sumSealed(ctx, table.late, sealed)
	if err != nil {
		return err
	}
	if err := stored.conserve(c.sums(), sameInAll); err != nil {
		return err
	}
	if err := t.deleteSealed(ctx, table.late, sealed, stored.rows()); err != nil {
		return err
	}
	return t.store(ctx, c, now)
}

// noPartition stands for that of a key without a name.
const noPartition = 1 << 16

func (t *transaction) sumSealed(ctx context.Context, table, sealed string) (partitionSums, error) {
	text := fmt.Sprintf(`SELECT COALESCE(k.partition_id, %d) AS partition_id, COUNT(*), SUM(event_count), COALESCE(SUM(value_count), 0), COALESCE(SUM(value_sum), 0)
FROM %s l LEFT JOIN counted_keys k ON k.id = l.key_id WHERE %s GROUP BY 1`, noPartition, table, sealed)
	rows, err := t.conn.QueryContext(ctx, text)
	if err != nil {
		return nil, meaning(err)
	}
	defer rows.Close()
	total := partitionSums{}
	for rows.Next() {
		partition, sums, err := scanSums(rows)
		if err != nil {
			return nil, err
		}
		if partition == noPartition {
			return nil, fmt.Errorf("there are late rows of keys that have no name: %w", ErrSchema)
		}
		sums.Partition = int(partition)
		total.add(sums)
	}
	return total, meaning(rows.Err())
}

// deleteSealed deletes what was summed up, in statements that stay short, and makes sure that it was the same.
func (t *transaction) deleteSealed(ctx context.Context, table, sealed string, want int64) error {
	for deleted := int64(0); ; {
		n, err := t.affecting(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s LIMIT %d", table, sealed, deletedAtOnce))
		if err != nil {
			return err
		}
		deleted += n
		if n == deletedAtOnce {
			continue
		}
		if deleted != want {
			return fmt.Errorf("deleted %d late rows, summed up %d: %w", deleted, want, errRetry)
		}
		return nil
	}
}

// affecting is exec that returns how many rows it changed.
func (t *transaction) affecting(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := t.conn.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, meaning(err)
	}
	return result.RowsAffected()
}
