package rawarchive_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/rollup/rawarchive"
	"github.com/quipudb/quipu/wire"
)

// memoryLog holds one partition; archived is closed once it was told that all of it is.
type memoryLog struct {
	records  []eventlog.Record
	archived chan struct{}
}

func (m *memoryLog) Read(_ context.Context, _ int, from uint64, maxBytes int, _ time.Duration) (eventlog.Chunk, error) {
	chunk := eventlog.Chunk{Next: from, End: uint64(len(m.records) + 1), Incarnation: "aa"}
	for bytes := 0; chunk.Next < chunk.End && (bytes == 0 || bytes < maxBytes); chunk.Next++ {
		chunk.Records = append(chunk.Records, m.records[chunk.Next-1])
		bytes += len(m.records[chunk.Next-1].Data)
	}
	return chunk, nil
}

func (m *memoryLog) Hold(context.Context) (*wire.LogHold, error) {
	return &wire.LogHold{Incarnation: "aa", Holds: true, NowMs: midday.UnixMilli() + 7_200_000, Partitions: []wire.LogHeldPartition{{First: 1, Next: uint64(len(m.records) + 1)}}}, nil
}

func (m *memoryLog) Archived(_ context.Context, told wire.LogArchived) error {
	if told.Before == uint64(len(m.records)+1) {
		close(m.archived)
	}
	return nil
}

// BenchmarkArchive archives a million events of 100,000 keys, with ids and values, from memory to a folder: written, flushed, read back.
func BenchmarkArchive(b *testing.B) {
	log := &memoryLog{}
	random := rand.New(rand.NewPCG(1, 1))
	const batches, events = 200, 5000
	for n := range batches {
		var builder event.BatchBuilder
		at := midday.UnixMilli() + int64(n)*10
		for range events {
			e := event.Event{
				Type: "view", Key: fmt.Sprint("video-", random.IntN(100_000)), ID: fmt.Sprintf("%016x", random.Uint64()), TimeMs: at - random.Int64N(2000),
				Weight: 1, Value: random.Int64N(1000), HasValue: true,
			}
			builder.Add(&e, cluster.KeyHash(e.Type, e.Key), random.Uint64()|1)
		}
		log.records = append(log.records, eventlog.Record{Offset: uint64(n + 1), AppendTime: at, Data: builder.AppendTo(nil)})
	}
	b.ReportAllocs()
	var bytes int64
	for b.Loop() {
		store, err := blob.Open(b.Context(), blob.Config{URL: filepath.Join(b.TempDir(), "cold")})
		if err != nil {
			b.Fatal(err)
		}
		log.archived = make(chan struct{})
		a, err := rawarchive.New(rawarchive.Config{Log: log, Store: store, Lock: free, After: time.Second, Interval: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		<-log.archived
		stop()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		bytes = 0
		for object, err := range store.List(b.Context(), "raw/") {
			if err != nil {
				b.Fatal(err)
			}
			bytes += object.Bytes
		}
	}
	b.ReportMetric(float64(b.N*batches*events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(bytes)/batches/events, "bytes/event")
}
