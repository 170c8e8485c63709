package mysql

import (
	"context"
	"strconv"
	"time"

	"github.com/quipudb/quipu/event"
)

// rowsPerStatement is how many rows one literal statement carries: more gains nothing, fewer costs round trips.
const rowsPerStatement = 1000

// resolution is one of the counts tables.
type resolution struct {
	table   string
	minutes int64 // of one row
}

var (
	perMinute = resolution{"minute_counts", 1}
	perHour   = resolution{"hour_counts", 60}
	perDay    = resolution{"day_counts", 24 * 60}
)

// upserts counts the rows that were sent.
type upserts struct{ minutes, coarse int }

// upsert adds the sorted cells to minute_counts, and to each coarse table those that it holds.
func (t *transaction) upsert(ctx context.Context, cells []cell, coarse []coverage) (sent upserts, err error) {
	if sent.minutes, err = t.upsertInto(ctx, coverage{resolution: perMinute, before: event.MaxMinute + 1}, cells); err != nil {
		return sent, err
	}
	for _, c := range coarse {
		n, err := t.upsertInto(ctx, c, cells)
		if err != nil {
			return sent, err
		}
		sent.coarse += n
	}
	return sent, nil
}

// upsertInto adds those cells that a table holds, as its rows: cells of the same row, which follow each other, are added up.
func (t *transaction) upsertInto(ctx context.Context, into coverage, cells []cell) (int, error) {
	s := statement{into: into.resolution}
	var open upsertRow
	for i := range cells {
		c := &cells[i]
		if !into.holds(c.key, c.row.Minute) {
			continue
		}
		start := c.row.Minute - c.row.Minute%into.minutes
		if open.used && open.key == c.key && open.kind == c.kind && open.start == start {
			open.Merge(c.row.Aggregate)
			continue
		}
		if open.used {
			if err := t.addRow(ctx, &s, &open); err != nil {
				return s.total, err
			}
		}
		open = upsertRow{key: c.key, kind: c.kind, start: start, Aggregate: c.row.Aggregate, used: true}
	}
	if open.used {
		if err := t.addRow(ctx, &s, &open); err != nil {
			return s.total, err
		}
	}
	return s.total, t.send(ctx, &s)
}

func (t *transaction) addRow(ctx context.Context, s *statement, row *upsertRow) error {
	s.rows = append(s.rows, *row)
	s.total++
	if len(s.rows) < rowsPerStatement {
		return nil
	}
	return t.send(ctx, s)
}

func (t *transaction) send(ctx context.Context, s *statement) error {
	if len(s.rows) == 0 {
		return nil
	}
	s.text = s.appendTo(s.text[:0])
	s.rows = s.rows[:0]
	return t.exec(ctx, string(s.text))
}

// upsertRow is a row of a counts table.
type upsertRow struct {
	key   uint64
	kind  uint16
	start int64
	used  bool
	event.Aggregate
}

// statement gathers the rows of one INSERT. All that it holds are numbers and times, so its text needs no escaping.
type statement struct {
	into  resolution
	rows  []upsertRow
	text  []byte
	total int
}

const (
	insertCounts = " (key_id, event_type_id, start, event_count) VALUES "
	insertValues = " (key_id, event_type_id, start, event_count, value_count, value_sum, value_min, value_max) VALUES "
	addCounts    = " ON DUPLICATE KEY UPDATE event_count = event_count + VALUES(event_count)"
	// A column is NULL as long as no event had a value, so each is added to what is there, or is the first, or stays.
	addValues = addCounts +
		", value_count = COALESCE(value_count + VALUES(value_count), VALUES(value_count), value_count)" +
		", value_sum = COALESCE(value_sum + VALUES(value_sum), VALUES(value_sum), value_sum)" +
		", value_min = COALESCE(LEAST(value_min, VALUES(value_min)), VALUES(value_min), value_min)" +
		", value_max = COALESCE(GREATEST(value_max, VALUES(value_max)), VALUES(value_max), value_max)"
)

func (s *statement) appendTo(dst []byte) []byte {
	values := false
	for i := range s.rows {
		values = values || s.rows[i].HasValues
	}
	columns, add := insertCounts, addCounts
	if values {
		columns, add = insertValues, addValues
	}
	dst = append(append(append(dst, "INSERT INTO "...), s.into.table...), columns...)
	for i := range s.rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.rows[i].appendTo(dst, values)
	}
	return append(dst, add...)
}

func (r *upsertRow) appendTo(dst []byte, values bool) []byte {
	dst = strconv.AppendUint(append(dst, '('), r.key, 10)
	dst = strconv.AppendUint(append(dst, ','), uint64(r.kind), 10)
	dst = appendTime(append(dst, ','), r.start)
	dst = strconv.AppendInt(append(dst, ','), r.Count, 10)
	switch {
	case r.HasValues:
		dst = strconv.AppendInt(append(dst, ','), r.ValueCount, 10)
		dst = r.Sum.Append(append(dst, ','))
		dst = strconv.AppendInt(append(dst, ','), r.Min, 10)
		dst = strconv.AppendInt(append(dst, ','), r.Max, 10)
	case values:
		dst = append(dst, ",NULL,NULL,NULL,NULL"...)
	}
	return append(dst, ')')
}

// appendTime appends a minute as a literal.
func appendTime(dst []byte, minute int64) []byte {
	return time.Unix(minute*60, 0).UTC().AppendFormat(dst, "'2006-01-02 15:04:05'")
}
