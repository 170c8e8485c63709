package mysql

import (
	"context"
	"errors"
	"fmt"
	"math"

	driver "github.com/go-sql-driver/mysql"

	"github.com/quipudb/quipu/event"
)

// watermarks say how far the coarse tables are complete, in minutes since 1970.
type watermarks struct{ hour, day int64 }

// inMinutes is a DATETIME as minutes since 1970, in SQL.
func inMinutes(column string) string {
	return "TIMESTAMPDIFF(MINUTE, '1970-01-01 00:00:00', " + column + ")"
}

// allKeys is a next key beyond every id: what is being computed is computed for all of them.
const allKeys = math.MaxUint64

// coverage says which minutes a table already holds: all before a watermark, and, from there to where it is being computed, those of
// the keys before a next one. Whoever adds to such a minute adds to the table as well, or, if the minute is frozen there, to its late table.
type coverage struct {
	resolution
	before, computing int64 // minutes; equal if nothing is being computed
	next              uint64
	frozen            int64  // minutes before it are frozen
	round             uint32 // of late rows
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
JOIN rollup_watermarks d ON d.resolution = 'day'`

	marksFrom = `
JOIN archive_marks am ON am.resolution = 'minute'
JOIN archive_marks ah ON ah.resolution = 'hour'
JOIN archive_marks ad ON ad.resolution = 'day'`

	stateOne = "\nWHERE s.id = 1"

	computingBefore = "COALESCE(%[1]s.computing_before, %[1]s.complete_before)"
)

// selectStates are how the state is read, newest schema first: version 5 has no archive, so that nothing is ever frozen, and version 4 no
// roll-up, so that nothing is ever being computed.
var selectStates = [...]string{
	selectState(computingBefore, true),
	selectState(computingBefore, false),
	selectState("%s.complete_before", false),
}

func selectState(computing string, marks bool) string {
	text := "SELECT s.term, (SELECT c.as_of FROM checkpoints c WHERE c.partition_id = ?)"
	for _, table := range []string{"h", "d"} {
		text += ", " + inMinutes(table+".complete_before") + ", " + inMinutes(fmt.Sprintf(computing, table))
	}
	if !marks {
		return text + ", 0, 1, 0, 1, 0, 1" + stateFrom + stateOne
	}
	for _, table := range []string{"am", "ah", "ad"} {
		text += ", " + inMinutes(table+".frozen_before") + ", " + table + ".late_round"
	}
	return text + stateFrom + marksFrom + stateOne
}

// olderSchema tells whether a statement speaks of what the schema does not have.
func olderSchema(err error) bool {
	e, ok := errors.AsType[*driver.MySQLError](err)
	return ok && (e.Number == numTableMissing || e.Number == numColumnMissing)
}

// shardState is what Apply goes by.
type shardState struct {
	term   uint64
	asOf   int64      // of the partition
	tables []coverage // minutes first
}

// lockState reads the term, a partition's as-of and what each table holds of the cells, and keeps all as it is until the transaction ends: no
// promotion, no advance of a watermark, no freeze, no new round and, if a cell lies in what is being computed, no computing comes in between.
func (t *transaction) lockState(ctx context.Context, partition int, cells []cell) (state shardState, err error) {
	minute := coverage{resolution: perMinute, before: event.MaxMinute + 1, computing: event.MaxMinute + 1}
	hour, day := coverage{resolution: perHour}, coverage{resolution: perDay}
	for _, text := range selectStates {
		row := t.conn.QueryRowxContext(ctx, text+" LOCK IN SHARE MODE", partition)
		err = row.Scan(&state.term, &state.asOf, &hour.before, &hour.computing, &day.before, &day.computing,
			&minute.frozen, &minute.round, &hour.frozen, &hour.round, &day.frozen, &day.round)
		if !olderSchema(err) {
			break
		}
	}
	if err != nil {
		return state, absent(err)
	}
	state.tables = []coverage{minute, hour, day}
	for i := range state.tables {
		if c := &state.tables[i]; c.beingComputed(cells) {
			if c.next, err = t.nextKey(ctx, c.resolution, "LOCK IN SHARE MODE"); err != nil {
				return state, err
			}
		}
	}
	return state, nil
}

// nextKey reads how far the computing of a coarse table came.
func (t *transaction) nextKey(ctx context.Context, of resolution, lock string) (next uint64, err error) {
	row := t.conn.QueryRowxContext(ctx, "SELECT next_key FROM rollup_progress WHERE resolution = ? "+lock, resolutionNames[of])
	if err := row.Scan(&next); err != nil {
		return 0, fmt.Errorf("read progress of the roll-up: %w", absent(err))
	}
	return next, nil
}
