package mysql_test

import (
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

func TestTimePartitionsAreMadeAheadOnce(t *testing.T) {
	b := newBench(t, shared)
	var made int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 { // as several shard proxies do
		p := primaryOf(t, shared.Primary, nil)
		wg.Go(func() {
			n, err := p.MakeTimePartitions(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made += n
		})
	}
	wg.Wait()
	stored := b.count(t, "SELECT COUNT(*) FROM information_schema.partitions WHERE table_schema = 'quipu' AND partition_name IS NOT NULL")
	if made == 0 || stored != made+3 {
		t.Errorf("made %d, %d are there; want 3 more than made", made, stored)
	}
	n, err := b.primary.MakeTimePartitions(t.Context())
	if err != nil || n != 0 {
		t.Errorf("again: made %d, %v", n, err)
	}
}

// A row neither fails nor vanishes wherever it lies: before all ranges, beyond them, or in the gap that a pause left.
func TestRowsOfAnyTimeFindTheirPartition(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	at := func(year int) int64 { return time.Date(year, 3, 4, 5, 6, 0, 0, time.UTC).Unix() / 60 }
	for i, m := range []int64{0, at(1999), at(2024), at(2025), at(2026), at(2040), event.MaxMinute} {
		b.apply(t, request(epoch, uint64(i+1), uint64(i+2), counted("a", m, 1)))
		if got := b.stats(t, "a", m, m+1, mysql.StepMinute); len(got) != 1 || got[0].Start != m || got[0].Count != 1 {
			t.Errorf("minute %d: got %+v", m, got)
		}
	}
	if got := b.total(t, "a"); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
}

// Many time partitions are made in several statements, so that a disk on which a file takes long gets on: what a deadline cuts short is not all lost.
func TestManyTimePartitionsAreMadeInTurns(t *testing.T) {
	b := newBench(t, shared)
	root := shared.Primary.Root()
	for _, statement := range []string{"TRUNCATE mysql.general_log", "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON"} {
		if _, err := root.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := root.Exec("SET GLOBAL general_log = OFF"); err != nil {
			t.Error(err)
		}
	})
	made, err := b.primary.MakeTimePartitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const added = "(LENGTH(argument) - LENGTH(REPLACE(argument, 'LESS THAN', ''))) / LENGTH('LESS THAN')"
	const statements = " FROM mysql.general_log WHERE command_type = 'Query' AND argument LIKE 'ALTER TABLE %ADD PARTITION%'"
	most, all := b.count(t, "SELECT ROUND(MAX("+added+"))"+statements), b.count(t, "SELECT ROUND(SUM("+added+"))"+statements)
	if most > 32 || all != made || made <= 32 {
		t.Errorf("made %d time partitions, %d of them by statements that the server tells of, up to %d by one; want at most 32", made, all, most)
	}
}

// Ranges are made while writers run, and nobody fails for it.
func TestTimePartitionsOnDemandWhileWritersRun(t *testing.T) {
	b := newBench(t, shared)
	var wg sync.WaitGroup
	const rounds = 25
	for partition := range 4 {
		epoch := b.claim(t, partition)
		wg.Go(func() {
			for round := range uint64(rounds) {
				// Each partition runs into the future at its own pace, so that ranges are missing again and again.
				m := minute(0, 0) + int64(round)*int64(partition+1)*2*day
				r := request(epoch, round+1, round+2, counted("a", m, 1), counted("b", minute(12, 0), 1))
				r.Partition = partition
				if err := b.primary.Apply(t.Context(), r); err != nil {
					t.Errorf("partition %d, round %d: %v", partition, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := b.count(t, "SELECT SUM(event_count) FROM quipu.minute_counts"); got != 4*2*rounds {
		t.Errorf("got %d, want %d", got, 4*2*rounds)
	}
}

// Another process may have changed the ranges: what is remembered is only a hint.
func TestForgottenRangesAreMadeAgain(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	future := minute(0, 0) + 400*day
	b.apply(t, request(epoch, 1, 2, counted("a", future, 1)))
	b.exec(t, "DELETE FROM quipu.minute_counts")
	last := ""
	if err := shared.Primary.Root().QueryRow(`SELECT partition_name FROM information_schema.partitions
		WHERE table_schema = 'quipu' AND table_name = 'minute_counts' ORDER BY partition_ordinal_position DESC LIMIT 1`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "ALTER TABLE quipu.minute_counts DROP PARTITION "+last)
	b.apply(t, request(epoch, 2, 3, counted("a", future, 5)))
	if got := b.total(t, "a"); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}
