package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// CommitMerged makes objects the place of what others of the same day hold, which retire. The sums must be the same, the rows may be fewer. Repeating a
// commit that took place succeeds.
func (p *Primary) CommitMerged(ctx context.Context, c *ArchiveCommit) (ArchiveMark, error) {
	table, err := c.check(c.From, c.To)
	switch {
	case err != nil:
	case c.To-c.From != minutesPerDay:
		err = fmt.Errorf("minutes %d to %d are not one day: %w", c.From, c.To, ErrUnapplicable)
	case len(c.Replaced) == 0 || len(c.Objects) == 0:
		err = fmt.Errorf("%d objects can't replace %d: %w", len(c.Objects), len(c.Replaced), ErrUnapplicable)
	default:
		err = checkObjects(c.Replaced)
	}
	var mark ArchiveMark
	if err == nil {
		mark, err = p.committing(ctx, c, table, func(ctx context.Context, tx *transaction) error { return tx.commitMerged(ctx, c, p.cfg.Now()) })
	}
	if err != nil && !errors.Is(err, errDone) {
		return ArchiveMark{}, fmt.Errorf("commit merged %s rows: %w", c.Resolution, err)
	}
	return mark, nil
}

func (t *transaction) commitMerged(ctx context.Context, c *ArchiveCommit, now time.Time) error {
	states, err := t.manifestStates(ctx, append(c.names(), c.Replaced...))
	if err != nil {
		return err
	}
	known, live := 0, 0
	for _, name := range c.names() {
		known += min(len(states[name]), 1)
	}
	for _, name := range c.Replaced {
		if states[name][manifestStored] {
			live++
		}
	}
	switch {
	case known == len(c.Objects) && live == 0:
		return errDone
	case known > 0 || live < len(c.Replaced):
		return fmt.Errorf("%d of %d objects are in the manifest, %d of %d to be replaced are stored: %w", known, len(c.Objects), live, len(c.Replaced), ErrConflict)
	}
	stored, err := t.sumReplaced(ctx, c)
	if err != nil {
		return err
	}
	if err := stored.conserve(c.sums(), sameButRows); err != nil {
		return err
	}
	if err := portions(c.Replaced, func(part []string) error {
		return t.exec(ctx, "UPDATE archive_manifest SET state = ?, changed_at = ? WHERE object IN ("+repeated("?", len(part))+")",
			append([]any{manifestRetired, now.UTC()}, anys(part)...)...)
	}); err != nil {
		return err
	}
	return t.store(ctx, c, now)
}

// sumReplaced sums up what objects hold, all of the commit's resolution and day.
func (t *transaction) sumReplaced(ctx context.Context, c *ArchiveCommit) (partitionSums, error) {
	total := partitionSums{}
	err := portions(c.Replaced, func(part []string) error {
		rows, err := t.conn.QueryContext(ctx, manifestRows+"WHERE object IN ("+repeated("?", len(part))+")", anys(part)...)
		if err != nil {
			return meaning(err)
		}
		defer rows.Close()
		for rows.Next() {
			r, err := scanManifest(rows)
			if err != nil {
				return err
			}
			if r.Resolution != c.Resolution || r.From != c.From || r.To != c.To || r.State != manifestStored {
				return fmt.Errorf("object %s holds %s rows of minutes %d to %d and is %s: %w", r.Object, r.Resolution, r.From, r.To, r.State, ErrConflict)
			}
			total.add(r.ArchiveSums)
		}
		return meaning(rows.Err())
	})
	return total, err
}
