package mysql

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// list is the ranked list of a type in an hour or a day. It holds every key whose count there is above the list's bound, maybe some more, each with
// its count as the coarse table has it. Whoever changes a row of the coarse table that is held (docs/rollup.md) keeps the list so, in the same
// transaction; whoever removes members raises the bound, which never falls.
type list struct {
	resolution
	kind  uint16
	start int64
}

// compareLists is the order in which lists are locked, that of the table's key.
func compareLists(a, b list) int {
	return cmp.Or(cmp.Compare(a.minutes, b.minutes), cmp.Compare(a.kind, b.kind), cmp.Compare(a.start, b.start))
}

// where selects a list's rows.
func (l list) where() string {
	return fmt.Sprintf("resolution = '%s' AND event_type_id = %d AND start = %s", resolutionNames[l.resolution], l.kind, appendTime(nil, l.start))
}

// appendTo appends the columns that name a list.
func (l list) appendTo(dst []byte) []byte {
	dst = append(append(append(dst, '\''), resolutionNames[l.resolution]...), "',"...)
	dst = append(strconv.AppendUint(dst, uint64(l.kind), 10), ',')
	return appendTime(dst, l.start)
}

// member is a key with its count.
type member struct {
	key   uint64
	count int64
}

// listed is a member of a list.
type listed struct {
	list
	member
}

// rankChunk adds what a chunk computed to the lists of its hour or day. With the last chunk the lists get their final length.
func (t *transaction) rankChunk(ctx context.Context, c *chunk, last bool, keep int) error {
	lists := make([]list, 0, len(c.members))
	for _, kind := range slices.Sorted(maps.Keys(c.members)) {
		lists = append(lists, list{c.into, kind, c.start})
	}
	bounds, err := t.readBounds(ctx, lists)
	if err != nil {
		return err
	}
	var rows []listed
	for _, l := range lists {
		best, left := theBest(c.members[l.kind], bounds[l], keep)
		if left > bounds[l] {
			if err := t.raiseBound(ctx, l, left); err != nil {
				return err
			}
		}
		for _, m := range best {
			rows = append(rows, listed{l, m})
		}
	}
	if err := t.writeListed(ctx, rows); err != nil {
		return err
	}
	limit := 2 * keep
	if last {
		limit = keep
		if lists, err = t.listsAt(ctx, c.into, c.start); err != nil {
			return err
		}
	}
	for _, l := range lists {
		if _, err := t.prune(ctx, l, keep, limit, allMembers); err != nil {
			return err
		}
	}
	return nil
}

// theBest returns those above a bound, the largest ones if they are more than wanted, by key; and the largest count that it left out.
func theBest(all []member, bound int64, wanted int) (best []member, left int64) {
	best = slices.DeleteFunc(all, func(m member) bool { return m.count <= bound })
	if len(best) > wanted {
		slices.SortFunc(best, func(a, b member) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.key, b.key)) })
		left, best = best[wanted].count, best[:wanted]
	}
	slices.SortFunc(best, func(a, b member) int { return cmp.Compare(a.key, b.key) })
	return best, left
}

// readBounds returns the bounds above 0.
func (t *transaction) readBounds(ctx context.Context, lists []list) (map[list]int64, error) {
	bounds := map[list]int64{}
	for part := range slices.Chunk(lists, rowsPerStatement) {
		text := []byte("SELECT resolution, event_type_id, " + inMinutes("start") + ", bound FROM ranked_bounds WHERE ")
		for i, l := range part {
			if i > 0 {
				text = append(text, " OR "...)
			}
			text = append(append(append(text, '('), l.where()...), ')')
		}
		if err := t.scanBounds(ctx, string(text), bounds); err != nil {
			return nil, err
		}
	}
	return bounds, nil
}

func (t *transaction) scanBounds(ctx context.Context, query string, into map[list]int64) error {
	rows, err := t.conn.QueryContext(ctx, query)
	if err != nil {
		return meaning(err)
	}
	defer rows.Close()
	for rows.Next() {
		var l list
		var name string
		var bound int64
		if err := rows.Scan(&name, &l.kind, &l.start, &bound); err != nil {
			return meaning(err)
		}
		if l.resolution, err = coarseNamed(name); err != nil {
			return err
		}
		into[l] = bound
	}
	return meaning(rows.Err())
}

func coarseNamed(name string) (resolution, error) {
	for _, r := range []resolution{perHour, perDay} {
		if resolutionNames[r] == name {
			return r, nil
		}
	}
	return resolution{}, fmt.Errorf("%q is no coarse resolution: %w", name, ErrSchema)
}

// raiseBound lets a list leave out keys that count no more than a bound.
func (t *transaction) raiseBound(ctx context.Context, l list, bound int64) error {
	text := l.appendTo([]byte("INSERT INTO ranked_bounds (resolution, event_type_id, start, bound) VALUES ("))
	text = strconv.AppendInt(append(text, ','), bound, 10)
	return t.exec(ctx, string(append(text, ") ON DUPLICATE KEY UPDATE bound = GREATEST(bound, VALUES(bound))"...)))
}

// writeListed makes keys members, or gives members their counts. The rows come in the order of the table's key: so do all locks.
func (t *transaction) writeListed(ctx context.Context, rows []listed) error {
	for part := range slices.Chunk(rows, rowsPerStatement) {
		text := []byte("INSERT INTO ranked_counts (resolution, event_type_id, start, key_id, event_count) VALUES ")
		for i := range part {
			if i > 0 {
				text = append(text, ',')
			}
			text = part[i].list.appendTo(append(text, '('))
			text = strconv.AppendUint(append(text, ','), part[i].key, 10)
			text = append(strconv.AppendInt(append(text, ','), part[i].count, 10), ')')
		}
		if err := t.exec(ctx, string(append(text, " ON DUPLICATE KEY UPDATE event_count = VALUES(event_count)"...))); err != nil {
			return err
		}
	}
	return nil
}

// listsAt returns the lists of an hour or day, of all types.
func (t *transaction) listsAt(ctx context.Context, of resolution, start int64) ([]list, error) {
	kinds, err := t.kinds(ctx)
	if err != nil {
		return nil, err
	}
	lists := make([]list, len(kinds))
	for i, kind := range kinds {
		lists[i] = list{of, kind, start}
	}
	return lists, nil
}

func (t *transaction) kinds(ctx context.Context) ([]uint16, error) {
	var kinds []uint16
	if err := t.conn.SelectContext(ctx, &kinds, "SELECT id FROM event_types ORDER BY id"); err != nil {
		return nil, meaning(err)
	}
	return kinds, nil
}
