package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

const (
	allMembers    = 1 << 30
	prunedAStep   = 5000 // members that one step removes at most
	lookedAtAStep = 50   // grown lists that one step looks at
)

// tend does what is left to do for the lists when nothing is to be computed: it removes those of frozen hours and days, which are not read any
// more, prunes those that late events have made too long, and ranks what was complete before there were lists.
func (t *transaction) tend(ctx context.Context, r *RollupRequest) (RollupStep, error) {
	marks, err := t.rankedMarks(ctx)
	if err != nil {
		return RollupStep{}, err
	}
	for _, m := range marks {
		if removed, err := t.removeFrozen(ctx, m); err != nil || removed > 0 {
			return RollupStep{Action: RollupPruned, Resolution: resolutionNames[m.resolution], Start: m.frozen, Rows: removed}, err
		}
	}
	if done, err := t.pruneGrown(ctx, r.RankedKeys); err != nil || done.Action != "" {
		return done, err
	}
	for _, m := range marks {
		if m.from > m.frozen {
			return t.rankOld(ctx, m, r.ChunkRows)
		}
	}
	return RollupStep{Action: RollupIdle}, nil
}

// rankedMark says which lists of a resolution are read: those from both on, in minutes since 1970.
type rankedMark struct {
	resolution
	from   int64  // lists that start earlier lack the keys from next on
	next   uint64 // keys with a smaller id are in all lists
	frozen int64  // rows that start earlier are frozen: their lists are not kept
}

// rankedMarks takes no locks: only who holds the leader's row changes them.
func (t *transaction) rankedMarks(ctx context.Context) ([]rankedMark, error) {
	rows, err := t.conn.QueryContext(ctx, "SELECT m.resolution, "+inMinutes("m.complete_from")+", m.next_key, "+inMinutes("a.frozen_before")+
		" FROM ranked_marks m JOIN archive_marks a ON a.resolution = m.resolution ORDER BY m.resolution")
	if err != nil {
		return nil, fmt.Errorf("read marks of the ranked lists: %w", meaning(err))
	}
	defer rows.Close()
	var marks []rankedMark
	for rows.Next() {
		var m rankedMark
		var name string
		if err := rows.Scan(&name, &m.from, &m.next, &m.frozen); err != nil {
			return nil, meaning(err)
		}
		if m.resolution, err = coarseNamed(name); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, meaning(rows.Err())
}

func (t *transaction) removeFrozen(ctx context.Context, m rankedMark) (removed int64, err error) {
	if m.frozen <= 0 {
		return 0, nil
	}
	kinds, err := t.kinds(ctx)
	if err != nil {
		return 0, err
	}
	for _, table := range []string{"ranked_grown", "ranked_counts", "ranked_bounds"} { // a bound goes after those that it is the bound of
		for _, kind := range kinds {
			n, err := t.affected(ctx, fmt.Sprintf("DELETE FROM %s WHERE resolution = '%s' AND event_type_id = %d AND start < %s LIMIT %d",
				table, resolutionNames[m.resolution], kind, appendTime(nil, m.frozen), prunedAStep))
			if removed += n; err != nil || removed >= prunedAStep {
				return removed, err
			}
		}
	}
	return removed, nil
}

func (t *transaction) affected(ctx context.Context, statement string) (int64, error) {
	result, err := t.conn.ExecContext(ctx, statement)
	if err != nil {
		return 0, meaning(err)
	}
	return result.RowsAffected()
}

// pruneGrown looks at some of the lists that have grown. With a mark away no Apply that has added a member is under way, nor comes another one
// before the commit. A few lists that needn't be pruned are no action of their own: late events may mark lists all the time.
func (t *transaction) pruneGrown(ctx context.Context, keep int) (RollupStep, error) {
	var done RollupStep
	grown, err := t.readGrown(ctx)
	if err != nil {
		return done, err
	}
	for _, l := range grown {
		if _, err := t.affected(ctx, "DELETE FROM ranked_grown WHERE "+l.where()); err != nil {
			return done, err
		}
		n, err := t.prune(ctx, l, keep, 4*keep, prunedAStep)
		if err != nil {
			return done, err
		}
		if done.Rows += n; n > 0 {
			done.Action, done.Resolution, done.Start = RollupPruned, resolutionNames[l.resolution], l.start
		}
		if n == prunedAStep { // there may be more
			return done, t.markGrown(ctx, []list{l})
		}
		if done.Rows >= prunedAStep {
			break
		}
	}
	if len(grown) == lookedAtAStep { // there may be more
		last := grown[len(grown)-1]
		done.Action, done.Resolution, done.Start = RollupPruned, resolutionNames[last.resolution], last.start
	}
	return done, nil
}

func (t *transaction) readGrown(ctx context.Context) ([]list, error) {
	rows, err := t.conn.QueryContext(ctx, fmt.Sprintf("SELECT resolution, event_type_id, %s FROM ranked_grown ORDER BY resolution, event_type_id, ranked_grown.start LIMIT %d",
		inMinutes("start"), lookedAtAStep))
	if err != nil {
		return nil, meaning(err)
	}
	defer rows.Close()
	var lists []list
	for rows.Next() {
		var l list
		var name string
		if err := rows.Scan(&name, &l.kind, &l.start); err != nil {
			return nil, meaning(err)
		}
		if l.resolution, err = coarseNamed(name); err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, meaning(rows.Err())
}

// prune leaves the largest members of a list that has more than a limit, or removes as many as it may. The first that is not kept gives the bound.
// Members may change meanwhile: only those are removed that don't exceed the bound when their rows are locked.
func (t *transaction) prune(ctx context.Context, l list, keep, limit, most int) (removed int64, err error) {
	var members int
	row := t.conn.QueryRowxContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM (SELECT 1 FROM ranked_counts WHERE %s LIMIT %d) m", l.where(), limit+1))
	if err := row.Scan(&members); err != nil || members <= limit {
		return 0, meaning(err)
	}
	var first member
	row = t.conn.QueryRowxContext(ctx, fmt.Sprintf("SELECT key_id, event_count FROM ranked_counts WHERE %s ORDER BY event_count DESC, key_id LIMIT 1 OFFSET %d", l.where(), keep))
	switch err := row.Scan(&first.key, &first.count); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, meaning(err)
	}
	if err := t.raiseBound(ctx, l, max(first.count, 0)); err != nil {
		return 0, err
	}
	return t.affected(ctx, fmt.Sprintf("DELETE FROM ranked_counts WHERE %s AND (event_count < %d OR event_count = %[2]d AND key_id >= %d) LIMIT %d",
		l.where(), first.count, first.key, most))
}

const selectRows = `SELECT m.key_id, m.event_type_id, %s, m.event_count FROM %s m FORCE INDEX (PRIMARY)
WHERE m.start >= %s AND m.start < %s AND m.key_id >= ? AND m.key_id < ? ORDER BY m.key_id, m.event_type_id, m.start LOCK IN SHARE MODE`

// rankOld makes those rows of the next keys members of their lists that were complete before there were lists. Apply keeps these lists like all
// others; the lock on the rows keeps it from changing one that was read.
func (t *transaction) rankOld(ctx context.Context, m rankedMark, rows int) (RollupStep, error) {
	done := RollupStep{Action: RollupRanked, Resolution: resolutionNames[m.resolution], Start: m.from}
	from, to := appendTime(nil, m.frozen), appendTime(nil, m.from)
	limit, err := t.chunkEnd(ctx, fmt.Sprintf(selectChunkEnd, m.table, from, to, rows), m.next)
	if err != nil {
		return done, err
	}
	found, err := t.readListed(ctx, m.resolution, fmt.Sprintf(selectRows, inMinutes("m.start"), m.table, from, to), m.next, limit)
	if err != nil {
		return done, err
	}
	bounds, err := t.readBounds(ctx, listsOf(found))
	if err != nil {
		return done, err
	}
	found = slices.DeleteFunc(found, func(r listed) bool { return r.count <= bounds[r.list] })
	if err := t.markGrown(ctx, listsOf(found)); err != nil {
		return done, err
	}
	done.Rows = int64(len(found))
	if err := t.writeListed(ctx, found); err != nil {
		return done, err
	}
	if limit == allKeys {
		return done, t.exec(ctx, fmt.Sprintf("UPDATE ranked_marks SET complete_from = %s, next_key = 0 WHERE resolution = ?", from), resolutionNames[m.resolution])
	}
	return done, t.exec(ctx, "UPDATE ranked_marks SET next_key = ? WHERE resolution = ?", limit, resolutionNames[m.resolution])
}

func (t *transaction) readListed(ctx context.Context, of resolution, query string, args ...any) ([]listed, error) {
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, meaning(err)
	}
	defer rows.Close()
	var found []listed
	for rows.Next() {
		r := listed{list: list{resolution: of}}
		if err := rows.Scan(&r.key, &r.kind, &r.start, &r.count); err != nil {
			return nil, meaning(err)
		}
		found = append(found, r)
	}
	slices.SortFunc(found, compareListed)
	return found, meaning(rows.Err())
}

// listsOf returns the lists of rows that come by list.
func listsOf(rows []listed) []list {
	var lists []list
	for i := range rows {
		if i == 0 || rows[i].list != rows[i-1].list {
			lists = append(lists, rows[i].list)
		}
	}
	return lists
}
