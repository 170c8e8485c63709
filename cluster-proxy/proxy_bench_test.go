package clusterproxy_test

import (
	"testing"

	"github.com/quipudb/quipu/wire"
)

// The round trip of one key through the cluster proxy to a shard proxy that answers at once, both over loopback.
func BenchmarkStatsOfOneKey(b *testing.B) {
	f := newFleet(b)
	key := keyOn(1, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.statsOf(key); err != nil {
			b.Fatal(err)
		}
	}
}

// The same question put to the shard proxy itself: what the cluster proxy adds is the difference.
func BenchmarkStatsOfOneKeyWithoutProxy(b *testing.B) {
	f := newFleet(b)
	f.url = f.proxies["s1-1"].server.URL
	key := keyOn(1, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.statsOf(key); err != nil {
			b.Fatal(err)
		}
	}
}

// Apply of about 5,000 rows, forwarded.
func BenchmarkApply(b *testing.B) {
	f := newFleet(b)
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(string, []byte) (any, error) { return wire.ApplyAnswer{NextOffset: 7}, nil }
		})
	}
	body := make([]byte, 150_000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.apply("1", body); err != nil {
			b.Fatal(err)
		}
	}
}
