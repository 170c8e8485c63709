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

// resolutionOf finds a table by the name of its resolution.
func resolutionOf(name string) (resolution, error) {
	for table, n := range resolutionNames {
		if n == name {
			return table, nil
		}
	}
	return resolution{}, fmt.Errorf("%q is no resolution: %w", name, ErrUnapplicable)
}

// archiving runs a transaction of the archive: under the leader's lock, which is the first one, nobody else changes marks, manifest,
// intents or restored ranges, so that what is read of them needs no further lock. Its statements are short each; with many of them it may take
// longer than one may.
func (p *Primary) archiving(ctx context.Context, l Leader, work func(context.Context, *transaction) error) error {
	if _, ok := ctx.Deadline(); !ok {
		bounded, cancel := p.db.bounded(ctx)
		defer cancel()
		ctx = bounded
	}
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
// mark moves to the start of a day, never beyond what coarser tables are complete before and never back.
func (p *Primary) FreezeArchive(ctx context.Context, l Leader, of string, before int64) (ArchiveMark, error) {
	table, err := resolutionOf(of)
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("freeze: %w", err)
	}
	var mark ArchiveMark
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		marks, err := tx.lockMarks(ctx) // waits for every Apply that read the old mark
		if err != nil {
			return err
		}
		mark = *marks.of(table)
		wanted := min(before, marks.freezable(table), event.MaxMinute+1)
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
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		marks, err := tx.lockMarks(ctx) // waits for every Apply that read the old round
		if err != nil {
			return err
		}
		mark = *marks.of(table)
		mark.LateRound++
		return tx.exec(ctx, "UPDATE archive_marks SET late_round = ? WHERE resolution = ?", mark.LateRound, of)
	})
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("seal late %s rows: %w", of, err)
	}
	return mark, nil
}

// mark reads the mark of a resolution.
func (t *transaction) mark(ctx context.Context, of resolution) (ArchiveMark, error) {
	marks, err := readMarks(ctx, t.conn, "")
	if err != nil {
		return ArchiveMark{}, err
	}
	return *marks.of(of), nil
}
