package load_test

import (
	"testing"

	"github.com/quipudb/quipu/load"
)

// BenchmarkFill makes the events of the headline figure: Zipf 1.1 over a million keys, ids, values, 1% duplicates. The generator shares
// its cores with the cluster, so that this time counts against the figure.
func BenchmarkFill(b *testing.B) {
	g, err := load.NewGenerator(load.GeneratorConfig{Run: "bench", Exponent: 1.1, Duplicates: 0.01, MaxValue: 1000, Prefix: "b1-"})
	if err != nil {
		b.Fatal(err)
	}
	p := &load.Parcel{}
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if err := g.Fill(p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
	b.ReportMetric(float64(p.Bytes())/float64(p.Len()), "bytes/event")
}
