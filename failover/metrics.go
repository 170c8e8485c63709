package failover

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	leading   prometheus.Gauge
	changes   *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	phases    *prometheus.HistogramVec
	words     *prometheus.GaugeVec
	agreed    *prometheus.GaugeVec
	primary   *prometheus.GaugeVec
	misplaced *prometheus.GaugeVec
	errors    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "quipu_failover_" + name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_failover_" + name, Help: help}, labels)
	}
	return &metrics{
		leading:   f.NewGauge(prometheus.GaugeOpts{Name: "quipu_failover_leading", Help: "Whether this process looks after the shards: 1 or 0."}),
		changes:   counter("changes_total", "Changes of a primary that ended, by outcome: done, aborted.", "shard", "outcome"),
		refusals:  counter("refusals_total", "Lost primaries that were not replaced, by reason, once a look.", "shard", "reason"),
		words:     gauge("words_count", "Proxies and replicas by what they say of the primary: alive, down, unknown.", "shard", "word"),
		agreed:    gauge("agreed_seconds", "For how long proxies and replicas have agreed that the primary is down.", "shard"),
		primary:   gauge("primary_count", "Primaries that the topology names for the shard: 0 while it is being changed.", "shard"),
		misplaced: gauge("misplaced_databases_count", "Databases that do not follow the primary, by state: detached, diverged.", "shard", "state"),
		errors:    counter("errors_total", "Looks at a shard that failed.", "shard"),
		phases: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_failover_phase_seconds", Help: "Duration of each step of a change of the primary.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"phase"}),
	}
}
