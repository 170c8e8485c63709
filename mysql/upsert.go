package mysql

import (
	"context"
	"strconv"
	"time"

	"github.com/quipudb/quipu/event"
)

// rowsPerStatement is how many rows one literal statement carries: more gains nothing, fewer costs round trips.
const rowsPerStatement = 1000

// resolution is one of the counts tables, with those that hold what its rows became after they were frozen.
type resolution struct {
	table          string
	minutes        int64 // of one row
	late, restored string
}

var (
	perMinute = resolution{"minute_counts", 1, "late_minute_counts", "restored_minute_counts"}
	perHour   = resolution{"hour_counts", 60, "late_hour_counts", "restored_hour_counts"}
	perDay    = resolution{"day_counts", 24 * 60, "late_day_counts", "restored_day_counts"}
)

// upserts counts the rows that were sent.
type upserts struct{ minutes, coarse, late int }

// upsert adds the sorted cells to each table that holds them; what is frozen there is added to its late table instead.
func (t *transaction) upsert(ctx context.Context, cells []cell, tables []coverage) (sent upserts, err error) {
	oldest := oldestMinute(cells)
	for _, c := range tables {
		n, err := t.upsertInto(ctx, target{coverage: c}, cells)
		if err != nil {
			return sent, err
		}
		if c.resolution == perMinute {
			sent.minutes += n
		} else {
			sent.coarse += n
		}
		if oldest >= c.frozen {
			continue
		}
		if n, err = t.upsertInto(ctx, target{coverage: c, late: true}, cells); err != nil {
			return sent, err
		}
		sent.late += n
	}
	return sent, nil
}

func oldestMinute(cells []cell) int64 {
	oldest := int64(event.MaxMinute)
	for i := range cells {
		oldest = min(oldest, cells[i].row.Minute)
	}
	return oldest
}

// target is a counts table or its late table.
type target struct {
	coverage
	late bool
}

func (t *target) takes(c *cell) bool {
	return t.holds(c.key, c.row.Minute) && t.late == (c.row.Minute < t.frozen)
}

// upsertInto adds those cells that a table takes, as its rows: cells of the same row, which follow each other, are added up.
func (t *transaction) upsertInto(ctx context.Context, into target, cells []cell) (int, error) {
	s := statement{into: into}
	var open upsertRow
	for i := range cells {
		c := &cells[i]
		if !into.takes(c) {
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
	into  target
	rows  []upsertRow
	text  []byte
	total int
}

const (
	countColumns = "event_count) VALUES "
	valueColumns = "event_count, value_count, value_sum, value_min, value_max) VALUES "
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
	columns, add := countColumns, addCounts
	if values {
		columns, add = valueColumns, addValues
	}
	table, round := s.into.table, ""
	if s.into.late {
		table, round = s.into.resolution.late, ","+strconv.FormatUint(uint64(s.into.round), 10)
	}
	dst = append(append(append(dst, "INSERT INTO "...), table...), " (key_id, event_type_id, start, "...)
	if s.into.late {
		dst = append(dst, "late_round, "...)
	}
	dst = append(dst, columns...)
	for i := range s.rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.rows[i].appendTo(dst, values, round)
	}
	return append(dst, add...)
}

// appendTo appends a row. The round, if there is one, follows the start.
func (r *upsertRow) appendTo(dst []byte, values bool, round string) []byte {
	dst = strconv.AppendUint(append(dst, '('), r.key, 10)
	dst = strconv.AppendUint(append(dst, ','), uint64(r.kind), 10)
	dst = append(appendTime(append(dst, ','), r.start), round...)
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
