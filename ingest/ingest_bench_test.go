package ingest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/quipudb/quipu/event"
)

// benchmarkBody is a body as a producer sends it: 1,000 events, Zipf keys, unique ids, times in ms.
func benchmarkBody(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, 1_000_000)
	body := []byte("[")
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"type":"view","key":"video-%d","id":"%016x","time":%d}`, zipf.Uint64(), random.Uint64(), testNow-int64(i))
	}
	return append(body, ']')
}

func perEvent(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

// BenchmarkHotPath is everything that ingest does for an event but HTTP and the disk.
func BenchmarkHotPath(b *testing.B) {
	body, r := benchmarkBody(1000), testRules(b)
	r.maxEvents = 1000
	request := newRequest(&inFlight{})
	builders := make([]event.BatchBuilder, r.partitions)
	var out []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := request.parser.parse(body, shapeJSON, r); err != nil {
			b.Fatal(err)
		}
		request.split(r.partitions)
		for _, p := range request.parts {
			builder := &builders[p.partition]
			for _, i := range request.order[p.from:p.to] {
				builder.AddRaw(&request.parser.entries[i].RawEvent)
			}
			out = builder.AppendTo(out[:0])
			builder.Reset()
		}
	}
	perEvent(b, 1000)
}

// BenchmarkParse is scanning, validating, hashing and fingerprinting.
func BenchmarkParse(b *testing.B) {
	body, r := benchmarkBody(1000), testRules(b)
	r.maxEvents = 1000
	var p parser
	b.ReportAllocs()
	for b.Loop() {
		if err := p.parse(body, shapeJSON, r); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}

// BenchmarkScanOnly is the scanner alone, to compare with other readers of JSON, which do no more than fill a struct.
func BenchmarkScanOnly(b *testing.B) {
	body := benchmarkBody(1000)
	var s scanner
	b.ReportAllocs()
	for b.Loop() {
		s.reset(body)
		if _, err := s.skip(0); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}

type jsonEvent struct {
	Type   string `json:"type"`
	Key    string `json:"key"`
	ID     string `json:"id"`
	Time   int64  `json:"time"`
	Value  *int64 `json:"value"`
	Weight *int64 `json:"weight"`
}

func BenchmarkEncodingJSON(b *testing.B) {
	body := benchmarkBody(1000)
	var events []jsonEvent
	b.ReportAllocs()
	for b.Loop() {
		if err := json.Unmarshal(body, &events); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}
