package mysql_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// large gives the servers of a benchmark the memory that a small installation has.
func large(c *local.MariaDBConfig) { c.BufferPoolBytes, c.RedoLogBytes = 1<<30, 1<<30 }

// BenchmarkApply commits flushes of several sizes from several partitions at once, a replica attached; half the rows are new cells.
func BenchmarkApply(b *testing.B) {
	servers := testkit.Shard(b, large)
	for _, rows := range []int{2000, 5000, 20_000} {
		for _, writers := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("rows=%d/writers=%d", rows, writers), func(b *testing.B) {
				run := newBench(b, servers)
				next := make([]uint64, writers)
				epochs := make([]uint64, writers)
				for p := range writers {
					next[p], epochs[p] = 1, run.claim(b, p)
					run.flush(b, p, epochs[p], &next[p], rows) // keys get their ids
				}
				applied := 0
				b.ReportAllocs()
				for b.Loop() {
					var wg sync.WaitGroup
					for p := range writers {
						wg.Go(func() { run.flush(b, p, epochs[p], &next[p], rows) })
					}
					wg.Wait()
					applied += rows * writers
				}
				b.ReportMetric(float64(applied)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// flush applies rows of as many keys; every other flush hits the minute of the one before.
func (s *bench) flush(b *testing.B, partition int, epoch uint64, next *uint64, rows int) {
	at := minute(12, 0) + int64(*next/2)%600
	batch := make([]event.Row, rows)
	for i := range batch {
		batch[i] = counted(fmt.Sprintf("key-%d", i), at, 3)
	}
	r := request(epoch, *next, *next+1, batch...)
	r.Partition = partition
	if err := s.primary.Apply(context.Background(), r); err != nil {
		b.Error(err)
	}
	*next++
}

// BenchmarkStats reads one key: a day of minutes, and all time of a year that was loaded.
func BenchmarkStats(b *testing.B) {
	run := newBench(b, testkitShard(b))
	epoch := run.claim(b, 3)
	next := uint64(1)
	const keys = 200
	fill := func(from, to, every int64) {
		var rows []event.Row
		send := func() {
			if err := run.primary.Apply(b.Context(), request(epoch, next, next+1, rows...)); err != nil {
				b.Fatal(err)
			}
			rows, next = rows[:0], next+1
		}
		for m := from; m < to; m += every {
			for k := range keys {
				rows = append(rows, measured(fmt.Sprintf("key-%d", k), m, 1, m%100))
			}
			if len(rows) >= 20_000 {
				send()
			}
		}
		if len(rows) > 0 {
			send()
		}
	}
	fill(minute(0, 0)-365*day, minute(0, 0), 120)
	fill(minute(0, 0)+day, minute(0, 0)+2*day, 1)
	for _, test := range []struct {
		name     string
		from, to int64
		step     mysql.Step
		keys     int
	}{
		{"total of 24 hours", minute(0, 0) + day, minute(0, 0) + 2*day, mysql.StepNone, 1},
		{"24 hours by minute", minute(0, 0) + day, minute(0, 0) + 2*day, mysql.StepMinute, 1},
		{"24 hours by hour", minute(0, 0) + day, minute(0, 0) + 2*day, mysql.StepHour, 1},
		{"all time", 0, event.MaxMinute + 1, mysql.StepNone, 1},
		{"all time of 50 keys", 0, event.MaxMinute + 1, mysql.StepNone, 50},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &mysql.StatsRequest{Type: "view", From: test.from, To: test.to, Step: test.step, MaxPoints: 50_000}
				first := rand.IntN(keys)
				for k := range test.keys {
					r.Keys = append(r.Keys, mysql.StatsKey{Partition: 3, Name: fmt.Sprintf("key-%d", (first+k)%keys)})
				}
				if _, err := run.read.Stats(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("direct SQL of 24 hours", func(b *testing.B) {
		db := run.servers.Primary.Open(b, local.AccountRead)
		from := time.Unix((minute(0, 0)+day)*60, 0).UTC()
		for b.Loop() {
			var count int64
			var sum string
			err := db.QueryRow(`SELECT SUM(m.event_count), SUM(m.value_sum) FROM minute_counts m JOIN counted_keys k ON k.id = m.key_id JOIN event_types t ON t.id = m.event_type_id
				WHERE k.partition_id = 3 AND k.name = ? AND t.name = 'view' AND m.start >= ? AND m.start < ?`,
				fmt.Sprintf("key-%d", rand.IntN(keys)), from, from.Add(24*time.Hour)).Scan(&count, &sum)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func testkitShard(b *testing.B) *testkit.ShardServers {
	return &testkit.ShardServers{Primary: testkit.MariaDB(b, large)}
}

// BenchmarkNewKeys applies flushes of keys that the shard never saw.
func BenchmarkNewKeys(b *testing.B) {
	run := newBench(b, testkit.Shard(b, large))
	epoch := run.claim(b, 3)
	next := uint64(1)
	const keys = 10_000
	for b.Loop() {
		batch := make([]event.Row, keys)
		for i := range batch {
			batch[i] = counted(fmt.Sprintf("key-%d", rand.IntN(1_000_000_000)), minute(12, 0), 1)
		}
		if err := run.primary.Apply(b.Context(), request(epoch, next, next+1, batch...)); err != nil {
			b.Fatal(err)
		}
		next++
	}
	b.ReportMetric(float64(b.N)*keys/b.Elapsed().Seconds(), "keys/s")
}

// BenchmarkRollup computes an hour of a million minute rows and makes it current.
func BenchmarkRollup(b *testing.B) {
	run := newBench(b, testkitShard(b))
	run.primary = run.lateBy(b, 100*24*time.Hour)
	epoch := run.claim(b, 3)
	const keys, minutes = 20_000, 50
	next := uint64(1)
	for m := range int64(minutes) {
		rows := make([]event.Row, keys)
		for i := range rows {
			rows[i] = measured(fmt.Sprintf("key-%d", i), minute(10, 0)+m, 1, m)
		}
		run.apply(b, request(epoch, next, next+1, rows...))
		next++
	}
	lead := run.lead(b, "r1")
	lead.ChunkRows, lead.Until = 5000, minute(11, 0)
	var longest time.Duration
	rounds := 0
	for b.Loop() {
		run.exec(b, "UPDATE quipu.rollup_watermarks SET complete_before = '2025-11-20 10:00:00', computing_before = NULL WHERE resolution = 'hour'")
		run.exec(b, "DELETE FROM quipu.hour_counts")
		for {
			begun := time.Now()
			done := run.step(b, lead)
			longest = max(longest, time.Since(begun))
			if done.Action == mysql.RollupIdle {
				break
			}
		}
		rounds++
	}
	b.ReportMetric(float64(rounds)*keys*minutes/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(longest.Milliseconds()), "longest-step-ms")
}

// BenchmarkApplyBesideRollup tells the p99 of paced flushes, a quarter of their rows late for what is computed, without a roll-up and beside one that
// goes through the same hour again and again.
func BenchmarkApplyBesideRollup(b *testing.B) {
	run := newBench(b, testkitShard(b))
	run.primary = run.lateBy(b, 100*24*time.Hour)
	epoch, next := run.claim(b, 3), uint64(1)
	const keys = 10_000
	send := func(at int64, n int) {
		rows := make([]event.Row, n)
		for i := range rows {
			rows[i] = measured(fmt.Sprintf("key-%d", i), at, 1, int64(i))
			if i%4 == 0 {
				rows[i].Minute = minute(10, 0) + at%60
			}
		}
		run.apply(b, request(epoch, next, next+1, rows...))
		next++
	}
	for m := range int64(40) {
		send(minute(10, 0)+m, keys)
	}
	for _, beside := range []bool{false, true} {
		b.Run(fmt.Sprintf("rollup=%t", beside), func(b *testing.B) {
			ctx, stop := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			chunks := 0
			if beside {
				lead := run.lead(b, "r1")
				lead.ChunkRows, lead.Until = 5000, minute(11, 0)
				wg.Go(func() {
					for ctx.Err() == nil {
						done := run.step(b, lead)
						chunks++
						if done.Action == mysql.RollupIdle {
							run.exec(b, "UPDATE quipu.rollup_watermarks SET complete_before = '2025-11-20 10:00:00', computing_before = NULL WHERE resolution = 'hour'")
						}
						time.Sleep(5 * time.Millisecond)
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				send(minute(12, 0)+int64(next%600), 1000)
				took = append(took, time.Since(begun))
				time.Sleep(20 * time.Millisecond)
			}
			stop()
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(chunks), "steps")
		})
	}
}
