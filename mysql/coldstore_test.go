package mysql_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// coldStore is an archive whose objects are in memory: it changes marks, manifest and tables as docs/archive.md says, so that answers can be
// checked with their cold parts.
type coldStore struct {
	root *sql.DB

	mu      sync.Mutex
	objects map[string][]coldRow
}

type coldRow struct {
	partition int
	key, kind string
	start     int64
	event.Aggregate
}

func newColdStore(root *sql.DB) *coldStore {
	return &coldStore{root: root, objects: map[string][]coldRow{}}
}

// addTo returns an answer's points with what they lack. Nothing may be lacking if there is no store.
func (s *coldStore) addTo(points []mysql.Point, parts []mysql.ColdPart, key string, r *mysql.StatsRequest) ([]mysql.Point, error) {
	if s == nil && len(parts) > 0 {
		return nil, fmt.Errorf("cold parts, but nothing is archived: %+v", parts)
	}
	for _, part := range parts {
		for _, object := range part.Objects {
			s.mu.Lock()
			rows, ok := s.objects[object.Object]
			s.mu.Unlock()
			if !ok || !strings.HasPrefix(object.Object, part.Resolution) || object.SHA256 != fmt.Sprintf("%064x", len(rows)) {
				return nil, fmt.Errorf("%s %+v is not what was stored", part.Resolution, object)
			}
			for _, row := range rows {
				if row.key == key && slices.Contains(object.Partitions, row.partition) && row.start >= part.From && row.start < part.To {
					start := r.From
					if r.Step != mysql.StepNone {
						start = row.start - row.start%int64(r.Step)
					}
					points = append(points, mysql.Point{Start: start, Aggregate: row.Aggregate})
				}
			}
		}
	}
	slices.SortStableFunc(points, func(a, b mysql.Point) int { return cmp.Compare(a.Start, b.Start) })
	var merged []mysql.Point
	for _, p := range points {
		if n := len(merged); n > 0 && merged[n-1].Start == p.Start {
			merged[n-1].Merge(p.Aggregate)
			continue
		}
		merged = append(merged, p)
	}
	return merged, nil
}

// archiveTx is one transaction of the archive.
type archiveTx struct {
	*sql.Tx
	err error
}

func (t *archiveTx) exec(statement string, args ...any) {
	if t.err == nil {
		_, t.err = t.Exec(statement, args...)
	}
}

func (t *archiveTx) number(query string, args ...any) (n int64) {
	if t.err == nil {
		t.err = t.QueryRow(query, args...).Scan(&n)
	}
	return n
}

// change runs a transaction with the marks locked, which waits for every Apply, and again after a deadlock.
func (s *coldStore) change(work func(*archiveTx)) error {
	for {
		tx, err := s.root.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err != nil {
			return err
		}
		t := &archiveTx{Tx: tx}
		t.exec("USE quipu")
		t.number("SELECT s.term FROM shard_state s JOIN archive_marks a ON a.resolution = 'minute' JOIN archive_marks b ON b.resolution <> 'minute' WHERE s.id = 1 LIMIT 1 FOR UPDATE")
		if t.err == nil {
			work(t)
		}
		if t.err == nil {
			return tx.Commit()
		}
		_ = tx.Rollback()
		if !strings.Contains(t.err.Error(), "Deadlock") {
			return t.err
		}
	}
}

func at(minute int64) string { return time.Unix(minute*60, 0).UTC().Format(time.DateTime) }

func inMinutes(column string) string { return "TIMESTAMPDIFF(MINUTE, '1970-01-01', " + column + ")" }

func (t *archiveTx) mark(column, resolution string) int64 {
	if column == "late_round" {
		return t.number("SELECT late_round FROM archive_marks WHERE resolution = ?", resolution)
	}
	return t.number("SELECT "+inMinutes(column)+" FROM archive_marks WHERE resolution = ?", resolution)
}

// freeze ends the changes of rows before the last day that is complete at every resolution.
func (s *coldStore) freeze(resolution string) error {
	return s.change(func(t *archiveTx) {
		t.exec("UPDATE archive_marks SET frozen_before = (SELECT complete_before FROM rollup_watermarks WHERE resolution = 'day') WHERE resolution = ?", resolution)
	})
}

func (s *coldStore) seal(resolution string) error {
	return s.change(func(t *archiveTx) {
		t.exec("UPDATE archive_marks SET late_round = late_round + 1 WHERE resolution = ?", resolution)
	})
}

// rows reads rows of a table, by day.
func (t *archiveTx) rows(table, where string, args ...any) map[int64][]coldRow {
	if t.err != nil {
		return nil
	}
	found, err := t.Query("SELECT k.partition_id, k.name, e.name, "+inMinutes("m.start")+", m.event_count, m.value_count, m.value_sum, m.value_min, m.value_max FROM "+
		table+" m JOIN counted_keys k ON k.id = m.key_id JOIN event_types e ON e.id = m.event_type_id WHERE "+where, args...)
	if err != nil {
		t.err = err
		return nil
	}
	defer found.Close()
	days := map[int64][]coldRow{}
	for found.Next() {
		row := coldRow{Aggregate: event.NewAggregate()}
		var count, least, most sql.NullInt64
		var sum sql.NullString
		if t.err = found.Scan(&row.partition, &row.key, &row.kind, &row.start, &row.Count, &count, &sum, &least, &most); t.err != nil {
			return nil
		}
		if row.HasValues = sum.Valid; row.HasValues {
			row.ValueCount, row.Min, row.Max = count.Int64, least.Int64, most.Int64
			row.Sum, t.err = event.ParseSum(sum.String)
		}
		days[row.start/day] = append(days[row.start/day], row)
	}
	t.err = errors.Join(t.err, found.Err())
	return days
}

// store puts rows of one day in an object.
func (s *coldStore) store(t *archiveTx, resolution string, of int64, rows []coldRow) {
	s.mu.Lock()
	name := fmt.Sprintf("%s-%d-%d", resolution, of, len(s.objects))
	s.objects[name] = rows
	s.mu.Unlock()
	counts := map[int]int64{}
	for _, row := range rows {
		counts[row.partition]++
	}
	for partition, n := range counts {
		t.exec(`INSERT INTO archive_manifest (partition_id, resolution, range_start, range_end, object, byte_size, checksum, row_count, event_count_sum, value_count_sum, value_sum_sum, state, changed_at)
VALUES (?, ?, ?, ?, ?, 100, UNHEX(?), ?, 0, 0, 0, 'stored', UTC_TIMESTAMP())`, partition, resolution, at(of*day), at((of+1)*day), name, fmt.Sprintf("%064x", len(rows)), n)
	}
}

// commitFrozen archives some frozen days.
func (s *coldStore) commitFrozen(resolution string, days int64) error {
	return s.change(func(t *archiveTx) {
		from, to := t.mark("cold_before", resolution), t.mark("frozen_before", resolution)
		if from > 0 {
			to = min(to, from+days*day)
		}
		for of, rows := range t.rows(resolution+"_counts", "m.start >= ? AND m.start < ?", at(from), at(to)) {
			s.store(t, resolution, of, rows)
		}
		t.exec("UPDATE archive_marks SET cold_before = ? WHERE resolution = ?", at(to), resolution)
	})
}

// commitLate archives sealed late rows of cold days that are not restored.
func (s *coldStore) commitLate(resolution string) error {
	return s.change(func(t *archiveTx) {
		where := "m.late_round < ? AND m.start < ? AND NOT EXISTS (SELECT 1 FROM restored_ranges r WHERE r.resolution = ? AND r.state <> 'gone' AND m.start >= r.range_start AND m.start < r.range_end)"
		args := []any{t.mark("late_round", resolution), at(t.mark("cold_before", resolution)), resolution}
		for of, rows := range t.rows("late_"+resolution+"_counts", where, args...) {
			s.store(t, resolution, of, rows)
		}
		t.exec("DELETE m FROM late_"+resolution+"_counts m WHERE "+where, args...)
	})
}

// merge makes one object of all those of a day.
func (s *coldStore) merge(resolution string) error {
	return s.change(func(t *archiveTx) {
		of := t.number("SELECT COALESCE(MAX("+inMinutes("range_start")+"), -1) FROM (SELECT range_start FROM archive_manifest WHERE state = 'stored' AND resolution = ? GROUP BY range_start, partition_id HAVING COUNT(*) > 1) x", resolution) / day
		var merged []coldRow
		for _, name := range t.objects(resolution, of*day) {
			s.mu.Lock()
			merged = append(merged, s.objects[name]...)
			s.mu.Unlock()
			t.exec("UPDATE archive_manifest SET state = 'retired' WHERE object = ?", name)
		}
		if len(merged) > 0 {
			s.store(t, resolution, of, merged)
		}
	})
}

func (t *archiveTx) objects(resolution string, start int64) (names []string) {
	if t.err != nil {
		return nil
	}
	found, err := t.Query("SELECT DISTINCT object FROM archive_manifest WHERE state = 'stored' AND resolution = ? AND range_start = ?", resolution, at(start))
	if err != nil {
		t.err = err
		return nil
	}
	defer found.Close()
	for found.Next() {
		var name string
		t.err = errors.Join(t.err, found.Scan(&name))
		names = append(names, name)
	}
	return names
}

// restore brings days before the cold mark back, or, if some are back, gives those up.
func (s *coldStore) restore(resolution string, back, days int64) error {
	return s.change(func(t *archiveTx) {
		if t.number("SELECT COUNT(*) FROM restored_ranges WHERE resolution = ?", resolution) > 0 {
			t.exec("DELETE FROM restored_ranges WHERE resolution = ?", resolution)
			t.exec("DELETE FROM restored_" + resolution + "_counts")
		} else if cold := t.mark("cold_before", resolution); cold > 0 {
			from := cold - back*day
			to := min(cold, from+days*day)
			t.exec("INSERT INTO restored_ranges (resolution, range_start, range_end, state, changed_at) VALUES (?, ?, ?, 'ready', UTC_TIMESTAMP())", resolution, at(from), at(to))
			for start := from; start < to; start += day {
				for _, name := range t.objects(resolution, start) {
					s.copyBack(t, resolution, name)
				}
			}
		}
		t.exec("UPDATE archive_marks SET version = version + 1 WHERE resolution = ?", resolution)
	})
}

func (s *coldStore) copyBack(t *archiveTx, resolution, name string) {
	s.mu.Lock()
	rows := s.objects[name]
	s.mu.Unlock()
	for _, row := range rows {
		var values [4]any
		if row.HasValues {
			values = [4]any{row.ValueCount, string(row.Sum.Append(nil)), row.Min, row.Max}
		}
		t.exec("INSERT INTO restored_"+resolution+`_counts SELECT k.id, e.id, ?, ?, ?, ?, ?, ? FROM counted_keys k JOIN event_types e ON e.name = ? WHERE k.partition_id = ? AND k.name = ?
ON DUPLICATE KEY UPDATE event_count = event_count + VALUES(event_count), value_count = COALESCE(value_count + VALUES(value_count), VALUES(value_count), value_count),
value_sum = COALESCE(value_sum + VALUES(value_sum), VALUES(value_sum), value_sum), value_min = COALESCE(LEAST(value_min, VALUES(value_min)), VALUES(value_min), value_min),
value_max = COALESCE(GREATEST(value_max, VALUES(value_max)), VALUES(value_max), value_max)`,
			at(row.start), row.Count, values[0], values[1], values[2], values[3], row.kind, row.partition, row.key)
	}
}

// drop drops the time partitions of which all is cold, but not the last one of a table.
func (s *coldStore) drop(resolution string) error {
	var names sql.NullString
	err := s.root.QueryRow(`SELECT GROUP_CONCAT(p.partition_name) FROM information_schema.partitions p JOIN quipu.archive_marks a ON a.resolution = ?
WHERE p.table_schema = 'quipu' AND p.table_name = CONCAT(a.resolution, '_counts') AND CAST(REPLACE(p.partition_description, '''', '') AS DATETIME) <= a.cold_before
AND p.partition_ordinal_position < (SELECT MAX(x.partition_ordinal_position) FROM information_schema.partitions x
WHERE x.table_schema = 'quipu' AND x.table_name = CONCAT(?, '_counts'))`, resolution, resolution).Scan(&names)
	if err != nil || !names.Valid {
		return err
	}
	_, err = s.root.Exec("ALTER TABLE quipu." + resolution + "_counts DROP PARTITION " + names.String)
	return err
}
