package mysql

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Bounds of what a state lists.
const (
	maxStateDays    = 1000
	maxStateIntents = 20_000
)

// ArchiveState is how far a database's archive came, in one snapshot.
type ArchiveState struct {
	Marks      []ArchiveMark // minute, hour, day
	Watermarks []RollupMark  // hour, day
	Tables     []TimePartition
	Late       []LateRows
	Restored   []RestoredRange
	Intents    []ArchiveIntent
}

// TimePartition is one of a table's.
type TimePartition struct {
	Resolution string
	Name       string
	From, To   int64
	Rows       int64 // the server's estimate
}

// LateRows counts what was added to a cold day.
type LateRows struct {
	Resolution string
	Day        int64 // minute
	Rows       int64
	Sealed     int64 // of them, in rounds that are over
}

// ArchiveIntent is an object that was announced and not committed.
type ArchiveIntent struct {
	Object    string
	CreatedAt int64 // ms since 1970
}

// ArchiveState reads all of it.
func (d *DB) ArchiveState(ctx context.Context) (*ArchiveState, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var out *ArchiveState
	err := retrying(ctx, func() error {
		return d.snapshot(ctx, func(conn *sqlx.Conn) (err error) {
			out, err = readArchiveState(ctx, conn)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read state of the archive of %s: %w", d.cfg.ID, err)
	}
	return out, nil
}

func readArchiveState(ctx context.Context, conn *sqlx.Conn) (*ArchiveState, error) {
	s := &ArchiveState{}
	coverage, err := readCoverage(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, r := range coverage {
		s.Watermarks = append(s.Watermarks, RollupMark{Resolution: r.Resolution, CompleteBefore: r.Complete, ComputingBefore: r.Computing, NextKey: r.NextKey})
	}
	marks, err := readMarks(ctx, conn, "")
	if err != nil {
		return nil, err
	}
	s.Marks = marks.marks[:]
	for i, table := range countsTables() {
		parts, err := timePartitionsOf(ctx, conn, table)
		if err != nil {
			return nil, err
		}
		s.Tables = append(s.Tables, parts...)
		late, err := readLate(ctx, conn, table, s.Marks[i])
		if err != nil {
			return nil, err
		}
		s.Late = append(s.Late, late...)
	}
	if s.Restored, err = readRestored(ctx, conn, ""); err != nil {
		return nil, err
	}
	err = conn.SelectContext(ctx, &s.Intents, "SELECT object, TIMESTAMPDIFF(SECOND, '1970-01-01 00:00:00', created_at) * 1000 AS createdat FROM archive_intents ORDER BY created_at, object LIMIT ?", maxStateIntents)
	return s, meaning(err)
}

// timePartitionsOf lists a table's time partitions by their end.
func timePartitionsOf(ctx context.Context, conn *sqlx.Conn, table resolution) ([]TimePartition, error) {
	rows, err := conn.QueryContext(ctx, "SELECT partition_name, "+inMinutes("CAST(REPLACE(partition_description, '''', '') AS DATETIME)")+` AS until, table_rows
FROM information_schema.partitions WHERE table_schema = DATABASE() AND table_name = ? ORDER BY until`, table.table)
	if err != nil {
		return nil, fmt.Errorf("read time partitions of %s: %w", table.table, meaning(err))
	}
	defer rows.Close()
	var all []TimePartition
	from := int64(0)
	for rows.Next() {
		p := TimePartition{Resolution: resolutionNames[table], From: from}
		if err := rows.Scan(&p.Name, &p.To, &p.Rows); err != nil {
			return nil, fmt.Errorf("read time partitions of %s: %w", table.table, meaning(err))
		}
		all, from = append(all, p), p.To
	}
	return all, meaning(rows.Err())
}

func readLate(ctx context.Context, conn *sqlx.Conn, table resolution, mark ArchiveMark) ([]LateRows, error) {
	text := fmt.Sprintf("SELECT %s DIV 1440 * 1440 AS day, COUNT(*), COALESCE(SUM(late_round < ?), 0) FROM %s WHERE start < %s GROUP BY day ORDER BY day LIMIT %d",
		inMinutes("start"), table.late, appendTime(nil, mark.ColdBefore), maxStateDays)
	rows, err := conn.QueryContext(ctx, text, mark.LateRound)
	if err != nil {
		return nil, fmt.Errorf("count late rows: %w", meaning(err))
	}
	defer rows.Close()
	var all []LateRows
	for rows.Next() {
		l := LateRows{Resolution: resolutionNames[table]}
		if err := rows.Scan(&l.Day, &l.Rows, &l.Sealed); err != nil {
			return nil, fmt.Errorf("count late rows: %w", meaning(err))
		}
		all = append(all, l)
	}
	return all, meaning(rows.Err())
}
