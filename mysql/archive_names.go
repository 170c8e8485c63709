package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// sparse is from how many ids a wanted one on names of keys are better asked for one by one than as a range.
const sparse = 8

const selectNames = `SELECT k.id, k.partition_id, k.name, COALESCE(k.title, ''), COALESCE(o.name, '')
FROM counted_keys k LEFT JOIN owners o ON o.id = k.owner_id`

// archivedKey is what a portion's rows need to know of their key.
type archivedKey struct {
	id          uint64
	partition   int
	name, title string
	owner       string
}

// maxNameBytes bounds the names of a portion: rows of keys beyond it are left to the next one.
const maxNameBytes = 12 << 20

// named gives the cells, which are in the order of their keys, the names that their ids stand for. It returns the key from which on they are
// left to the next portion, 0 if none are.
func (a *archiveReader) named(ctx context.Context) (named []ArchiveRow, left uint64, err error) {
	var ids []uint64
	for i := range a.cells {
		if i == 0 || a.cells[i].key != a.cells[i-1].key {
			ids = append(ids, a.cells[i].key)
		}
	}
	rows := make([]ArchiveRow, 0, len(a.cells))
	owners := map[string]string{} // many keys have the same one
	size := 0
	err = eachKey(ctx, a.conn, selectNames, ids, func(found *sql.Rows) error {
		var key archivedKey
		if err := found.Scan(&key.id, &key.partition, &key.name, &key.title, &key.owner); err != nil {
			return meaning(err)
		}
		if len(rows) == len(a.cells) || a.cells[len(rows)].key != key.id {
			return nil // a key without rows; one without a name is found in the end
		}
		if size > maxNameBytes {
			left = key.id
			a.cells = a.cells[:len(rows)]
			return nil
		}
		size += len(key.name) + len(key.title) + len(key.owner)
		if known, ok := owners[key.owner]; ok {
			key.owner = known
		} else {
			owners[key.owner] = key.owner
		}
		return a.name(&rows, &key)
	})
	if err != nil {
		return nil, 0, err
	}
	if len(rows) < len(a.cells) {
		return nil, 0, nameless(a.cells[len(rows)].key)
	}
	return rows, left, nil
}

// name adds the rows of a key.
func (a *archiveReader) name(rows *[]ArchiveRow, key *archivedKey) error {
	for len(*rows) < len(a.cells) {
		c := &a.cells[len(*rows)]
		if c.key != key.id {
			return nil
		}
		kind, ok := a.types[c.kind]
		if !ok {
			return fmt.Errorf("there are rows of event type id %d, which has no name: %w", c.kind, ErrSchema)
		}
		row := ArchiveRow{Partition: key.partition, Title: key.title, Owner: key.owner}
		row.Type, row.Key, row.Minute, row.Aggregate = kind, key.name, c.at, c.Aggregate
		*rows = append(*rows, row)
	}
	return nil
}

// eachKey hands over the rows that a SELECT on counted_keys k has for ids, which are sorted, in their order; and maybe some of other
// keys between them.
func eachKey(ctx context.Context, conn *sqlx.Conn, selected string, ids []uint64, take func(*sql.Rows) error) error {
	ask := func(where string, args ...any) error {
		rows, err := conn.QueryContext(ctx, selected+" WHERE "+where+" ORDER BY k.id", args...)
		if err != nil {
			return fmt.Errorf("read keys: %w", meaning(err))
		}
		defer rows.Close()
		for rows.Next() {
			if err := take(rows); err != nil {
				return fmt.Errorf("read keys: %w", err)
			}
		}
		return meaning(rows.Err())
	}
	first, last := ids[0], ids[len(ids)-1]
	if (last-first)/uint64(len(ids)) < sparse {
		return ask("k.id BETWEEN ? AND ?", first, last)
	}
	return portions(ids, func(part []uint64) error { return ask("k.id IN (" + joined(part) + ")") })
}
