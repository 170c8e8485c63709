package cold

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	segments *prometheus.CounterVec // by from
	bytes    prometheus.Counter
	seconds  prometheus.Histogram
	errors   *prometheus.CounterVec // by kind
	reading  prometheus.Gauge
	cached   prometheus.Gauge
	evicted  prometheus.Counter
}

// Where segments came from.
const (
	fromMemory  = "memory"
	fromAnother = "another_question"
	fromObject  = "object"
)

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		segments: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_cold_segments_total",
			Help: "Segments (what one object holds of one key) used, by where they came from: memory, another_question that read them just then, object.",
		}, []string{"from"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_reader_cold_read_bytes_total",
			Help: "Bytes of objects read, from cold storage or its cache on disk.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_reader_cold_read_seconds", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
			Help: "Time to read what one question needs of one object.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_reader_cold_errors_total",
			Help: "Reads of objects that failed: missing, damaged, unavailable, too_much, deadline, internal.",
		}, []string{"kind"}),
		reading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_cold_reads_in_flight",
			Help: "Objects being read.",
		}),
		cached: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_reader_cold_cached_segment_bytes",
			Help: "Memory that cached segments take, about.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_reader_cold_evicted_segments_total",
			Help: "Segments that left the memory to make room for others.",
		}),
	}
	r.MustRegister(m.segments, m.bytes, m.seconds, m.errors, m.reading, m.cached, m.evicted)
	return m
}
