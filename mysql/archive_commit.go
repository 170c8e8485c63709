package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ArchiveObject is an object that was written, read back and summed up.
type ArchiveObject struct {
	Object   string
	From, To int64 // of its day
	Bytes    int64
	SHA256   []byte
	Parts    []ArchiveSums
}

// ArchiveCommit makes objects the place where rows are read.
type ArchiveCommit struct {
	Leader
	Resolution string
	From, To   int64
	Objects    []ArchiveObject
	Replaced   []string // of CommitMerged
}

// errDone ends a transaction that finds its work done.
var errDone = errors.New("it was committed before")

// check refuses what can never be committed. From and to are the days of the objects.
func (c *ArchiveCommit) check(from, to int64) (resolution, error) {
	table, err := resolutionOf(c.Resolution)
	if err != nil {
		return table, err
	}
	if from < 0 || from >= to || from%minutesPerDay != 0 || to%minutesPerDay != 0 {
		return table, fmt.Errorf("minutes %d to %d are no whole days: %w", from, to, ErrUnapplicable)
	}
	names := map[string]bool{}
	for i := range c.Objects {
		o := &c.Objects[i]
		if names[o.Object] {
			return table, fmt.Errorf("object %s occurs twice: %w", o.Object, ErrUnapplicable)
		}
		names[o.Object] = true
		if err := o.check(from, to); err != nil {
			return table, fmt.Errorf("object %s: %w", o.Object, err)
		}
	}
	return table, checkObjects(c.names())
}

func (o *ArchiveObject) check(from, to int64) error {
	switch {
	case o.From < from || o.To > to || o.To-o.From != minutesPerDay || o.From%minutesPerDay != 0:
		return fmt.Errorf("minutes %d to %d are no day within %d to %d: %w", o.From, o.To, from, to, ErrUnapplicable)
	case len(o.SHA256) != 32 || o.Bytes <= 0:
		return fmt.Errorf("%d bytes with a checksum of %d bytes: %w", o.Bytes, len(o.SHA256), ErrUnapplicable)
	}
	seen := map[int]bool{}
	for _, part := range o.Parts {
		if seen[part.Partition] || part.Rows <= 0 {
			return fmt.Errorf("partition %d occurs twice or has %d rows: %w", part.Partition, part.Rows, ErrUnapplicable)
		}
		seen[part.Partition] = true
	}
	if len(seen) == 0 {
		return fmt.Errorf("it has no rows: %w", ErrUnapplicable)
	}
	return nil
}

func (c *ArchiveCommit) names() []string {
	names := make([]string, len(c.Objects))
	for i := range c.Objects {
		names[i] = c.Objects[i].Object
	}
	return names
}

func (c *ArchiveCommit) sums() partitionSums {
	sums := partitionSums{}
	for i := range c.Objects {
		for _, part := range c.Objects[i].Parts {
			sums.add(part)
		}
	}
	return sums
}

// CommitFrozen moves the cold mark over [From, To): the objects hold all rows of the table there. It returns a *ConservationError if their sums say
// otherwise. Repeating a commit that took place succeeds.
func (p *Primary) CommitFrozen(ctx context.Context, c *ArchiveCommit) (ArchiveMark, error) {
	table, err := c.check(c.From, c.To)
	if err != nil {
		return ArchiveMark{}, fmt.Errorf("commit frozen %s rows: %w", c.Resolution, err)
	}
	mark, err := p.committing(ctx, c, table, func(ctx context.Context, tx *transaction) error { return tx.mayTurnCold(ctx, c, table) })
	if err == nil { // the rows are frozen: they are summed up before the transaction, which stays short
		var stored partitionSums
		if stored, err = p.db.sumTable(ctx, table.table, c.From, c.To); err == nil {
			err = stored.conserve(c.sums(), sameInAll)
		}
		if err == nil {
			mark, err = p.committing(ctx, c, table, func(ctx context.Context, tx *transaction) error { return tx.turnCold(ctx, c, table, p.cfg.Now()) })
		}
	}
	if err != nil && !errors.Is(err, errDone) {
		return ArchiveMark{}, fmt.Errorf("commit frozen %s rows: %w", c.Resolution, err)
	}
	return mark, nil
}

// committing runs a transaction and returns the mark that it leaves, also with errDone.
func (p *Primary) committing(ctx context.Context, c *ArchiveCommit, table resolution, work func(context.Context, *transaction) error) (mark ArchiveMark, err error) {
	err = p.archiving(ctx, c.Leader, func(ctx context.Context, tx *transaction) error {
		failed := work(ctx, tx)
		if failed != nil && !errors.Is(failed, errDone) {
			return failed
		}
		if mark, err = tx.mark(ctx, table); err != nil {
			return err
		}
		return failed
	})
	return mark, err
}

// mayTurnCold compares a commit with the marks.
func (t *transaction) mayTurnCold(ctx context.Context, c *ArchiveCommit, table resolution) error {
	mark, err := t.mark(ctx, table)
	if err != nil {
		return err
	}
	if mark.ColdBefore == c.To {
		return t.committedBefore(ctx, c)
	}
	if mark.ColdBefore != c.From || c.To > mark.FrozenBefore {
		return fmt.Errorf("minutes %d to %d can't turn cold, cold is before %d and frozen before %d: %w",
			c.From, c.To, mark.ColdBefore, mark.FrozenBefore, ErrConflict)
	}
	return nil
}

// committedBefore is errDone if all objects of a commit are in the manifest.
func (t *transaction) committedBefore(ctx context.Context, c *ArchiveCommit) error {
	states, err := t.manifestStates(ctx, c.names())
	if err != nil {
		return err
	}
	for _, name := range c.names() {
		if len(states[name]) == 0 {
			return fmt.Errorf("it was committed with other objects than %s: %w", name, ErrConflict)
		}
	}
	return errDone
}

func (t *transaction) turnCold(ctx context.Context, c *ArchiveCommit, table resolution, now time.Time) error {
	if err := t.mayTurnCold(ctx, c, table); err != nil {
		return err
	}
	if err := t.store(ctx, c, now); err != nil {
		return err
	}
	// Last, for every Apply waits from here to the commit.
	return t.exec(ctx, fmt.Sprintf("UPDATE archive_marks SET cold_before = %s WHERE resolution = ?", appendTime(nil, c.To)), c.Resolution)
}
