package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/quipudb/quipu/event"
)

// restoredAtOnce bounds the rows of one transaction.
const restoredAtOnce = 5000

// AddRestored writes rows of a range that is being restored. What is there already is overwritten, so that it may be repeated; rows of the same key,
// type and start must have become one before.
func (p *Primary) AddRestored(ctx context.Context, l Leader, id uint64, rows []ArchiveRow) error {
	for len(rows) > 0 {
		n := min(len(rows), restoredAtOnce)
		if err := p.addRestored(ctx, l, id, rows[:n]); err != nil {
			return fmt.Errorf("restore %d rows: %w", n, err)
		}
		rows = rows[n:]
	}
	return nil
}

func (p *Primary) addRestored(ctx context.Context, l Leader, id uint64, rows []ArchiveRow) error {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	g, err := p.generation(ctx)
	if err != nil {
		return err
	}
	cells, err := p.resolveAll(ctx, g, rows)
	if err != nil {
		return err
	}
	err = p.archiving(ctx, l, func(ctx context.Context, tx *transaction) error {
		r, err := tx.restoredRange(ctx, id)
		if err != nil {
			return err
		}
		if r.State != rangeLoading {
			return fmt.Errorf("range %d is %s: %w", id, r.State, ErrConflict)
		}
		var term uint64
		if err := tx.conn.GetContext(ctx, &term, "SELECT term FROM shard_state WHERE id = 1 LOCK IN SHARE MODE"); err != nil {
			return absent(err)
		}
		if term != g.term {
			return fmt.Errorf("ids are of term %d, the shard is in %d: %w", g.term, term, ErrTermChanged)
		}
		return tx.overwrite(ctx, &r, cells)
	})
	if errors.Is(err, ErrTermChanged) {
		p.drop(g)
	}
	return err
}

// resolveAll finds the ids of rows of several partitions, and sorts them as Apply does.
func (p *Primary) resolveAll(ctx context.Context, g *generation, rows []ArchiveRow) ([]cell, error) {
	byPartition := map[int][]event.Row{}
	for i := range rows {
		byPartition[rows[i].Partition] = append(byPartition[rows[i].Partition], rows[i].Row)
	}
	var cells []cell
	for partition, some := range byPartition {
		found, err := p.resolve(ctx, g, partition, some)
		if err != nil {
			return nil, err
		}
		cells = append(cells, found...)
	}
	slices.SortFunc(cells, compareCells)
	for i := 1; i < len(cells); i++ {
		if compareCells(cells[i-1], cells[i]) == 0 {
			return nil, fmt.Errorf("key %q has two rows of minute %d: %w", cells[i].row.Key, cells[i].row.Minute, ErrUnapplicable)
		}
	}
	return cells, nil
}

func compareCells(a, b cell) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.kind, b.kind), cmp.Compare(a.row.Minute, b.row.Minute))
}

const overwriteValues = ` ON DUPLICATE KEY UPDATE event_count = VALUES(event_count), value_count = VALUES(value_count), value_sum = VALUES(value_sum),
value_min = VALUES(value_min), value_max = VALUES(value_max)`

// overwrite writes cells as rows of a restored range.
func (t *transaction) overwrite(ctx context.Context, r *RestoredRange, cells []cell) error {
	table, err := resolutionOf(r.Resolution)
	if err != nil {
		return err
	}
	for len(cells) > 0 {
		n := min(len(cells), rowsPerStatement)
		text := fmt.Appendf(nil, "INSERT INTO %s (key_id, event_type_id, start, %s", table.restored, valueColumns)
		for i := range n {
			c := &cells[i]
			if m := c.row.Minute; m < r.From || m >= r.To || m%table.minutes != 0 {
				return fmt.Errorf("a row starts at minute %d, not within %d to %d or not with a %s: %w", m, r.From, r.To, r.Resolution, ErrUnapplicable)
			}
			if i > 0 {
				text = append(text, ',')
			}
			row := upsertRow{key: c.key, kind: c.kind, start: c.row.Minute, Aggregate: c.row.Aggregate}
			text = row.appendTo(text, true, "")
		}
		if err := t.exec(ctx, string(append(text, overwriteValues...))); err != nil {
			return err
		}
		cells = cells[n:]
	}
	return nil
}
