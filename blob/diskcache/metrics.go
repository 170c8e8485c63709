package diskcache

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	hits, shared, misses, damaged, evicted, unwritten prometheus.Counter
}

// newMetrics makes the package's metrics; nil registers none.
func newMetrics(registerer prometheus.Registerer, bytes func() int64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_diskcache_" + name, Help: help})
	}
	m := &metrics{
		hits:      counter("hits_total", "Blocks of cold objects read from the local cache."),
		shared:    counter("shared_total", "Blocks of cold objects got from a fetch that somebody else had begun."),
		misses:    counter("misses_total", "Blocks of cold objects fetched from cold storage."),
		damaged:   counter("damaged_total", "Cached blocks that were not what had been written, and were fetched again."),
		evicted:   counter("evicted_total", "Blocks that made room for others."),
		unwritten: counter("unwritten_total", "Blocks that could not be written to the cache."),
	}
	if registerer != nil {
		size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quipu_diskcache_size_bytes", Help: "Bytes that the local cache of cold objects takes."},
			func() float64 { return float64(bytes()) })
		registerer.MustRegister(m.hits, m.shared, m.misses, m.damaged, m.evicted, m.unwritten, size)
	}
	return m
}
