package mysql

import (
	"context"
	"errors"
	"fmt"
	"math"

	driver "github.com/go-sql-driver/mysql"
)

// watermarks say how far the coarse tables are complete, in minutes since 1970.
type watermarks struct{ hour, day int64 }

// inMinutes is a DATETIME as minutes since 1970, in SQL.
func inMinutes(column string) string {
	return "TIMESTAMPDIFF(MINUTE, '1970-01-01 00:00:00', " + column + ")"
}

// allKeys is a next key beyond every id: what is being computed is computed for all of them.
const allKeys = math.MaxUint64

// coverage says which minutes a coarse table already holds: all before a watermark, and, from there to where it is being computed, those of
// the keys before a next one. Whoever adds to such a minute adds to the table as well.
type coverage struct {
	resolution
	before, computing int64 // minutes; equal if nothing is being computed
	next              uint64
}

func (c coverage) holds(key uint64, minute int64) bool {
	return minute < c.before || minute < c.computing && key < c.next
}

// beingComputed tells whether a cell lies in what is being computed, so that its key decides.
func (c coverage) beingComputed(cells []cell) bool {
	if c.before == c.computing {
		return false
	}
	for i := range cells {
		if m := cells[i].row.Minute; m >= c.before && m < c.computing {
			return true
		}
	}
	return false
}

const (
	stateFrom = ` FROM shard_state s
JOIN rollup_watermarks h ON h.resolution = 'hour'
JOIN rollup_watermarks d ON d.resolution = 'day'
WHERE s.id = 1`

	computingBefore = "COALESCE(%[1]s.computing_before, %[1]s.complete_before)"
)

// selectState is how the state is read: with what is being computed, or from a schema in which nothing ever is.
func selectState(computing string) string {
	column := func(table string) string { return inMinutes(fmt.Sprintf(computing, table)) }
	return "SELECT s.term, " + inMinutes("h.complete_before") + ", " + column("h") + ", " + inMinutes("d.complete_before") + ", " + column("d") + stateFrom
}

// lockState reads the term and what the coarse tables hold of the cells, and keeps both as they are until the transaction ends: no
// promotion, no advance of a watermark and, if a cell lies in what is being computed, no computing comes in between.
func (t *transaction) lockState(ctx context.Context, cells []cell) (term uint64, coarse []coverage, err error) {
	hour, day := coverage{resolution: perHour}, coverage{resolution: perDay}
	read := func(computing string) error {
		row := t.conn.QueryRowxContext(ctx, selectState(computing)+" LOCK IN SHARE MODE")
		return row.Scan(&term, &hour.before, &hour.computing, &day.before, &day.computing)
	}
	err = read(computingBefore)
	if e, ok := errors.AsType[*driver.MySQLError](err); ok && e.Number == numColumnMissing {
		err = read("%s.complete_before") // schema version 4: there is no roll-up
	}
	if err != nil {
		return 0, nil, absent(err)
	}
	coarse = []coverage{hour, day}
	for i := range coarse {
		if c := &coarse[i]; c.beingComputed(cells) {
			if c.next, err = t.nextKey(ctx, c.resolution, "LOCK IN SHARE MODE"); err != nil {
				return 0, nil, err
			}
		}
	}
	return term, coarse, nil
}

// nextKey reads how far the computing of a coarse table came.
func (t *transaction) nextKey(ctx context.Context, of resolution, lock string) (next uint64, err error) {
	row := t.conn.QueryRowxContext(ctx, "SELECT next_key FROM rollup_progress WHERE resolution = ? "+lock, resolutionNames[of])
	if err := row.Scan(&next); err != nil {
		return 0, fmt.Errorf("read progress of the roll-up: %w", absent(err))
	}
	return next, nil
}

// olderSchema tells whether a statement speaks of what the schema does not have.
func olderSchema(err error) bool {
	e, ok := errors.AsType[*driver.MySQLError](err)
	return ok && (e.Number == numTableMissing || e.Number == numColumnMissing)
}
