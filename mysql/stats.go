package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
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

	MaxColdObjects int // that the answer may name, over all its cold parts
}

// Point is an aggregate of the events from Start on, for one step or over the whole range.
type Point struct {
	Start int64
	event.Aggregate
}

// Header is what one snapshot says besides its rows.
type Header struct {
	Term       uint64
	AsOf       map[int]int64  // by partition: of the asked ones, or of all that the shard owns
	NextOffset map[int]uint64 // by partition, as in AsOf: the place of the answer in the partition's history
	Resolution string         // of the tables read, finest first, and whether late rows were added: "minute+day+late"
}

// KeyStats are the points of one key, by start; steps without rows are left out.
type KeyStats struct {
	Known  bool
	Points []Point
}

// StatsAnswer holds the keys in the order of the request.
type StatsAnswer struct {
	Header
	Keys   []KeyStats
	Cold   []ColdPart // what the points lack because it is in cold storage
	Pieces []Piece    // what was read of which table: the rows in the order of time, then what was added to them late
}

// Piece is a part of a range that was read from one table.
type Piece struct {
	Place      string // "hot", "restored", "late"
	Resolution string
	From, To   int64 // minutes
}

// Stats answers from one snapshot. It returns a *CheckpointError with ErrMisrouted if the shard does not own the partition of
// every key, ErrTooManyPoints beyond MaxPoints and ErrTooManyCold beyond MaxColdObjects.
func (d *DB) Stats(ctx context.Context, r *StatsRequest) (*StatsAnswer, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var answer *StatsAnswer
	err := retrying(ctx, func() (err error) {
		answer, err = d.stats(ctx, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read stats from %s: %w", d.cfg.ID, err)
	}
	return answer, nil
}

// planAttempts is how often a statement is written anew before the placement is held still.
const planAttempts = 3

// stats needs one statement, which is one snapshot: it is written for the placement as last seen, and written again should the snapshot hold
// another one, for marks move a few times a day, or back in a database that lags. One key is named; the ids of many are read before, for the
// server finds its way to each only when it sees the ids.
func (d *DB) stats(ctx context.Context, r *StatsRequest) (answer *StatsAnswer, err error) {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return nil, meaning(err)
	}
	defer conn.Close()
	asked := &statsPlan{request: r, placement: d.placed.Load()}
	for range planAttempts {
		reader, err := d.read(ctx, conn, asked)
		if err != nil {
			return nil, err
		}
		if asked.holds(reader) {
			return reader.finish()
		}
		d.placed.Store(reader.placement)
		asked = reader.plan()
	}
	return d.statsInOneTransaction(ctx, conn, r)
}

// statsInOneTransaction reads state and rows one after the other, while marks move faster than a plan lasts. Its first statement names all tables,
// so that its locks on them come before the snapshot: else a time partition that is dropped in between would read as empty.
func (d *DB) statsInOneTransaction(ctx context.Context, conn *sqlx.Conn, r *StatsRequest) (answer *StatsAnswer, err error) {
	if _, err := conn.ExecContext(ctx, "START TRANSACTION READ ONLY"); err != nil {
		discard(conn)
		return nil, meaning(err)
	}
	defer rollback(ctx, conn) // what was read stays read
	state, err := d.read(ctx, conn, &statsPlan{request: r, allTables: true})
	if err != nil {
		return nil, err
	}
	asked := state.plan()
	reader, err := d.read(ctx, conn, asked)
	if err != nil {
		return nil, err
	}
	if !asked.holds(reader) {
		return nil, fmt.Errorf("a transaction saw two states: %w", ErrUnavailable)
	}
	return reader.finish()
}

// read carries a plan out. A schema without an archive holds all rows where they were counted.
func (d *DB) read(ctx context.Context, conn *sqlx.Conn, asked *statsPlan) (*statsReader, error) {
	reader := newStatsReader(asked.request)
	err := reader.run(ctx, d, conn, asked.query(reader, true))
	if olderSchema(err) {
		if asked.placement != nil && asked.placement.archive {
			asked.placement = nil // it went by tables that are no more
		}
		reader = newStatsReader(asked.request)
		err = reader.run(ctx, d, conn, asked.query(reader, false))
	}
	if err != nil {
		return nil, err
	}
	reader.placement.settle()
	return reader, reader.complete()
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
	kindHeader   = '0' // partition, as-of, term, hour watermark, day watermark, next offset, marks
	kindKey      = '1' // id, partition, name in g
	kindRow      = '2' // key id, start, event count, value count, value sum, minimum, maximum
	kindRestored = '4' // -, start, end, resolution in g
	kindObject   = '5' // partition, bytes, rows, piece, start, checksum in hexadecimal, name
	kindLate     = '6' // like kindRow
)

func (q *query) add(other *query) {
	q.text.WriteString(" UNION ALL SELECT ")
	q.text.WriteString(other.text.String())
	q.args = append(q.args, other.args...)
}

// headerQuery selects the state of the keys' partitions, and, with an archive, where rows are.
func headerQuery(keys []StatsKey, archive, restored bool) *query {
	q := &query{}
	marks, from := "NULL", ""
	if archive {
		marks, from = markColumns, marksFrom
	}
	q.text.WriteString("0 AS kind, c.partition_id AS a, c.as_of AS b, CAST(s.term AS SIGNED) AS c, " + inMinutes("h.complete_before") + " AS d, " +
		inMinutes("d.complete_before") + " AS e, CAST(c.next_offset AS SIGNED) AS f, " + marks + " AS g FROM checkpoints c JOIN shard_state s ON s.id = 1" +
		" JOIN rollup_watermarks h ON h.resolution = 'hour' JOIN rollup_watermarks d ON d.resolution = 'day'" + from +
		" WHERE c.owned AND c.partition_id IN (" + joined(partitionsOf(keys)) + ")")
	if archive && restored {
		q.text.WriteString(selectRestored)
	}
	return q
}

func partitionsOf(keys []StatsKey) []int {
	var partitions []int
	for _, k := range keys {
		partitions = append(partitions, k.Partition)
	}
	slices.Sort(partitions)
	return slices.Compact(partitions)
}

// keysQuery selects those keys that exist.
func keysQuery(keys []StatsKey) *query {
	q := &query{}
	names := map[int][]any{}
	for _, k := range keys {
		names[k.Partition] = append(names[k.Partition], k.Name)
	}
	q.text.WriteString("1, k.id, k.partition_id, NULL, NULL, NULL, NULL, k.name FROM counted_keys k FORCE INDEX (counted_keys_partition_name) WHERE ")
	for i, partition := range partitionsOf(keys) {
		if i > 0 {
			q.text.WriteString(" OR ")
		}
		fmt.Fprintf(&q.text, "(k.partition_id = %d AND k.name IN (%s))", partition, repeated("?", len(names[partition])))
		q.args = append(q.args, names[partition]...)
	}
	return q
}

// pieceQuery selects what one piece, which is not cold, holds of the keys that a predicate names.
func pieceQuery(r *StatsRequest, s piece, predicate string, args ...any) *query {
	q := &query{args: args}
	kind := byte(kindRow)
	if s.place == late {
		kind = kindLate
	}
	start, grouped := inMinutes("m.start"), true
	switch {
	case r.Step == StepNone:
		start = "0"
	case int64(r.Step) == s.table.minutes && s.place != late:
		grouped = false // a row is a point
	default:
		start = fmt.Sprintf("%s DIV %d * %d", start, r.Step, r.Step)
	}
	columns := "m.event_count, m.value_count, m.value_sum, m.value_min, m.value_max"
	if grouped {
		columns = "SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum), MIN(m.value_min), MAX(m.value_max)"
	}
	fmt.Fprintf(&q.text, "%c AS kind, m.key_id AS a, %s AS b, %s FROM %s m FORCE INDEX (PRIMARY)", kind, start, columns, s.name())
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
	rows, err := conn.QueryContext(ctx, text+" LIMIT "+strconv.Itoa(sr.maxRows+1), q.args...)
	if err != nil {
		return meaning(err)
	}
	defer rows.Close()
	var columns [8]sql.RawBytes
	var targets [8]any
	for i := range columns {
		targets[i] = &columns[i]
	}
	for n := 0; rows.Next(); n++ {
		if n == sr.maxRows {
			return fmt.Errorf("more than %d rows: %w", n, ErrTooManyPoints)
		}
		if err := rows.Scan(targets[:]...); err != nil {
			return meaning(err)
		}
		if err := sr.take(&columns); err != nil {
			return err
		}
	}
	return meaning(rows.Err())
}
