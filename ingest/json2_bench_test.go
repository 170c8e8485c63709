//go:build goexperiment.jsonv2

package ingest

import (
	"encoding/json/v2"
	"testing"
)

func BenchmarkEncodingJSON2(b *testing.B) {
	body := benchmarkBody(1000)
	var events []jsonEvent
	b.ReportAllocs()
	for b.Loop() {
		events = events[:0]
		if err := json.Unmarshal(body, &events); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, 1000)
}
