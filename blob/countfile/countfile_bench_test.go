package countfile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob/countfile"
)

func BenchmarkWrite(b *testing.B) {
	for _, shape := range []struct {
		name           string
		keys, rowsAKey int
	}{{"100-rows-a-key", 10_000, 100}, {"1-row-a-key", 1_000_000, 1}} {
		b.Run(shape.name, func(b *testing.B) {
			rows := sample(1, shape.keys, shape.rowsAKey)
			b.ReportAllocs()
			b.ResetTimer()
			var out bytes.Buffer
			for b.Loop() {
				out.Reset()
				if _, err := countfile.Write(&out, rows, testMeta); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(rows))/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(out.Len())/float64(len(rows)), "bytes/row")
		})
	}
}

func BenchmarkSum(b *testing.B) {
	for _, shape := range []struct {
		name           string
		keys, rowsAKey int
	}{{"100-rows-a-key", 10_000, 100}, {"1-row-a-key", 1_000_000, 1}} {
		b.Run(shape.name, func(b *testing.B) {
			data := write(b, sample(1, shape.keys, shape.rowsAKey))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if _, _, err := countfile.Sum(b.Context(), bytes.NewReader(data), int64(len(data))); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*shape.keys*shape.rowsAKey)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	one, two := write(b, sample(1, 5_000, 100)), write(b, sample(2, 5_000, 100))
	for b.Loop() {
		var out bytes.Buffer
		if _, err := countfile.Merge(b.Context(), &out, testMeta,
			countfile.Source{File: open(b, one), Reader: bytes.NewReader(one)},
			countfile.Source{File: open(b, two), Reader: bytes.NewReader(two)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*1_000_000)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkLookup reads one key's day from ten files of a million rows each, as ten groups of partitions or ten late files would be.
func BenchmarkLookup(b *testing.B) {
	for _, files := range []int{1, 10} {
		b.Run(fmt.Sprintf("%d-million-rows", files), func(b *testing.B) {
			type source struct {
				file *countfile.File
				from *os.File
			}
			var sources []source
			for i := range files {
				path := filepath.Join(b.TempDir(), "day.parquet")
				data := write(b, sample(uint64(i), 10_000, 100))
				if err := os.WriteFile(path, data, 0o644); err != nil {
					b.Fatal(err)
				}
				from, err := os.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = from.Close() })
				sources = append(sources, source{open(b, data), from})
			}
			var took []time.Duration
			random := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				k := random.IntN(10_000)
				query := countfile.Query{Type: "view", Keys: []string{fmt.Sprintf("video-%08d", k)}, From: testDay, To: testDay + 1440}
				want := files * 100
				if k%5 == 0 {
					want = 0
				}
				started, rows := time.Now(), 0
				for _, s := range sources {
					for _, err := range s.file.Lookup(b.Context(), s.from, query) {
						if err != nil {
							b.Fatal(err)
						}
						rows++
					}
				}
				took = append(took, time.Since(started))
				if rows != want {
					b.Fatalf("%s: got %d rows, want %d", query.Keys[0], rows, want)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
