package writer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
)

// zipfBatches returns batches of n events each, their keys by Zipf over a million, event times within one minute, ids unique.
func zipfBatches(batches, n int, exponent float64) []eventlog.Record {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), exponent, 1, 999_999)
	ids := rand.New(rand.NewPCG(3, 4))
	records := make([]eventlog.Record, batches)
	var b event.BatchBuilder
	for i := range records {
		b.Reset()
		for range n {
			key := fmt.Sprintf("key-%07d", zipf.Uint64())
			e := event.Event{Type: "view", Key: key, ID: fmt.Sprintf("%016x", ids.Uint64()), TimeMs: 1_700_000_040_000 + ids.Int64N(60_000), Weight: 1}
			b.Add(&e, cluster.KeyHash(e.Type, e.Key), ids.Uint64()|1)
		}
		records[i] = eventlog.Record{Offset: uint64(i + 1), AppendTime: int64(i), Data: b.AppendTo(nil)}
	}
	return records
}

// newBenchPass returns a pass that counts without a log, a shard or a bound.
func newBenchPass() *pass {
	w := &worker{partitions: 1, windows: newBudget(1 << 40), buffers: &rowBuffers{}, clock: newQuantiser(10 * time.Minute), flush: Flush{Interval: time.Second, MaxInterval: time.Second, MaxRows: 1 << 30}}
	p := &pass{worker: w, window: newWindow(w.clock, w.windows), names: newDictionary(0, 1), cells: newCells()}
	return p
}

// countOne does what counting a batch costs, without metrics.
func (p *pass) countOne(b *testing.B, r *eventlog.Record) {
	if err := p.batch.Decode(r.Data); err != nil {
		b.Fatal(err)
	}
	p.seen = append(p.seen[:0], p.batch.Fingerprints...)
	if err := p.sight(r); err != nil {
		b.Fatal(err)
	}
	var err error
	if p.numbers, err = p.names.translate(p.numbers[:0], p.batch.Keys); err != nil {
		b.Fatal(err)
	}
	p.cells.add(&p.batch, p.numbers, p.names.names, p.duplicate)
}

// BenchmarkCount: decode, de-duplicate and aggregate, an event; the window growing, over about 1.4 million live cells at the end.
func BenchmarkCount(b *testing.B) {
	for _, size := range []int{64, 1000, 8000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			records := zipfBatches(4_000_000/size, size, 1.1)
			p := newBenchPass()
			events, at := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				if at == len(records) {
					b.StopTimer()
					p.window.clear()
					p.cells.reset()
					at = 0
					b.StartTimer()
				}
				p.countOne(b, &records[at])
				at++
				events += size
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
			b.ReportMetric(float64(p.cells.count), "cells")
			b.ReportMetric(float64(p.window.bytes)/float64(max(p.window.kept, 1)), "B/id")
		})
	}
}

// BenchmarkCountUniform has 1.4 million equally likely cells.
func BenchmarkCountUniform(b *testing.B) {
	const size, keys = 2000, 1_400_000
	random := rand.New(rand.NewPCG(1, 2))
	records := make([]eventlog.Record, 2000)
	var builder event.BatchBuilder
	for i := range records {
		builder.Reset()
		for range size {
			e := event.Event{Type: "view", Key: fmt.Sprintf("key-%07d", random.IntN(keys)), ID: "0123456789abcdef", TimeMs: 1_700_000_040_000, Weight: 1}
			builder.Add(&e, cluster.KeyHash(e.Type, e.Key), random.Uint64()|1)
		}
		records[i] = eventlog.Record{Offset: uint64(i + 1), AppendTime: int64(i), Data: builder.AppendTo(nil)}
	}
	p := newBenchPass()
	for i := range records {
		p.countOne(b, &records[i])
	}
	events, at := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		p.countOne(b, &records[at%len(records)])
		at++
		events += size
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	b.ReportMetric(float64(p.cells.count), "cells")
}

// BenchmarkWindow: one sighting in a window of three million ids at the steady state, and the bytes of an id that counts.
func BenchmarkWindow(b *testing.B) {
	const perTick, span = 5000, 600
	w := newWindow(quantiser{quantum: 1000, span: span}, newBudget(1<<40))
	random := rand.New(rand.NewPCG(1, 2))
	batch, duplicate := make([]uint64, 1000), make([]bool, 1000)
	tick, n := int64(1), 0
	step := func() {
		for i := range batch {
			batch[i] = random.Uint64() | 1
		}
		if !w.reserve(batch, tick) {
			b.Fatal("no room")
		}
		w.see(batch, tick, duplicate)
		if n += len(batch); n%perTick == 0 {
			tick++
		}
	}
	for n < 2*perTick*span {
		step()
	}
	ids := 0
	b.ReportAllocs()
	for b.Loop() {
		step()
		ids += len(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(ids), "ns/id")
	b.ReportMetric(float64(w.bytes)/(perTick*(span+1)), "B/live-id")
	b.ReportMetric(float64(w.bytes)/float64(w.kept), "B/kept-id")
}

// BenchmarkRebuild: entering the ids of batches in an empty window, an id, up to four million.
func BenchmarkRebuild(b *testing.B) {
	records := zipfBatches(4000, 1000, 1.1)
	ids := 0
	b.ReportAllocs()
	for b.Loop() {
		p := newBenchPass()
		for i := range records {
			p.seen = fingerprints(p.seen, &records[i])
			if err := p.sight(&records[i]); err != nil {
				b.Fatal(err)
			}
			ids += len(p.seen)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(ids), "ns/id")
	b.ReportMetric(float64(ids)/b.Elapsed().Seconds()/1e6, "Mids/s")
}
