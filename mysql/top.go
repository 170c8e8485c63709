package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/event"
)

// TopRequest asks for the N keys of a type with the largest counts over [From, To), in minutes since 1970.
type TopRequest struct {
	Type       string
	From, To   int64
	N          int
	MaxScanned int64 // minutes that may be read key by key, where no ranked list fits; 180
}

// TopEntry is one key of a ranking.
type TopEntry struct {
	Partition int
	Key       string
	Point
}

// TopAnswer is ranked by count, then key; keys that don't count more than 0 are left out. Its AsOf holds every partition that the shard owns.
type TopAnswer struct {
	Header
	Entries []TopEntry // their counts are exact
	Exact   bool       // no other key can be among them
	Others  int64      // no other key counts more
}

const defaultMaxScanned = 180

const (
	selectOwned = ` c.partition_id, c.as_of, c.next_offset, s.term, (SELECT COUNT(*) FROM checkpoints x WHERE NOT x.owned)
FROM checkpoints c JOIN shard_state s ON s.id = 1 WHERE c.owned`

	// Needed only while rows of partitions that moved away are still here.
	onlyOwned = "JOIN counted_keys o ON o.id = m.key_id JOIN checkpoints c ON c.partition_id = o.partition_id AND c.owned"
)

// Top ranks from one snapshot: by the ranked lists of whole days and hours, and by the minutes of the rest. Lists leave out keys with small counts, so that
// the answer says whether it is exact. It returns an *UnrankedError if the rest is too long or in cold storage. docs/rollup.md tells why it is right.
func (d *DB) Top(ctx context.Context, r *TopRequest) (*TopAnswer, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	asked := *r
	asked.MaxScanned = defaultTo(r.MaxScanned, defaultMaxScanned)
	var answer *TopAnswer
	err := retrying(ctx, func() error {
		answer = &TopAnswer{Header: Header{AsOf: map[int]int64{}, NextOffset: map[int]uint64{}}}
		return d.snapshotOfTables(ctx, func(conn *sqlx.Conn) error { return d.top(ctx, conn, &asked, answer) })
	})
	if err != nil {
		return nil, fmt.Errorf("read top from %s: %w", d.cfg.ID, err)
	}
	return answer, nil
}

func (d *DB) top(ctx context.Context, conn *sqlx.Conn, r *TopRequest, answer *TopAnswer) error {
	marks, err := d.readTopMarks(ctx, conn)
	if err != nil {
		return err
	}
	foreign, err := d.readOwned(ctx, conn, &answer.Header)
	if err != nil {
		return err
	}
	plan, err := planTop(r.From, r.To, r.MaxScanned, marks)
	if err != nil {
		if e, ok := errors.AsType[*UnrankedError](err); ok {
			e.From, e.To = nearTop(r.From, r.To, r.MaxScanned, marks)
		}
		return err
	}
	pieces := withLate(plan, marks.frozen)
	answer.Resolution = describe(pieces, len(pieces) > len(plan))
	search := &topSearch{db: d, conn: conn, request: r, plan: pieces, owned: foreign > 0}
	return search.run(ctx, answer)
}

// readOwned fills the header and returns how many partitions have rows here without being owned.
func (d *DB) readOwned(ctx context.Context, conn *sqlx.Conn, header *Header) (foreign int, err error) {
	rows, err := conn.QueryContext(ctx, d.selecting(ctx, selectOwned))
	if err != nil {
		return 0, meaning(err)
	}
	defer rows.Close()
	for rows.Next() {
		var partition int
		var asOf int64
		var next uint64
		if err := rows.Scan(&partition, &asOf, &next, &header.Term, &foreign); err != nil {
			return 0, meaning(err)
		}
		header.AsOf[partition], header.NextOffset[partition] = asOf, next
	}
	return foreign, meaning(rows.Err())
}

// readTopMarks reads what rankings can be made of. A schema before version 7 has no lists, one before version 6 no archive.
func (d *DB) readTopMarks(ctx context.Context, conn *sqlx.Conn) (m topMarks, err error) {
	var hourFrozen, dayFrozen int64
	for _, query := range selectTopMarks {
		err = conn.QueryRowxContext(ctx, d.selecting(ctx, query)).Scan(&m.hour, &m.day, &m.hourLists, &m.dayLists, &hourFrozen, &dayFrozen, &m.minutes, &m.frozen)
		if err = absent(err); !olderSchema(err) {
			break
		}
	}
	m.hourLists, m.dayLists = max(m.hourLists, hourFrozen), max(m.dayLists, dayFrozen)
	return m, err
}

// selectTopMarks are the first statements of a ranking, for the newest schema and older ones. They name all that it will read.
var selectTopMarks = func() []string {
	watermarks := inMinutes("h.complete_before") + ", " + inMinutes("d.complete_before") + ", "
	lists := inMinutes("rh.complete_from") + ", " + inMinutes("rd.complete_from") + ", "
	noLists := fmt.Sprintf("%[1]d, %[1]d, ", event.MaxMinute+1)
	archive := inMinutes("ah.frozen_before") + ", " + inMinutes("ad.frozen_before") + ", " + inMinutes("am.cold_before") + ", " + inMinutes("am.frozen_before")
	const fromLists = " JOIN ranked_marks rh ON rh.resolution = 'hour' JOIN ranked_marks rd ON rd.resolution = 'day'"
	counts := naming("checkpoints", "event_types", "counted_keys", perMinute.table, perHour.table, perDay.table)
	late, ranked := naming(perMinute.late), naming("ranked_counts", "ranked_bounds")
	return []string{
		watermarks + lists + archive + stateFrom + marksFrom + fromLists + stateOne + counts + late + ranked,
		watermarks + noLists + archive + stateFrom + marksFrom + stateOne + counts + late,
		watermarks + noLists + "0, 0, 0, 0" + stateFrom + stateOne + counts,
	}
}()

// naming is a condition that is true and reads nothing of the tables that it names.
func naming(tables ...string) (condition string) {
	for _, table := range tables {
		condition += " AND NOT EXISTS (SELECT 1 FROM " + table + " WHERE FALSE)"
	}
	return condition
}
