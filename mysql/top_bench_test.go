package mysql_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
)

// BenchmarkTop ranks 100,000 keys that have a row in each hour of two days and a half, by lists that the roll-up made, and by reading all hours of a day.
func BenchmarkTop(b *testing.B) {
	run := newBench(b, testkitShard(b))
	for _, later := range []time.Duration{0, 36 * time.Hour, 100 * 24 * time.Hour} { // so that minutes are divided by the hour, as they are in time
		run.primary = run.lateBy(b, later)
		if _, err := run.primary.MakeTimePartitions(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	run.exec(b, "INSERT INTO quipu.event_types (id, name) VALUES (1, 'view')")
	run.exec(b, "INSERT INTO quipu.counted_keys (id, partition_id, name) SELECT seq, 3, CONCAT('key-', seq) FROM quipu.seq_1_to_100000")
	const hours = 62 // from the 20th, 10:00
	for h := range hours {
		run.exec(b, `INSERT INTO quipu.minute_counts (key_id, event_type_id, start, event_count)
SELECT seq, 1, '2025-11-20 10:00:00' + INTERVAL ? HOUR + INTERVAL seq % 60 MINUTE, 1 + FLOOR(1000000 / seq) + (seq * 31 + ?) % 7 FROM quipu.seq_1_to_100000`, h, h)
	}
	lead := run.lead(b, "r1")
	lead.ChunkRows, lead.Until = 5000, minute(10, 0)+hours*60-60
	begun := time.Now()
	run.rollUp(b, lead)
	b.Logf("rolled up %.0f rows/s", (hours-1)*100_000/time.Since(begun).Seconds())
	for _, c := range []struct {
		name     string
		from, to int64
		n        int
	}{
		{"an hour", minute(12, 0), minute(13, 0), 10},
		{"a day", minute(24, 0), minute(48, 0), 10},
		{"24 hours across midnight", minute(18, 0), minute(42, 0), 10},
		{"60 hours", minute(10, 0), minute(70, 0), 10},
		{"100 of 60 hours", minute(10, 0), minute(70, 0), 100},
		{"24 hours with ragged ends", minute(18, 30), minute(42, 30), 10},
		{"the last 60 minutes, by the minute", minute(71, 0), minute(72, 0), 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			var exact bool
			for b.Loop() {
				exact = run.top(b, c.from, c.to, c.n).Exact
			}
			b.ReportMetric(map[bool]float64{true: 1}[exact], "exact")
		})
	}
	db := run.servers.Primary.Open(b, local.AccountRead)
	for _, table := range []string{"hour_counts", "minute_counts"} {
		b.Run("direct SQL of 24 hours in "+table, func(b *testing.B) {
			from := created.Truncate(24 * time.Hour).Add(18 * time.Hour)
			for b.Loop() {
				var key uint64
				var n int64
				if err := db.QueryRow("SELECT key_id, SUM(event_count) FROM "+table+" WHERE event_type_id = 1 AND start >= ? AND start < ? GROUP BY key_id ORDER BY 2 DESC LIMIT 1",
					from, from.Add(24*time.Hour)).Scan(&key, &n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkApplyLate commits flushes of which every row is late, as when history is loaded: of 5,000 keys that an hour has already, that it gets,
// or of which its list keeps 1,000.
func BenchmarkApplyLate(b *testing.B) {
	for _, kind := range []string{"listed", "new", "mostly not listed"} {
		b.Run(kind, func(b *testing.B) {
			run := newBench(b, testkitShard(b))
			epoch, next := run.claim(b, 3), uint64(1)
			const keys = 5000
			flush := func(at, most int64) {
				rows := make([]event.Row, keys)
				for i := range rows {
					rows[i] = counted(fmt.Sprintf("key-%d", i), at, 1+most/int64(i+1))
				}
				run.apply(b, request(epoch, next, next+1, rows...))
				next++
			}
			at := minute(0, 0) - 300*60
			flush(at, 1_000_000)
			if kind == "mostly not listed" {
				run.rollUp(b, run.lead(b, "r1"))
			}
			for i := int64(1); b.Loop(); i++ {
				if kind == "new" {
					at -= 60
				}
				flush(at+i%60, 1)
			}
			b.ReportMetric(float64(b.N)*keys/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
