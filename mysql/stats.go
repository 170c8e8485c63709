package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/event"
)

// Step is the resolution of a series, in minutes; StepNone asks for one total.
type Step int64

// The steps.
const (
	StepNone   Step = 0
	StepMinute Step = 1
	StepHour   Step = 60
	StepDay    Step = 24 * 60
)

// StatsKey is a key with the partition that it belongs to.
type StatsKey struct {
	Partition int
	Name      string
}

// StatsRequest asks for the aggregates of keys of one type over [From, To), in minutes since 1970. From and To are multiples of Step.
type StatsRequest struct {
	Type      string
	Keys      []StatsKey // no name twice
	From, To  int64
	Step      Step
	MaxPoints int // over all keys
}

// Point is an aggregate of the events from Start on, for one step or over the whole range.
type Point struct {
	Start int64
	event.Aggregate
}

// Header is what one snapshot says besides its rows.
type Header struct {
	Term       uint64
	AsOf       map[int]int64 // by partition: of the asked ones, or of all that the shard owns
	Resolution string        // of the tables read, finest first: "minute+day"
}

// KeyStats are the points of one key, by start; steps without rows are left out.
type KeyStats struct {
	Known  bool
	Points []Point
}

// StatsAnswer holds the keys in the order of the request.
type StatsAnswer struct {
	Header
	Keys []KeyStats
}

// Stats answers from one snapshot. It returns a *CheckpointError with ErrMisrouted if the shard does not own the partition of
// every key, and ErrTooManyPoints beyond MaxPoints.
func (d *DB) Stats(ctx context.Context, r *StatsRequest) (*StatsAnswer, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	read := d.statsOfMany
	if len(r.Keys) == 1 {
		read = d.statsOfOne
	}
	var answer *StatsAnswer
	err := retrying(ctx, func() (err error) {
		answer, err = read(ctx, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read stats from %s: %w", d.cfg.ID, err)
	}
	return answer, nil
}

// statsOfOne needs one statement, written for watermarks as last seen. Should the snapshot hold others, it is written again:
// they move once an hour, or back in a database that lags.
func (d *DB) statsOfOne(ctx context.Context, r *StatsRequest) (*StatsAnswer, error) {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return nil, meaning(err)
	}
	defer conn.Close()
	for range maxAttempts {
		marks := d.marks.Load()
		var segments []segment
		q := headerQuery(r.Keys)
		if marks != nil {
			segments = divide(r.From, r.To, r.Step, *marks)
			for _, s := range segments {
				q.add(rowsQuery(r, s, keyByName, r.Keys[0].Partition, r.Keys[0].Name))
			}
		}
		reader := newStatsReader(r)
		if err := reader.run(ctx, d, conn, q); err != nil {
			return nil, err
		}
		if err := reader.complete(); err != nil {
			return nil, err
		}
		if marks != nil && reader.marks == *marks {
			return reader.finish(segments), nil
		}
		d.marks.Store(&reader.marks)
	}
	return nil, fmt.Errorf("watermarks moved %d times: %w", maxAttempts, ErrUnavailable)
}

// keyByName names one key. The server looks it up before it plans, and then reads just the range.
const keyByName = "m.key_id = (SELECT k.id FROM counted_keys k WHERE k.partition_id = ? AND k.name = ?)"

// statsOfMany reads ids and watermarks first and then the rows, in one snapshot: the server finds its way to each key only when it sees
// the ids.
func (d *DB) statsOfMany(ctx context.Context, r *StatsRequest) (*StatsAnswer, error) {
	reader := newStatsReader(r)
	var segments []segment
	err := d.snapshot(ctx, func(conn *sqlx.Conn) error {
		if err := reader.run(ctx, d, conn, headerQuery(r.Keys)); err != nil {
			return err
		}
		if err := reader.complete(); err != nil {
			return err
		}
		segments = divide(r.From, r.To, r.Step, reader.marks)
		if len(reader.byID) == 0 || len(segments) == 0 {
			return nil
		}
		predicate := "m.key_id IN (" + joined(reader.ids()) + ")"
		q := rowsQuery(r, segments[0], predicate)
		for _, s := range segments[1:] {
			q.add(rowsQuery(r, s, predicate))
		}
		return reader.run(ctx, d, conn, q)
	})
	if err != nil {
		return nil, err
	}
	return reader.finish(segments), nil
}

func joined[T uint64 | int](values []T) string {
	text := make([]byte, 0, 8*len(values))
	for i, v := range values {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendUint(text, uint64(v), 10)
	}
	return string(text)
}

// query is a SELECT without its keyword, or a union of them. Every part has the columns kind, a, b, c, d, e, f, g; what they hold is told
// by kind.
type query struct {
	text strings.Builder
	args []any
}

const (
	kindHeader = '0' // partition, as-of, term, hour watermark, day watermark
	kindKey    = '1' // id, partition, name in g
	kindRow    = '2' // key id, start, event count, value count, value sum, minimum, maximum
)

func (q *query) add(other *query) {
	q.text.WriteString(" UNION ALL SELECT ")
	q.text.WriteString(other.text.String())
	q.args = append(q.args, other.args...)
}

// headerQuery selects the state of the keys' partitions, and the keys that exist.
func headerQuery(keys []StatsKey) *query {
	q := &query{}
	byPartition := map[int][]string{}
	var partitions []int
	for _, k := range keys {
		if byPartition[k.Partition] == nil {
			partitions = append(partitions, k.Partition)
		}
		byPartition[k.Partition] = append(byPartition[k.Partition], k.Name)
	}
	q.text.WriteString("0 AS kind, c.partition_id AS a, c.as_of AS b, CAST(s.term AS SIGNED) AS c, " + inMinutes("h.complete_before") + " AS d, " +
		inMinutes("d.complete_before") + " AS e, NULL AS f, NULL AS g FROM checkpoints c JOIN shard_state s ON s.id = 1" +
		" JOIN rollup_watermarks h ON h.resolution = 'hour' JOIN rollup_watermarks d ON d.resolution = 'day'" +
		" WHERE c.owned AND c.partition_id IN (" + joined(partitions) + ")" +
		" UNION ALL SELECT 1, k.id, k.partition_id, NULL, NULL, NULL, NULL, k.name FROM counted_keys k FORCE INDEX (counted_keys_partition_name) WHERE ")
	for i, partition := range partitions {
		if i > 0 {
			q.text.WriteString(" OR ")
		}
		names := byPartition[partition]
		fmt.Fprintf(&q.text, "(k.partition_id = %d AND k.name IN (%s))", partition, repeated("?", len(names)))
		for _, name := range names {
			q.args = append(q.args, name)
		}
	}
	return q
}

// rowsQuery selects what one segment holds of the keys that a predicate names.
func rowsQuery(r *StatsRequest, s segment, predicate string, args ...any) *query {
	q := &query{args: args}
	start, grouped := inMinutes("m.start"), true
	switch {
	case r.Step == StepNone:
		start = "0"
	case int64(r.Step) == s.table.minutes:
		grouped = false // a row is a point
	default:
		start = fmt.Sprintf("%s DIV %d * %d", start, r.Step, r.Step)
	}
	columns := "m.event_count, m.value_count, m.value_sum, m.value_min, m.value_max"
	if grouped {
		columns = "SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum), MIN(m.value_min), MAX(m.value_max)"
	}
	fmt.Fprintf(&q.text, "2 AS kind, m.key_id AS a, %s AS b, %s FROM %s m FORCE INDEX (PRIMARY)", start, columns, s.table.table)
	fmt.Fprintf(&q.text, " WHERE %s AND m.event_type_id = (SELECT t.id FROM event_types t WHERE t.name = ?) AND m.start >= %s AND m.start < %s",
		predicate, appendTime(nil, s.from), appendTime(nil, s.to))
	q.args = append(q.args, r.Type)
	if grouped {
		q.text.WriteString(" GROUP BY m.key_id")
		if r.Step != StepNone {
			q.text.WriteString(", " + start)
		}
	}
	return q
}

// run runs a query and takes its rows.
func (sr *statsReader) run(ctx context.Context, d *DB, conn *sqlx.Conn, q *query) error {
	text := d.selecting(ctx, q.text.String())
	limit := sr.request.MaxPoints + (2+maxSegments)*len(sr.request.Keys) + 1
	rows, err := conn.QueryContext(ctx, text+" LIMIT "+strconv.Itoa(limit), q.args...)
	if err != nil {
		return meaning(err)
	}
	defer rows.Close()
	var columns [8]sql.RawBytes
	var targets [8]any
	for i := range columns {
		targets[i] = &columns[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets[:]...); err != nil {
			return meaning(err)
		}
		if err := sr.take(&columns); err != nil {
			return err
		}
	}
	return meaning(rows.Err())
}
