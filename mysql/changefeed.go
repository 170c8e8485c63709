package mysql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// deletedChanges bounds how many old changes one Apply deletes.
const deletedChanges = 64

// tellLate tells which closed minutes an Apply has added to, in the transaction that does so, and forgets what was told long ago. A schema before
// version 8 tells nothing.
func (t *transaction) tellLate(ctx context.Context, r *ApplyRequest, asOf int64) error {
	touched := touchedBy(r.Rows, ClosedBefore(asOf))
	if touched == nil {
		return nil
	}
	err := t.exec(ctx, "INSERT INTO late_changes (partition_id, next_offset, as_of, touched) VALUES (?, ?, ?, ?)",
		r.Partition, r.Next, asOf, appendTouched(nil, touched))
	if err != nil {
		if olderSchema(err) {
			return nil
		}
		return err
	}
	return t.exec(ctx, "DELETE FROM late_changes WHERE partition_id = ? AND as_of < ? ORDER BY as_of LIMIT "+strconv.Itoa(deletedChanges),
		r.Partition, asOf-ChangesKept.Milliseconds())
}

// Position is how far a database's history of a partition goes.
type Position struct {
	NextOffset uint64
	AsOf       int64
}

// Changes are late changes, and how far they are told.
type Changes struct {
	Term      uint64
	Positions map[int]Position // of the partitions that the shard owns
	// List has the changes of every asked partition after the asked offset and up to its position, in order, unless they were deleted: those with
	// an as-of less than ChangesKept before that of the position are there.
	List []Change
	// Cut tells that there were more changes than asked for: List lacks some.
	Cut bool
}

// ErrNoChanges is a schema that does not tell late changes.
var ErrNoChanges = fmt.Errorf("it does not tell late changes: %w", ErrSchema)

const selectPositions = ` 0 AS kind, c.partition_id AS a, c.next_offset AS b, c.as_of AS c, s.term AS d, NULL AS e
FROM checkpoints c JOIN shard_state s ON s.id = 1 WHERE c.owned AND NOT EXISTS (SELECT 1 FROM late_changes_told WHERE FALSE)`

// Changes reads, from one snapshot, the late changes of partitions after an offset of each, at most so many. It returns ErrNoChanges if the schema has none.
func (d *DB) Changes(ctx context.Context, after map[int]uint64, most int) (*Changes, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var changes *Changes
	err := retrying(ctx, func() (err error) {
		changes, err = d.changes(ctx, after, most)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read changes from %s: %w", d.cfg.ID, err)
	}
	return changes, nil
}

func (d *DB) changes(ctx context.Context, after map[int]uint64, most int) (*Changes, error) {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return nil, meaning(err)
	}
	defer conn.Close()
	rows, err := conn.QueryContext(ctx, d.selecting(ctx, selectPositions+changesAfter(after, most+1)))
	if err != nil {
		if olderSchema(err) {
			return nil, fmt.Errorf("%w: %w", ErrNoChanges, err)
		}
		return nil, meaning(err)
	}
	defer rows.Close()
	out := &Changes{Positions: make(map[int]Position, len(after))}
	for rows.Next() {
		var kind, partition int
		var next uint64
		var asOf int64
		var term *uint64
		var touched []byte
		if err := rows.Scan(&kind, &partition, &next, &asOf, &term, &touched); err != nil {
			return nil, meaning(err)
		}
		if kind == 0 {
			out.Term, out.Positions[partition] = *term, Position{next, asOf}
			continue
		}
		if len(out.List) == most {
			out.Cut = true
			continue
		}
		change := Change{Partition: partition, NextOffset: next}
		if change.Touched, err = parseTouched(touched); err != nil {
			return nil, err
		}
		out.List = append(out.List, change)
	}
	slices.SortFunc(out.List, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.NextOffset, b.NextOffset))
	})
	return out, meaning(rows.Err())
}

// changesAfter is added to a query for the changes themselves.
func changesAfter(after map[int]uint64, limit int) string {
	if len(after) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString(" UNION ALL (SELECT 1, l.partition_id, l.next_offset, l.as_of, NULL, l.touched FROM late_changes l WHERE ")
	first := true
	for partition, offset := range after {
		if !first {
			text.WriteString(" OR ")
		}
		first = false
		fmt.Fprintf(&text, "(l.partition_id = %d AND l.next_offset > %d)", partition, offset)
	}
	text.WriteString(" LIMIT " + strconv.Itoa(limit) + ")")
	return text.String()
}
