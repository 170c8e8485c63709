package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/quipudb/quipu/event"
)

// Errors of the archive's transactions.
var (
	ErrConflict     = errors.New("the archive's state does not allow it")
	ErrConservation = errors.New("the sums differ")
	ErrNotFrozen    = errors.New("the database does not have these rows frozen")
	ErrNoRange      = errors.New("there is no such restored range")
)

const minutesPerDay = int64(24 * 60)

// Leader names who may change a shard's archive: who claimed its roll-up last (ClaimRollup).
type Leader struct {
	Epoch uint64
	Owner string
}

// ArchiveMark says where one resolution is to be read. Times are minutes since 1970.
type ArchiveMark struct {
	Resolution   string
	FrozenBefore int64
	ColdBefore   int64
	LateRound    uint32
}

// resolutionOf finds a table by the name of its resolution.
func resolutionOf(name string) (resolution, error) {
	for table, n := range resolutionNames {
		if n == name {
			return table, nil
		}
	}
	return resolution{}, fmt.Errorf("%q is no resolution: %w", name, ErrUnapplicable)
}

func (r resolution) late() string     { return "late_" + r.table }
func (r resolution) restored() string { return "restored_" + r.table }

// archiving runs a transaction of the archive: under the leader's lock, which is the first one, nobody else changes marks, manifest,
// intents or restored ranges, so that what is read of them needs no further lock.
func (p *Primary) archiving(ctx context.Context, l Leader, work func(context.Context, *transaction) error) error {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	return p.retrying(ctx, func() error {
		return p.db.transaction(ctx, func(tx *transaction) error {
			if err := tx.leads(ctx, l); err != nil {
				return err
			}
			return work(ctx, tx)
		})
	})
}

// leads locks the leader's row and refuses everybody else.
func (t *transaction) leads(ctx context.Context, l Leader) error {
	epoch, owner, err := t.lockLeader(ctx)
	if err != nil {
		return err
	}
	if epoch != l.Epoch || owner != l.Owner {
		return fmt.Errorf("%s leads with epoch %d, not %s with %d: %w", owner, epoch, l.Owner, l.Epoch, ErrFenced)
	}
	return nil
}

// FreezeArchive ends all changes of rows of a resolution that start before an instant: what is added to them later goes to the late table. The
// mark moves to the start of a day, never beyond the watermark of the next coarser table and never back.
func (p *Primary) FreezeArchive(ctx context.Context, l Leader, of string, before int64) (ArchiveMark, error) {
	table, err := resolutionOf(of)
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("freeze: %w", err)
	}
	var mark ArchiveMark
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		hour, day, err := tx.readCoverage(ctx)
		if err != nil {
			return err
		}
		limit := day.before
		if table == perMinute {
			limit = hour.before
		}
		// The exclusive lock waits for every Apply that read the old mark.
		if mark, err = tx.mark(ctx, table, "FOR UPDATE"); err != nil {
			return err
		}
		wanted := min(before, limit, event.MaxMinute+1)
		wanted -= wanted % minutesPerDay
		if wanted <= mark.FrozenBefore {
			return nil
		}
		mark.FrozenBefore = wanted
		return tx.exec(ctx, fmt.Sprintf("UPDATE archive_marks SET frozen_before = %s WHERE resolution = ?", appendTime(nil, wanted)), of)
	})
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("freeze %s rows: %w", of, err)
	}
	return mark, nil
}

// SealArchive begins a new round of late rows. From its commit on, those of the earlier rounds never change.
func (p *Primary) SealArchive(ctx context.Context, l Leader, of string) (ArchiveMark, error) {
	table, err := resolutionOf(of)
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("seal: %w", err)
	}
	var mark ArchiveMark
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) (err error) {
		if mark, err = tx.mark(ctx, table, "FOR UPDATE"); err != nil {
			return err
		}
		mark.LateRound++
		return tx.exec(ctx, "UPDATE archive_marks SET late_round = ? WHERE resolution = ?", mark.LateRound, of)
	})
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("seal late %s rows: %w", of, err)
	}
	return mark, nil
}

// selectMarks reads the marks; what follows chooses and locks.
func selectMarks(rest string) string {
	return "SELECT resolution, " + inMinutes("frozen_before") + ", " + inMinutes("cold_before") + ", late_round FROM archive_marks " + rest
}

func (t *transaction) mark(ctx context.Context, of resolution, lock string) (ArchiveMark, error) {
	var m ArchiveMark
	row := t.conn.QueryRowxContext(ctx, selectMarks("WHERE resolution = ? "+lock), resolutionNames[of])
	if err := row.Scan(&m.Resolution, &m.FrozenBefore, &m.ColdBefore, &m.LateRound); err != nil {
		return m, fmt.Errorf("read mark of the archive: %w", absent(err))
	}
	return m, nil
}
