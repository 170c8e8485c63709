package embedded

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appends *prometheus.HistogramVec
	full    prometheus.Counter
	torn    prometheus.Counter
	failed  prometheus.Counter
}

func newMetrics(r prometheus.Registerer, bytes func() float64, limit int64) *metrics {
	m := &metrics{
		appends: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_eventlog_append_seconds", Help: "Time to make one batch durable, by outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"outcome"}),
		full: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_eventlog_full_total", Help: "Appends refused because the log or its disk was full.",
		}),
		torn: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_eventlog_torn_commits_total", Help: "Torn commits, never acknowledged, that were cut off when the log was opened.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_eventlog_failed_partitions_total", Help: "Partitions that take no more appends because a flush failed.",
		}),
	}
	if r == nil {
		return m
	}
	r.MustRegister(m.appends, m.full, m.torn, m.failed,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quipu_eventlog_bytes", Help: "Bytes of all segment files."}, bytes),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "quipu_eventlog_limit_bytes", Help: "Bound of the bytes of all segment files."},
			func() float64 { return float64(limit) }))
	return m
}
