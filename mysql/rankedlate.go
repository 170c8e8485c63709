package mysql

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
)

// rankLate brings the lists up to date with what Apply has added to the coarse tables. Apply has locked these rows: what they say now is what will
// be committed. A schema without lists has none to keep.
func (t *transaction) rankLate(ctx context.Context, cells []cell, tables []coverage) error {
	var found foundLate
	for _, c := range tables {
		if c.resolution == perMinute {
			continue
		}
		for part := range slices.Chunk(lateRows(c, cells), rowsPerStatement) {
			if err := found.read(ctx, t, c.resolution, part); err != nil {
				if olderSchema(err) {
					return nil
				}
				return err
			}
		}
	}
	slices.SortFunc(found.rows, func(a, b foundRow) int { return compareListed(a.listed, b.listed) })
	// The marks come first: a step that prunes locks in this order too.
	if err := t.markGrown(ctx, found.grown()); err != nil {
		return err
	}
	rows := make([]listed, len(found.rows))
	for i := range rows {
		rows[i] = found.rows[i].listed
	}
	return t.writeListed(ctx, rows)
}

func compareListed(a, b listed) int {
	return cmp.Or(compareLists(a.list, b.list), cmp.Compare(a.key, b.key))
}

// lateRows returns the rows of a coarse table that Apply has added to, each once, by list. Frozen rows have no lists any more.
func lateRows(c coverage, cells []cell) []listed {
	var late []listed
	into := target{coverage: c}
	for i := range cells {
		if one := &cells[i]; into.takes(one) {
			m := one.row.Minute
			late = append(late, listed{list{c.resolution, one.kind, m - m%c.minutes}, member{key: one.key}})
		}
	}
	slices.SortFunc(late, compareListed)
	return slices.Compact(late)
}

// foundLate are the rows that have to be written to lists.
type foundLate struct{ rows []foundRow }

type foundRow struct {
	listed
	isNew bool // was no member
}

// Rows above the bound become members, members get their counts.
const selectLate = `SELECT h.key_id, h.event_type_id, %[1]s, h.event_count, r.key_id IS NULL FROM %[2]s h FORCE INDEX (PRIMARY)
LEFT JOIN ranked_bounds b ON b.resolution = '%[3]s' AND b.event_type_id = h.event_type_id AND b.start = h.start
LEFT JOIN ranked_counts r ON r.resolution = '%[3]s' AND r.event_type_id = h.event_type_id AND r.start = h.start AND r.key_id = h.key_id
WHERE (%[4]s) AND (h.event_count > COALESCE(b.bound, 0) OR r.key_id IS NOT NULL)`

func (f *foundLate) read(ctx context.Context, t *transaction, of resolution, late []listed) error {
	query := fmt.Sprintf(selectLate, inMinutes("h.start"), of.table, resolutionNames[of], whereRows(late))
	rows, err := t.conn.QueryContext(ctx, query)
	if err != nil {
		return meaning(err)
	}
	defer rows.Close()
	for rows.Next() {
		r := foundRow{listed: listed{list: list{resolution: of}}}
		if err := rows.Scan(&r.key, &r.kind, &r.start, &r.count, &r.isNew); err != nil {
			return meaning(err)
		}
		f.rows = append(f.rows, r)
	}
	return meaning(rows.Err())
}

// whereRows selects rows of a coarse table by their primary key. They come by list.
func whereRows(rows []listed) []byte {
	var text []byte
	for i := range rows {
		switch {
		case i > 0 && rows[i].list == rows[i-1].list:
			text = append(text, ',')
		case i > 0:
			text = append(text, ")) OR "...)
			fallthrough
		default:
			text = fmt.Appendf(text, "(h.event_type_id = %d AND h.start = %s AND h.key_id IN (", rows[i].kind, appendTime(nil, rows[i].start))
		}
		text = strconv.AppendUint(text, rows[i].key, 10)
	}
	return append(text, "))"...)
}

// grown returns the lists that get new members.
func (f *foundLate) grown() []list {
	var lists []list
	for i := range f.rows {
		if f.rows[i].isNew {
			lists = append(lists, f.rows[i].list)
		}
	}
	return slices.Compact(lists)
}

// markGrown has the roll-up look at lists. Applies share the marks, the roll-up takes one away before it looks.
func (t *transaction) markGrown(ctx context.Context, lists []list) error {
	for part := range slices.Chunk(lists, rowsPerStatement) {
		text := []byte("INSERT IGNORE INTO ranked_grown (resolution, event_type_id, start) VALUES ")
		for i, l := range part {
			if i > 0 {
				text = append(text, ',')
			}
			text = append(l.appendTo(append(text, '(')), ')')
		}
		if err := t.exec(ctx, string(text)); err != nil {
			return err
		}
	}
	return nil
}
