package event_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quipudb/quipu/event"
)

// benchmarkEvents resembles production: one type, Zipf keys, unique ids, times in order, no values.
func benchmarkEvents(n int) []event.Event {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, 1_000_000)
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{
			Type: "view", Key: fmt.Sprintf("video-%d", zipf.Uint64()), ID: fmt.Sprintf("%016x", random.Uint64()),
			TimeMs: 1_700_000_000_000 + int64(i), Weight: 1,
		}
	}
	return events
}

func perEvent(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

func BenchmarkBatchEncode(b *testing.B) {
	events := benchmarkEvents(1000)
	raws := make([]event.RawEvent, len(events))
	for i, e := range events {
		raws[i] = event.RawEvent{Type: e.Type, Key: []byte(e.Key), ID: []byte(e.ID), TimeMs: e.TimeMs, Weight: 1, KeyHash: testHash(e), Fingerprint: uint64(i + 1)}
	}
	var builder event.BatchBuilder
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		for i := range raws {
			builder.AddRaw(&raws[i])
		}
		out = builder.AppendTo(out[:0])
	}
	perEvent(b, len(events))
	b.ReportMetric(float64(len(out))/float64(len(events)), "bytes/event")
}

func BenchmarkBatchDecode(b *testing.B) {
	data := build(b, new(event.BatchBuilder), benchmarkEvents(1000), testHash)
	var batch event.Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}

func BenchmarkBatchDecodeFingerprints(b *testing.B) {
	data := build(b, new(event.BatchBuilder), benchmarkEvents(1000), testHash)
	var fingerprints []uint64
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if fingerprints, err = event.DecodeFingerprints(fingerprints[:0], data); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}

func BenchmarkFingerprint(b *testing.B) {
	f := newFingerprinter(b)
	key, id := []byte("video-123456"), []byte("0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		f.FingerprintBytes("view", key, id)
	}
}
