package mysql

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// TopRequest asks for the N keys of a type with the largest counts over [From, To), in minutes since 1970.
type TopRequest struct {
	Type     string
	From, To int64
	N        int
}

// TopEntry is one key of a ranking.
type TopEntry struct {
	Partition int
	Key       string
	Point
}

// TopAnswer is ranked by count, then key. Its AsOf holds every partition that the shard owns.
type TopAnswer struct {
	Header
	Entries []TopEntry
}

const (
	selectOwned = ` c.partition_id, c.as_of, s.term, (SELECT COUNT(*) FROM checkpoints x WHERE NOT x.owned)
FROM checkpoints c JOIN shard_state s ON s.id = 1 WHERE c.owned`

	// Ties at the last place are all kept until their names decide.
	selectRanked = ` k.id, k.partition_id, k.name, r.event_count FROM (
  SELECT t.key_id, t.event_count, RANK() OVER (ORDER BY t.event_count DESC) AS place FROM (
    SELECT m.key_id, SUM(m.event_count) AS event_count FROM minute_counts m %s
    WHERE m.event_type_id = (SELECT e.id FROM event_types e WHERE e.name = ?) AND m.start >= %s AND m.start < %s
    GROUP BY m.key_id) t) r
JOIN counted_keys k ON k.id = r.key_id
WHERE r.place <= %d ORDER BY r.event_count DESC, k.name LIMIT %d`

	// Needed only while rows of partitions that moved away are still here.
	onlyOwned = "JOIN counted_keys o ON o.id = m.key_id JOIN checkpoints c ON c.partition_id = o.partition_id AND c.owned"
)

// Top scans the minute rows of the range: it is exact, and as slow as the range is long.
func (d *DB) Top(ctx context.Context, r *TopRequest) (*TopAnswer, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var answer *TopAnswer
	err := retrying(ctx, func() error {
		answer = &TopAnswer{Header: Header{AsOf: map[int]int64{}, Resolution: resolutionNames[perMinute]}}
		return d.snapshot(ctx, func(conn *sqlx.Conn) error { return d.top(ctx, conn, r, answer) })
	})
	if err != nil {
		return nil, fmt.Errorf("read top from %s: %w", d.cfg.ID, err)
	}
	return answer, nil
}

func (d *DB) top(ctx context.Context, conn *sqlx.Conn, r *TopRequest, answer *TopAnswer) error {
	foreign, err := d.readOwned(ctx, conn, &answer.Header)
	if err != nil {
		return err
	}
	ranked, err := d.rank(ctx, conn, r, foreign)
	if err != nil || len(ranked) == 0 {
		return err
	}
	answer.Entries, err = d.topEntries(ctx, conn, r, ranked)
	return err
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
		if err := rows.Scan(&partition, &asOf, &header.Term, &foreign); err != nil {
			return 0, meaning(err)
		}
		header.AsOf[partition] = asOf
	}
	return foreign, meaning(rows.Err())
}

// rankedKey is a key in its place.
type rankedKey struct {
	ID        uint64 `db:"id"`
	Partition int    `db:"partition_id"`
	Name      string `db:"name"`
	Count     int64  `db:"event_count"`
}

func (d *DB) rank(ctx context.Context, conn *sqlx.Conn, r *TopRequest, foreign int) ([]rankedKey, error) {
	join := ""
	if foreign > 0 {
		join = onlyOwned
	}
	text := fmt.Sprintf(selectRanked, join, appendTime(nil, r.From), appendTime(nil, r.To), r.N, r.N)
	var ranked []rankedKey
	if err := conn.SelectContext(ctx, &ranked, d.selecting(ctx, text), r.Type); err != nil {
		return nil, meaning(err)
	}
	return ranked, nil
}

// topEntries adds the values of the few keys that made it.
func (d *DB) topEntries(ctx context.Context, conn *sqlx.Conn, r *TopRequest, ranked []rankedKey) ([]TopEntry, error) {
	stats := &StatsRequest{Type: r.Type, From: r.From, To: r.To, MaxPoints: len(ranked)}
	ids := make([]uint64, len(ranked))
	for i, k := range ranked {
		ids[i] = k.ID
		stats.Keys = append(stats.Keys, StatsKey{k.Partition, k.Name})
	}
	reader := newStatsReader(stats)
	for i, k := range ranked {
		reader.byID[k.ID] = &reader.keys[i]
	}
	if err := reader.run(ctx, d, conn, rowsQuery(stats, segment{perMinute, r.From, r.To}, "m.key_id IN ("+joined(ids)+")")); err != nil {
		return nil, err
	}
	entries := make([]TopEntry, len(ranked))
	for i, k := range ranked {
		entries[i] = TopEntry{Partition: k.Partition, Key: k.Name, Point: reader.keys[i].Points[0]}
	}
	return entries, nil
}
