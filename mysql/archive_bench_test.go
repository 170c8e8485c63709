package mysql_test

import (
	"fmt"
	"testing"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// BenchmarkArchive exports and sums up a day of 2.4 million minute rows of 100,000 keys, half of them with values.
func BenchmarkArchive(b *testing.B) {
	servers := testkit.Shard(b, large)
	run := newBench(b, servers)
	if _, err := run.primary.MakeTimePartitions(b.Context()); err != nil {
		b.Fatal(err)
	}
	run.exec(b, "INSERT INTO quipu.event_types (id, name) VALUES (1, 'view')")
	run.exec(b, "INSERT INTO quipu.counted_keys (id, partition_id, name) SELECT seq, seq % 8, CONCAT('video-', seq) FROM quipu.seq_1_to_100000")
	for h := range 24 {
		run.exec(b, fmt.Sprintf(`INSERT INTO quipu.minute_counts SELECT seq, 1, '2025-11-19 %02d:07:00', seq, IF(seq %% 2, NULL, 1), IF(seq %% 2, NULL, seq * 7), IF(seq %% 2, NULL, 3), IF(seq %% 2, NULL, 9)
FROM quipu.seq_1_to_100000`, h))
	}
	l := run.leads(b, "a1")
	run.freezeAs(b, l, "minute", dayAt(0))
	rate := func(b *testing.B, each func() int) {
		rows := 0
		b.ReportAllocs()
		for b.Loop() {
			rows += each()
		}
		b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	}
	for _, portion := range []int{20_000, 100_000, 200_000} {
		b.Run(fmt.Sprint("export/rows=", portion), func(b *testing.B) {
			rate(b, func() (n int) {
				r := mysql.ArchiveRowsRequest{Resolution: "minute", From: dayAt(-1), To: dayAt(0), Rows: portion}
				for {
					got, err := run.read.ArchiveRows(b.Context(), &r)
					if err != nil {
						b.Fatal(err)
					}
					n += len(got.Rows)
					if r.NextKey = got.NextKey; r.NextKey == 0 {
						return n
					}
				}
			})
		})
	}
	b.Run("sum", func(b *testing.B) {
		rate(b, func() int {
			// A commit of no objects sums up all rows and is then refused.
			_, err := run.primary.CommitFrozen(b.Context(), &mysql.ArchiveCommit{Leader: l, Resolution: "minute", From: 0, To: dayAt(0)})
			if err == nil {
				b.Fatal("committed")
			}
			return 2_400_000
		})
	})
}
