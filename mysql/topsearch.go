package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
)

// withLate says where the segments are read, and what was added to frozen minutes besides.
func withLate(plan []segment, frozen int64) (pieces []piece) {
	for _, s := range plan {
		pieces = append(pieces, piece{s, hot})
	}
	for _, s := range plan {
		if s.table == perMinute && s.from < frozen {
			pieces = append(pieces, piece{segment{perMinute, s.from, min(s.to, frozen)}, late})
		}
	}
	return pieces
}

// topSearch finds the best keys of a range. For every key it knows an upper limit of its total: what scanned minutes and lists have of it, and the
// bounds of the lists that it is not a member of. It sums up keys in the order of their limits until those that are left can't come before the
// best that were found.
type topSearch struct {
	db      *DB
	conn    *sqlx.Conn
	request *TopRequest
	plan    []piece
	owned   bool // only keys of partitions that the shard owns count
	kind    uint16
	bounds  int64 // the sum of all: the limit of a key that nothing has
}

// candidate is a key with the upper limit of its total.
type candidate struct {
	ID        uint64 `db:"id"`
	Partition int    `db:"partition_id"`
	Name      string `db:"name"`
	Limit     int64  `db:"most"`
}

func (s *topSearch) run(ctx context.Context, answer *TopAnswer) error {
	err := s.conn.QueryRowxContext(ctx, s.db.selecting(ctx, " e.id FROM event_types e WHERE e.name = ?"), s.request.Type).Scan(&s.kind)
	if errors.Is(err, sql.ErrNoRows) {
		answer.Exact = true
		return nil
	}
	if err != nil {
		return meaning(err)
	}
	if err := s.readBounds(ctx); err != nil {
		return err
	}
	candidates, err := s.candidates(ctx)
	if err != nil {
		return err
	}
	return s.sumUp(ctx, candidates, answer)
}

// enough is how many candidates are summed up at most.
func (s *topSearch) enough() int { return max(4*s.request.N, s.request.N+1000) }

// readBounds adds up the bounds of all lists of the plan.
func (s *topSearch) readBounds(ctx context.Context) error {
	for _, part := range s.plan {
		if !hasLists(part.table) {
			continue
		}
		text := fmt.Sprintf(" COALESCE(SUM(b.bound), 0) FROM ranked_bounds b WHERE b.resolution = '%s' AND b.event_type_id = %d AND b.start >= %s AND b.start < %s",
			resolutionNames[part.table], s.kind, appendTime(nil, part.from), appendTime(nil, part.to))
		var sum int64
		if err := s.conn.QueryRowxContext(ctx, s.db.selecting(ctx, text)).Scan(&sum); err != nil {
			return meaning(err)
		}
		s.bounds += sum
	}
	return nil
}

func hasLists(table resolution) bool { return table == perHour || table == perDay }

// What a part of the plan has of each key. A member of a list makes its count of what a key that is none could have at most.
const (
	scoreScanned = `SELECT m.key_id, SUM(m.event_count) AS score FROM %s m %s
WHERE m.event_type_id = %d AND m.start >= %s AND m.start < %s GROUP BY m.key_id`
	scoreListed = `SELECT m.key_id, SUM(m.event_count - COALESCE(b.bound, 0)) AS score FROM ranked_counts m
LEFT JOIN ranked_bounds b ON b.resolution = m.resolution AND b.event_type_id = m.event_type_id AND b.start = m.start %s
WHERE m.resolution = '%s' AND m.event_type_id = %d AND m.start >= %s AND m.start < %s GROUP BY m.key_id`

	// Ties at the last place are all kept until their names decide.
	selectCandidates = ` k.id, k.partition_id, k.name, r.score + %[3]d AS most FROM (
  SELECT t.key_id, t.score, RANK() OVER (ORDER BY t.score DESC) AS place FROM (%[1]s) t WHERE t.score > -%[3]d) r
JOIN counted_keys k ON k.id = r.key_id
WHERE r.place <= %[2]d ORDER BY r.score DESC, k.name LIMIT %[2]d`
)

// candidates returns the keys with the largest limits, one more than enough, in the order in which they would be ranked if these were their
// totals. Whoever has a limit of 0 can't be ranked.
func (s *topSearch) candidates(ctx context.Context) ([]candidate, error) {
	join := ""
	if s.owned {
		join = onlyOwned
	}
	parts := make([]string, len(s.plan))
	for i, part := range s.plan {
		from, to := appendTime(nil, part.from), appendTime(nil, part.to)
		if hasLists(part.table) {
			parts[i] = fmt.Sprintf(scoreListed, join, resolutionNames[part.table], s.kind, from, to)
		} else {
			parts[i] = fmt.Sprintf(scoreScanned, part.name(), join, s.kind, from, to)
		}
	}
	scores := parts[0]
	if len(parts) > 1 {
		scores = "SELECT u.key_id, SUM(u.score) AS score FROM (" + strings.Join(parts, "\nUNION ALL ") + ") u GROUP BY u.key_id"
	}
	var found []candidate
	text := s.db.selecting(ctx, fmt.Sprintf(selectCandidates, scores, s.enough()+1, s.bounds))
	if err := s.conn.SelectContext(ctx, &found, text); err != nil {
		return nil, meaning(err)
	}
	return found, nil
}

// sumUp totals candidates, ever more of them, until the best can't change any more or enough were tried.
func (s *topSearch) sumUp(ctx context.Context, candidates []candidate, answer *TopAnswer) error {
	n, tried := s.request.N, 0
	var best []TopEntry
	for size := n; ; size *= 2 {
		end := min(size, len(candidates), s.enough())
		entries, err := s.totals(ctx, candidates[tried:end])
		if err != nil {
			return err
		}
		tried = end
		best = append(best, slices.DeleteFunc(entries, func(e TopEntry) bool { return e.Count <= 0 })...)
		slices.SortFunc(best, compareEntries)
		if tried == len(candidates) || tried == s.enough() || !couldBeAmong(candidates[tried], best, n) {
			break
		}
	}
	answer.Entries = best[:min(n, len(best))]
	answer.Others = max(s.bounds, 0)
	answer.Exact = s.bounds <= 0 || len(best) >= n && s.bounds < best[n-1].Count
	if len(best) > n {
		answer.Others = max(answer.Others, best[n].Count)
	}
	if tried < len(candidates) {
		answer.Others = max(answer.Others, candidates[tried].Limit)
		answer.Exact = answer.Exact && !couldBeAmong(candidates[tried], best, n)
	}
	return nil
}

func compareEntries(a, b TopEntry) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
}

// couldBeAmong tells whether a key, if its total were its limit, would come before the n-th best. If not, none of those after it could.
func couldBeAmong(c candidate, best []TopEntry, n int) bool {
	if len(best) < n {
		return c.Limit > 0
	}
	return compareEntries(TopEntry{Key: c.Name, Point: pointOfLimit(c)}, best[n-1]) < 0
}

func pointOfLimit(c candidate) Point {
	var p Point
	p.Count = c.Limit
	return p
}

// totals reads the exact aggregates of keys.
func (s *topSearch) totals(ctx context.Context, keys []candidate) ([]TopEntry, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	stats := &StatsRequest{Type: s.request.Type, From: s.request.From, To: s.request.To, MaxPoints: len(keys)}
	ids := make([]uint64, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
		stats.Keys = append(stats.Keys, StatsKey{k.Partition, k.Name})
	}
	reader := newStatsReader(stats)
	for i, k := range keys {
		reader.byID[k.ID] = &reader.keys[i]
	}
	predicate := "m.key_id IN (" + joined(ids) + ")"
	reader.expect(s.plan)
	q := pieceQuery(stats, s.plan[0], predicate)
	for _, part := range s.plan[1:] {
		q.add(pieceQuery(stats, part, predicate))
	}
	if err := reader.run(ctx, s.db, s.conn, q); err != nil {
		return nil, err
	}
	answer, err := reader.finish()
	if err != nil {
		return nil, err
	}
	entries := make([]TopEntry, len(keys))
	for i, k := range keys {
		entries[i] = TopEntry{Partition: k.Partition, Key: k.Name, Point: answer.Keys[i].Points[0]}
	}
	return entries, nil
}
