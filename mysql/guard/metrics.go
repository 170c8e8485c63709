package guard

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	running     *prometheus.GaugeVec
	statements  *prometheus.HistogramVec
	killed      *prometheus.CounterVec
	failed      *prometheus.CounterVec
	dropped     prometheus.Counter
	killSeconds prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		running: f.NewGaugeVec(prometheus.GaugeOpts{Name: "quipu_guard_running_count", Help: "Statements that run."}, []string{"class"}),
		statements: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_guard_statement_seconds", Help: "Duration of statements, their rows' reading included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17),
		}, []string{"class"}),
		killed: f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_guard_killed_total", Help: "Statements that did not end by themselves."}, []string{"class", "reason"}),
		failed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_guard_failed_kills_total", Help: "Statements that could not be killed, or would not die.",
		}, []string{"reason"}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "quipu_guard_dropped_kills_total", Help: "Kills given up because too many waited: the server's own limit ends these statements.",
		}),
		killSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_guard_kill_seconds", Help: "From the decision to kill until the statement was found dead.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
}
