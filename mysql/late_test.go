package mysql_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// freeze moves a frozen mark as the archive does.
func (b *bench) freeze(t testing.TB, resolution, before string) {
	t.Helper()
	b.exec(t, "UPDATE quipu.archive_marks SET frozen_before = ? WHERE resolution = ?", before, resolution)
}

func (b *bench) rows(t *testing.T, query string) []string {
	t.Helper()
	return table(t, b.servers.Primary.Root(), query)
}

// INV-6: what is added to a frozen row goes to the late table of its resolution, by round; the row itself stays as it was.
func TestLateRowsGoToTheLateTables(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	old := minute(0, 0) - 3*day // the 17th
	b.apply(t, request(epoch, 1, 2, counted("a", old+5, 1), counted("a", minute(10, 30), 1)))
	b.freeze(t, "minute", "2025-11-19")
	b.freeze(t, "hour", "2025-11-18")
	b.apply(t, request(epoch, 2, 3, counted("a", old+5, 10), measured("a", old+6, 2, 7), counted("a", old+day+5, 100), counted("a", minute(9, 30), 1000), counted("a", minute(10, 30), 1)))
	b.exec(t, "UPDATE quipu.archive_marks SET late_round = 2 WHERE resolution = 'minute'")
	b.apply(t, request(epoch, 3, 4, counted("a", old+5, -10)))
	const columns = "SELECT CAST(start AS CHAR), event_count, COALESCE(CONCAT_WS(' ', value_count, value_sum, value_min, value_max), '')"
	for from, want := range map[string][]string{
		columns + " FROM quipu.minute_counts ORDER BY start": {"2025-11-17 00:05:00|1|", "2025-11-20 09:30:00|1000|", "2025-11-20 10:30:00|2|"},
		columns + ", late_round FROM quipu.late_minute_counts ORDER BY start, late_round": {
			"2025-11-17 00:05:00|10||1", "2025-11-17 00:05:00|-10||2", "2025-11-17 00:06:00|2|2 14 7 7|1", "2025-11-18 00:05:00|100||1",
		},
		columns + " FROM quipu.hour_counts ORDER BY start":                              {"2025-11-17 00:00:00|1|", "2025-11-18 00:00:00|100|", "2025-11-20 09:00:00|1000|"},
		columns + ", late_round FROM quipu.late_hour_counts ORDER BY start, late_round": {"2025-11-17 00:00:00|2|2 14 7 7|1"},
		columns + " FROM quipu.day_counts ORDER BY start":                               {"2025-11-17 00:00:00|3|2 14 7 7", "2025-11-18 00:00:00|100|"},
		columns + " FROM quipu.late_day_counts":                                         nil,
	} {
		if diff := cmp.Diff(want, b.rows(t, from)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", from, diff)
		}
	}
	marks, err := b.read.ArchiveMarks(t.Context())
	want := []mysql.ArchiveMark{
		{Resolution: "minute", FrozenBefore: minute(0, 0) - day, LateRound: 2}, {Resolution: "hour", FrozenBefore: minute(0, 0) - 2*day, LateRound: 1}, {Resolution: "day", LateRound: 1},
	}
	if diff := cmp.Diff(want, marks); diff != "" || err != nil {
		t.Errorf("marks (-want +got):\n%s%v", diff, err)
	}
}

// A row neither fails nor vanishes when the time partitions of its time were dropped, not even when only the newest is left.
func TestRowsOlderThanTheLowestTimePartition(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(10, 30), 1)))
	b.freeze(t, "minute", "2025-11-20")
	b.freeze(t, "hour", "2025-11-20")
	for _, of := range []string{"minute_counts", "hour_counts"} {
		b.dropTimePartitions(t, of, "2025-11-20")
	}
	for i, m := range []int64{0, minute(0, 0) - 1, minute(0, 0), minute(10, 31)} {
		b.apply(t, request(epoch, uint64(i+2), uint64(i+3), counted("a", m, 1)))
	}
	if got := b.count(t, "SELECT (SELECT SUM(event_count) FROM quipu.minute_counts) * 10 + (SELECT SUM(event_count) FROM quipu.late_minute_counts)"); got != 32 {
		t.Errorf("got %d, want 3 and 2", got)
	}
	// All but the newest are gone: the next ones follow it.
	b.dropTimePartitions(t, "minute_counts", "9999-01-01")
	if n, err := b.primary.MakeTimePartitions(t.Context()); err != nil || n != 0 {
		t.Errorf("made %d, %v; want none", n, err)
	}
	later := b.lateBy(t, 30*day*time.Minute)
	if n, err := later.MakeTimePartitions(t.Context()); err != nil || n == 0 {
		t.Errorf("a month later: made %d, %v", n, err)
	}
	if err := later.Apply(t.Context(), request(epoch, 6, 7, counted("b", minute(0, 0)+30*day, 1), counted("b", event.MaxMinute, 1), counted("b", 0, 1))); err != nil {
		t.Fatal(err)
	}
	if got := b.count(t, "SELECT SUM(m.event_count) FROM quipu.minute_counts m JOIN quipu.counted_keys k ON k.id = m.key_id WHERE k.name = 'b'"); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}

// A freeze waits for an Apply that read the marks before it, whose rows are in the table then; an Apply that comes after it, a zombie's with an old
// epoch too, changes no frozen row.
func TestFreezeWaitsForApplies(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	old := minute(0, 0) - 3*day
	b.apply(t, request(epoch, 1, 2, counted("a", old, 1)))
	blocker, err := b.servers.Primary.Root().Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec("SELECT * FROM quipu.minute_counts FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var applied, frozen error
	waiting := func(what string) {
		testkit.Eventually(t, 20*time.Second, func() error {
			if b.count(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Query' AND info LIKE ? AND id <> CONNECTION_ID()", what) == 0 {
				return errors.New("nobody is at " + what)
			}
			return nil
		})
	}
	wg.Go(func() { applied = b.primary.Apply(t.Context(), request(epoch, 2, 3, counted("a", old, 10))) })
	waiting("INSERT INTO minute_counts%")
	wg.Go(func() { frozen = newColdStore(b.servers.Primary.Root()).freeze("minute") })
	waiting("SELECT s.term%FOR UPDATE")
	if got := b.count(t, "SELECT COUNT(*) FROM quipu.archive_marks WHERE frozen_before > '1970-01-01'"); got != 0 {
		t.Error("the freeze did not wait")
	}
	if err := blocker.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := errors.Join(applied, frozen); err != nil {
		t.Fatal(err)
	}
	b.claim(t, 3)
	if err := b.primary.Apply(t.Context(), request(epoch, 3, 4, counted("a", old, 1000))); !errors.Is(err, mysql.ErrFenced) {
		t.Errorf("got %v, want %v", err, mysql.ErrFenced)
	}
	b.apply(t, request(epoch+1, 3, 4, counted("a", old, 100)))
	if diff := cmp.Diff([]string{"11|100"}, b.rows(t, "SELECT m.event_count, l.event_count FROM quipu.minute_counts m JOIN quipu.late_minute_counts l ON l.start = m.start")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// dropTimePartitions drops those that end at or before an instant, but for the last one.
func (b *bench) dropTimePartitions(t testing.TB, of, before string) {
	t.Helper()
	var names *string
	err := b.servers.Primary.Root().QueryRow(`SELECT GROUP_CONCAT(partition_name) FROM information_schema.partitions p WHERE table_schema = 'quipu' AND table_name = ?
AND CAST(REPLACE(partition_description, '''', '') AS DATETIME) <= ? AND partition_ordinal_position <
(SELECT MAX(partition_ordinal_position) FROM information_schema.partitions x WHERE x.table_schema = 'quipu' AND x.table_name = p.table_name)`, of, before).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	if names != nil {
		b.exec(t, "ALTER TABLE quipu."+of+" DROP PARTITION "+*names)
	}
}

// New roles come before the migration: in a schema without an archive nothing was ever frozen.
func TestSchemaWithoutArchive(t *testing.T) {
	b := newBench(t, shared)
	b.exec(t, "DROP TABLE quipu.archive_marks")
	b.apply(t, request(b.claim(t, 3), 1, 2, counted("a", 5, 1), counted("a", minute(11, 0), 2)))
	if got := b.total(t, "a"); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
	if _, err := b.read.ArchiveMarks(t.Context()); !errors.Is(err, mysql.ErrSchema) {
		t.Errorf("got %v, want %v", err, mysql.ErrSchema)
	}
}
