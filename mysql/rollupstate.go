package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// lockLeader reads who leads the roll-up, and lets nobody else lead or step until the transaction ends.
func (t *transaction) lockLeader(ctx context.Context) (epoch uint64, owner string, err error) {
	row := t.conn.QueryRowxContext(ctx, "SELECT epoch, owner FROM rollup_leader WHERE id = 1 FOR UPDATE")
	if err := row.Scan(&epoch, &owner); err != nil {
		return 0, "", fmt.Errorf("read leader of the roll-up: %w", absent(err))
	}
	return epoch, owner, nil
}

const selectCoverage = `SELECT l.epoch, l.owner, w.resolution, %s AS complete, %s AS computing, p.next_key
FROM rollup_leader l JOIN rollup_watermarks w JOIN rollup_progress p ON p.resolution = w.resolution
WHERE l.id = 1 ORDER BY w.resolution DESC`

// coverageRow is one of two: hour, then day.
type coverageRow struct {
	Epoch      uint64
	Owner      string
	Resolution string
	Complete   int64
	Computing  int64
	NextKey    uint64 `db:"next_key"`
}

type selector interface {
	SelectContext(ctx context.Context, into any, query string, args ...any) error
}

func readCoverage(ctx context.Context, from selector) ([]coverageRow, error) {
	text := fmt.Sprintf(selectCoverage, inMinutes("w.complete_before"), inMinutes(fmt.Sprintf(computingBefore, "w")))
	var rows []coverageRow
	if err := from.SelectContext(ctx, &rows, text); err != nil {
		return nil, fmt.Errorf("read state of the roll-up: %w", meaning(err))
	}
	if len(rows) != 2 {
		return nil, fmt.Errorf("read state of the roll-up: %d rows, want 2: %w", len(rows), ErrSchema)
	}
	return rows, nil
}

// readCoverage takes no locks: nobody else changes what it reads while the leader's row is locked.
func (t *transaction) readCoverage(ctx context.Context) (hour, day coverage, err error) {
	rows, err := readCoverage(ctx, t.conn)
	if err != nil {
		return hour, day, err
	}
	of := func(table resolution, r coverageRow) coverage {
		return coverage{resolution: table, before: r.Complete, computing: r.Computing, next: r.NextKey}
	}
	return of(perHour, rows[0]), of(perDay, rows[1]), nil
}

// chunkEnd returns the key that a chunk ends before. A key is never divided.
func (t *transaction) chunkEnd(ctx context.Context, query string, first uint64) (uint64, error) {
	var end uint64
	switch err := t.conn.QueryRowxContext(ctx, query, first).Scan(&end); {
	case errors.Is(err, sql.ErrNoRows):
		return allKeys, nil
	case err != nil:
		return 0, meaning(err)
	}
	return max(end, first+1), nil
}

const selectListsDue = `SELECT EXISTS (SELECT 1 FROM ranked_grown)
OR EXISTS (SELECT 1 FROM ranked_marks m JOIN archive_marks a ON a.resolution = m.resolution WHERE m.complete_from > a.frozen_before)`

// Rollup reads how far the roll-up came.
func (d *DB) Rollup(ctx context.Context) (*RollupState, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var rows []coverageRow
	var due bool
	err := retrying(ctx, func() (err error) {
		if rows, err = readCoverage(ctx, d.sql); err != nil {
			return err
		}
		if err = d.sql.GetContext(ctx, &due, selectListsDue); olderSchema(err) {
			return nil
		}
		return meaning(err)
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", d.cfg.ID, err)
	}
	state := &RollupState{Epoch: rows[0].Epoch, Owner: rows[0].Owner, ListsDue: due}
	for _, r := range rows {
		state.Marks = append(state.Marks, RollupMark{Resolution: r.Resolution, CompleteBefore: r.Complete, ComputingBefore: r.Computing, NextKey: r.NextKey})
	}
	return state, nil
}
