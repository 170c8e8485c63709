package cold_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader/cold"
)

// BenchmarkMinuteSeries asks for the minutes of one key in a day of 10 million rows, in 10 objects of the key's partition, of which one has
// the key: 100 rows of each of 100,000 keys.
func BenchmarkMinuteSeries(b *testing.B) {
	const objects, keys, rowsAKey = 10, 10_000, 100
	url, random := b.TempDir(), rand.New(rand.NewPCG(1, 2))
	p := part("minute", today, today+day, []int{1})
	name := func(object, key int) string { return fmt.Sprintf("video-%02d-%05d", (object+key)%objects, key) } // no object has a range of names of its own
	for o := range objects {
		rows := make([]countfile.Row, 0, keys*rowsAKey)
		for key := range keys {
			for i := range rowsAKey {
				a := event.NewAggregate()
				for range 1 + random.IntN(3) {
					a.AddEvent(1, random.Int64N(100_000), true)
				}
				rows = append(rows, countfile.Row{Partition: 1, Row: event.Row{Type: "view", Key: name(o, key), Minute: today + int64(i*(day/rowsAKey)), Aggregate: a}})
			}
		}
		p.Objects = append(p.Objects, stored(b, url, "minute", today, rows...))
	}
	for label, cfg := range map[string]struct {
		footers, disk int64
		again         bool
	}{"nothing cached": {}, "footers in memory": {footers: 1 << 30}, "footers in memory, blocks on disk": {footers: 1 << 30, disk: 1 << 30}, "segments in memory": {footers: 1 << 30, again: true}} {
		b.Run(label, func(b *testing.B) {
			segments := int64(0)
			if cfg.again {
				segments = 1 << 30
			}
			s, registry := newObjects(b, cold.ObjectsConfig{URL: url, FooterBytes: cfg.footers, CacheDir: b.TempDir(), CacheBytes: cfg.disk}, segments)
			var took []time.Duration
			for b.Loop() {
				key := name(random.IntN(objects), random.IntN(keys))
				if cfg.again {
					key = name(0, 0)
				}
				q := question(1, []string{key}, p)
				q.Budget = cold.NewBudget(1 << 30)
				begin := time.Now()
				a := collect(b, s, q)
				took = append(took, time.Since(begin))
				if len(a.Points[0]) != rowsAKey || len(a.Failures) > 0 {
					b.Fatalf("got %d points of %s, failures %v", len(a.Points[0]), key, a.Failures)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(metric(b, registry, "quipu_reader_cold_read_bytes_total")/float64(len(took)), "bytes/op")
		})
	}
}
