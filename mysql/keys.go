package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quipudb/quipu/event"
)

// keysPerStatement bounds the placeholders of one statement.
const keysPerStatement = 1000

// absent turns the missing row of a table that must have it into ErrSchema: the shard was never bootstrapped.
func absent(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: run quipu migrate up: %w", ErrSchema, err)
	}
	return meaning(err)
}

// cell is a row to apply, with its ids.
type cell struct {
	key  uint64
	kind uint16
	row  *event.Row
}

// resolve finds the ids of a flush's keys and types, and makes those that are missing. It commits by itself: an id without counts
// is harmless.
func (p *Primary) resolve(ctx context.Context, g *generation, partition int, rows []event.Row) ([]cell, error) {
	cells := make([]cell, len(rows))
	unknown := map[string][]int{}
	for i := range rows {
		kind, err := p.typeID(ctx, g, rows[i].Type)
		if err != nil {
			return nil, err
		}
		cells[i].kind, cells[i].row = kind, &rows[i]
		if id, ok := g.keys.get(partition, rows[i].Key); ok {
			cells[i].key = id
		} else {
			unknown[rows[i].Key] = append(unknown[rows[i].Key], i)
		}
	}
	p.metrics.keyHits.Add(float64(len(rows) - len(unknown)))
	p.metrics.keyMisses.Add(float64(len(unknown)))
	if len(unknown) == 0 {
		return cells, nil
	}
	names := make([]string, 0, len(unknown))
	for name := range unknown {
		if err := checkName(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names) // neighbours in the index, and one order for all who make keys
	found := func(name string, id uint64) {
		g.keys.add(partition, name, id)
		for _, i := range unknown[name] {
			cells[i].key = id
		}
		delete(unknown, name)
	}
	for len(names) > 0 {
		n := min(len(names), keysPerStatement)
		if err := p.db.ensureKeys(ctx, partition, names[:n], found); err != nil {
			return nil, err
		}
		names = names[n:]
	}
	if len(unknown) > 0 { // their partition has no checkpoint, so they could not be made
		return nil, &CheckpointError{Reason: ErrMisrouted, Stored: Checkpoint{Partition: partition}}
	}
	return cells, nil
}

func checkName(name string) error {
	if name == "" || len(name) > event.MaxKeyBytes || !utf8.ValidString(name) {
		return fmt.Errorf("key %.40q must be 1 to %d bytes of UTF-8: %w", name, event.MaxKeyBytes, ErrUnapplicable)
	}
	return nil
}

// ensureKeys tells the ids of names. Selecting first spares ids: an INSERT IGNORE uses one up also where it inserts nothing.
func (d *DB) ensureKeys(ctx context.Context, partition int, names []string, found func(string, uint64)) error {
	missing, err := d.selectKeys(ctx, partition, names, found)
	if err != nil || len(missing) == 0 {
		return err
	}
	if missing, err = d.insertKeys(ctx, partition, missing, found); err != nil || len(missing) == 0 {
		return err
	}
	_, err = d.selectKeys(ctx, partition, missing, found)
	return err
}

// insertKeys makes keys and tells their ids, where the server tells those of what it inserts. It returns the names whose id it can't tell.
func (d *DB) insertKeys(ctx context.Context, partition int, names []string, found func(string, uint64)) ([]string, error) {
	args := make([]any, 0, 2*len(names))
	for _, name := range names {
		args = append(args, partition, name)
	}
	insert := "INSERT IGNORE INTO counted_keys (partition_id, name) VALUES " + repeated("(?, ?)", len(names))
	if !(*d.dialect.Load()).returning() {
		if _, err := d.sql.ExecContext(ctx, insert, args...); err != nil {
			return nil, fmt.Errorf("make key ids: %w", meaning(err))
		}
		return names, nil
	}
	left, err := d.idsOf(ctx, insert+" RETURNING id, name", args, names, found)
	if err != nil {
		return nil, fmt.Errorf("make key ids: %w", err)
	}
	return left, nil
}

// selectKeys tells the ids of the names that have one and returns the others.
func (d *DB) selectKeys(ctx context.Context, partition int, names []string, found func(string, uint64)) ([]string, error) {
	args := make([]any, 0, len(names)+1)
	args = append(args, partition)
	for _, name := range names {
		args = append(args, name)
	}
	missing, err := d.idsOf(ctx, "SELECT id, name FROM counted_keys WHERE partition_id = ? AND name IN ("+repeated("?", len(names))+")", args, names, found)
	if err != nil {
		return nil, fmt.Errorf("read key ids: %w", err)
	}
	return missing, nil
}

// idsOf runs a statement that answers with ids and names, and returns those of names that it did not name.
func (d *DB) idsOf(ctx context.Context, statement string, args []any, names []string, found func(string, uint64)) ([]string, error) {
	rows, err := d.sql.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, meaning(err)
	}
	defer rows.Close()
	known := make(map[string]bool, len(names))
	for rows.Next() {
		var id uint64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, meaning(err)
		}
		known[name] = true
		found(name, id)
	}
	if err := rows.Err(); err != nil {
		return nil, meaning(err)
	}
	var missing []string
	for _, name := range names {
		if !known[name] {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// repeated returns n copies of text, separated by commas.
func repeated(text string, n int) string {
	return strings.TrimSuffix(strings.Repeat(text+", ", n), ", ")
}
