package embedded_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/eventlog/embedded"
)

func randomBatch(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	batch := make([]byte, size)
	for i := range batch {
		batch[i] = byte(random.Uint32())
	}
	return batch
}

func openBench(b *testing.B, partitions int) (*embedded.Log, embedded.Config) {
	b.Helper()
	cfg := embedded.Config{Dir: b.TempDir(), Partitions: partitions}
	l := embedded.New(cfg)
	if err := l.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l, cfg
}

// BenchmarkAppend appends to every partition at once, each append flushed.
func BenchmarkAppend(b *testing.B) {
	for _, partitions := range []int{1, 16} {
		for _, size := range []int{2 << 10, 32 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("partitions=%d/bytes=%d", partitions, size), func(b *testing.B) {
				l, _ := openBench(b, partitions)
				batch := randomBatch(size)
				b.SetBytes(int64(size * partitions))
				b.ReportAllocs()
				for b.Loop() {
					var wg sync.WaitGroup
					for p := range partitions {
						wg.Go(func() {
							if _, err := l.Append(b.Context(), p, batch); err != nil {
								b.Error(err)
							}
						})
					}
					wg.Wait()
				}
			})
		}
	}
}

// BenchmarkReadBack reads 256 MiB from disk, and BenchmarkOpen verifies them.
func BenchmarkReadBack(b *testing.B) {
	for _, size := range []int{8 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			l, cfg := openBench(b, 1)
			fillBench(b, l, size)
			b.Run("read", func(b *testing.B) {
				b.SetBytes(benchBytes)
				for b.Loop() {
					for from := uint64(1); ; {
						c, err := l.Read(b.Context(), 0, from, 1<<20, 0)
						if err != nil {
							b.Fatal(err)
						}
						if len(c.Records) == 0 {
							break
						}
						from = c.Next
					}
				}
			})
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.Run("open", func(b *testing.B) {
				b.SetBytes(benchBytes)
				for b.Loop() {
					again := embedded.New(cfg)
					if err := again.Open(b.Context()); err != nil {
						b.Fatal(err)
					}
					if err := again.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

const benchBytes = 128 << 20

func fillBench(b *testing.B, l *embedded.Log, size int) {
	b.Helper()
	batch := randomBatch(size)
	for range benchBytes / size {
		if _, err := l.Append(b.Context(), 0, batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTail is what a writer does at the end of a partition: a read that memory answers.
func BenchmarkTail(b *testing.B) {
	l, _ := openBench(b, 1)
	batch := randomBatch(16 << 10)
	for range 64 {
		if _, err := l.Append(b.Context(), 0, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(64 * 16 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if c, err := l.Read(b.Context(), 0, 1, 2<<20, time.Second); err != nil || len(c.Records) != 64 {
			b.Fatal(len(c.Records), err)
		}
	}
}
