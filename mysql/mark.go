package mysql

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// ArchiveMark says where the rows of one resolution are to be read. Times are minutes since 1970. docs/archive.md has the protocol.
type ArchiveMark struct {
	Resolution   string // "minute", "hour", "day"
	FrozenBefore int64  // rows that start before it never change; what is added to them is in the late table
	ColdBefore   int64  // at most FrozenBefore; rows that start before it are in cold storage
	LateRound    uint32 // in which rows are added to the late table
	Version      uint64 // grows whenever restored ranges change
}

// ArchiveMarks reads the marks of minutes, hours and days, in this order. A schema without an archive is ErrSchema.
func (d *DB) ArchiveMarks(ctx context.Context) ([]ArchiveMark, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var marks []ArchiveMark
	err := retrying(ctx, func() error {
		found, err := readMarks(ctx, d.sql, "")
		marks = found.marks[:]
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", d.cfg.ID, err)
	}
	return marks, nil
}

// archiveMarks are all marks, finest first, with the watermarks that bound them.
type archiveMarks struct {
	watermarks
	marks [3]ArchiveMark
}

func (m *archiveMarks) of(r resolution) *ArchiveMark {
	switch r {
	case perMinute:
		return &m.marks[0]
	case perHour:
		return &m.marks[1]
	}
	return &m.marks[2]
}

// freezable returns until where a resolution may be frozen: all that its rows are added up to must be complete. It is the start of a day.
// For minutes that includes the days, which analysts see as sums of minutes until they are complete.
func (m *archiveMarks) freezable(r resolution) int64 {
	until := m.day
	if r == perMinute {
		until = min(until, m.hour)
	}
	return until - until%perDay.minutes
}

// lockMarks reads the marks and lets no Apply, freeze or seal come in between until the transaction ends. It locks exclusively what Apply
// shares, in the same order, the shard's state first: so it also waits for an Apply that met a schema without marks. It comes after the
// leader's row and must not be held for long.
func (t *transaction) lockMarks(ctx context.Context) (archiveMarks, error) {
	return readMarks(ctx, t.conn, " FOR UPDATE")
}

type rowQuerier interface {
	QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row
}

func readMarks(ctx context.Context, from rowQuerier, lock string) (archiveMarks, error) {
	var m archiveMarks
	text := "SELECT " + inMinutes("h.complete_before") + ", " + inMinutes("d.complete_before")
	into := []any{&m.hour, &m.day}
	for i, table := range []string{"am", "ah", "ad"} {
		mark := &m.marks[i]
		text += fmt.Sprintf(", %[1]s.resolution, %[2]s, %[3]s, %[1]s.late_round, %[1]s.version", table, inMinutes(table+".frozen_before"), inMinutes(table+".cold_before"))
		into = append(into, &mark.Resolution, &mark.FrozenBefore, &mark.ColdBefore, &mark.LateRound, &mark.Version)
	}
	if err := from.QueryRowxContext(ctx, text+stateFrom+marksFrom+stateOne+lock).Scan(into...); err != nil {
		return archiveMarks{}, fmt.Errorf("read marks of the archive: %w", absent(err))
	}
	return m, nil
}
