package mysql

import (
	"context"
	"fmt"
	"time"
)

// States of a restored range.
const (
	rangeLoading   = "loading"
	rangeReady     = "ready"
	rangeReleasing = "releasing"
)

// maxRestoredRanges bounds how many ranges are brought back at a time.
const maxRestoredRanges = 100

// RestoredRange is a range that was or is being brought back from cold storage.
type RestoredRange struct {
	ID         uint64
	Resolution string
	From, To   int64 // minutes
	State      string
}

const selectRanges = "SELECT id, resolution, %s AS `from`, %s AS `to`, state FROM restored_ranges "

func readRestored(ctx context.Context, from selector, where string, args ...any) ([]RestoredRange, error) {
	var all []RestoredRange
	text := fmt.Sprintf(selectRanges, inMinutes("range_start"), inMinutes("range_end"))
	if err := from.SelectContext(ctx, &all, text+where+" ORDER BY resolution, range_start", args...); err != nil {
		return nil, fmt.Errorf("read restored ranges: %w", meaning(err))
	}
	return all, nil
}

// restoredWithin returns the ranges that overlap one.
func (t *transaction) restoredWithin(ctx context.Context, of string, from, to int64) ([]RestoredRange, error) {
	return readRestored(ctx, t.conn, fmt.Sprintf("WHERE resolution = ? AND range_start < %s AND range_end > %s", appendTime(nil, to), appendTime(nil, from)), of)
}

// restoredRange returns one.
func (t *transaction) restoredRange(ctx context.Context, id uint64) (RestoredRange, error) {
	found, err := readRestored(ctx, t.conn, "WHERE id = ?", id)
	if err != nil {
		return RestoredRange{}, err
	}
	if len(found) == 0 {
		return RestoredRange{}, fmt.Errorf("range %d: %w", id, ErrNoRange)
	}
	return found[0], nil
}

// BeginRestore makes room for the rows of a cold range, whole days. Who repeats it gets the same range, as far as it came.
func (p *Primary) BeginRestore(ctx context.Context, l Leader, of string, from, to int64) (RestoredRange, error) {
	table, err := resolutionOf(of)
	if err == nil && (from < 0 || from >= to || from%minutesPerDay != 0 || to%minutesPerDay != 0) {
		err = fmt.Errorf("minutes %d to %d are no whole days: %w", from, to, ErrUnapplicable)
	}
	out := RestoredRange{Resolution: of, From: from, To: to, State: rangeLoading}
	if err == nil {
		err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
			out.ID, out.State, err = tx.beginRestore(ctx, table, from, to, p.cfg.Now())
			return err
		})
	}
	if err != nil {
		return RestoredRange{}, fmt.Errorf("begin to restore %s rows: %w", of, err)
	}
	return out, nil
}

func (t *transaction) beginRestore(ctx context.Context, table resolution, from, to int64, now time.Time) (id uint64, state string, err error) {
	mark, err := t.mark(ctx, table)
	if err != nil {
		return 0, "", err
	}
	if to > mark.ColdBefore {
		return 0, "", fmt.Errorf("%s rows are cold before minute %d only: %w", mark.Resolution, mark.ColdBefore, ErrConflict)
	}
	overlapping, err := t.restoredWithin(ctx, mark.Resolution, from, to)
	if err != nil {
		return 0, "", err
	}
	if len(overlapping) > 0 {
		r := overlapping[0]
		if r.From == from && r.To == to && r.State != rangeReleasing {
			return r.ID, r.State, nil
		}
		return 0, "", fmt.Errorf("the range from minute %d to %d is %s: %w", r.From, r.To, r.State, ErrConflict)
	}
	var ranges int
	if err := t.conn.GetContext(ctx, &ranges, "SELECT COUNT(*) FROM restored_ranges"); err != nil {
		return 0, "", meaning(err)
	}
	if ranges >= maxRestoredRanges {
		return 0, "", fmt.Errorf("%d ranges are restored, release one first: %w", ranges, ErrConflict)
	}
	result, err := t.conn.ExecContext(ctx, "INSERT INTO restored_ranges (resolution, range_start, range_end, state, changed_at) VALUES (?, ?, ?, ?, ?)",
		mark.Resolution, instant(from), instant(to), rangeLoading, now.UTC())
	if err != nil {
		return 0, "", meaning(err)
	}
	inserted, err := result.LastInsertId()
	return uint64(inserted), rangeLoading, err
}

// ReleaseRestored ends that a range is read from its copies, which DropArchived then deletes. ErrNoRange may mean that it did so already.
func (p *Primary) ReleaseRestored(ctx context.Context, l Leader, of string, from, to int64) (RestoredRange, error) {
	var out RestoredRange
	err := p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		found, err := tx.restoredWithin(ctx, of, from, to)
		if err != nil {
			return err
		}
		if len(found) != 1 || found[0].From != from || found[0].To != to {
			return fmt.Errorf("minutes %d to %d: %w", from, to, ErrNoRange)
		}
		out = found[0]
		if out.State == rangeReleasing {
			return nil
		}
		return tx.setRange(ctx, &out, rangeReleasing, p.cfg.Now())
	})
	if err != nil {
		return RestoredRange{}, fmt.Errorf("release restored %s rows: %w", of, err)
	}
	return out, nil
}

// setRange gives a range a state from which on it is read in another way.
func (t *transaction) setRange(ctx context.Context, r *RestoredRange, state string, now time.Time) error {
	r.State = state
	if err := t.exec(ctx, "UPDATE restored_ranges SET state = ?, changed_at = ? WHERE id = ?", state, now.UTC(), r.ID); err != nil {
		return err
	}
	// Last, for every Apply waits from here to the commit.
	return t.exec(ctx, "UPDATE archive_marks SET version = version + 1 WHERE resolution = ?", r.Resolution)
}

// EndRestore makes a range readable, if its rows have the sums of what the manifest has of it; else it returns a *ConservationError. Repeating it
// changes nothing.
func (p *Primary) EndRestore(ctx context.Context, l Leader, id uint64) (RestoredRange, error) {
	out, err := p.endRestore(ctx, l, id)
	if err != nil {
		return RestoredRange{}, fmt.Errorf("end restore: %w", err)
	}
	return out, nil
}

func (p *Primary) endRestore(ctx context.Context, l Leader, id uint64) (out RestoredRange, err error) {
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) (err error) {
		out, err = tx.restoredRange(ctx, id)
		return err
	})
	if err != nil || out.State == rangeReady {
		return out, err
	}
	table, err := resolutionOf(out.Resolution)
	if err != nil {
		return out, err
	}
	// Only the leader adds to them: they are summed up before the transaction, which stays short.
	restored, err := p.db.sumTable(ctx, table.restored, out.From, out.To)
	if err != nil {
		return out, err
	}
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		if out, err = tx.restoredRange(ctx, id); err != nil || out.State == rangeReady {
			return err
		}
		if out.State != rangeLoading {
			return fmt.Errorf("range %d is %s: %w", id, out.State, ErrConflict)
		}
		stored, err := tx.sumManifest(ctx, &out)
		if err != nil {
			return err
		}
		if err := stored.conserve(restored, sameButRows); err != nil {
			return err
		}
		return tx.setRange(ctx, &out, rangeReady, p.cfg.Now())
	})
	return out, err
}

// sumManifest sums up what the stored objects of a range hold, by partition.
func (t *transaction) sumManifest(ctx context.Context, r *RestoredRange) (partitionSums, error) {
	rows, err := t.conn.QueryContext(ctx, fmt.Sprintf(`SELECT partition_id, SUM(row_count), SUM(event_count_sum), SUM(value_count_sum), SUM(value_sum_sum) FROM archive_manifest
WHERE resolution = ? AND state = ? AND range_start >= %s AND range_end <= %s GROUP BY partition_id`, appendTime(nil, r.From), appendTime(nil, r.To)), r.Resolution, manifestStored)
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
		sums.Partition = int(partition)
		total.add(sums)
	}
	return total, meaning(rows.Err())
}
