package rollup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	watermark *prometheus.GaugeVec
	lag       *prometheus.GaugeVec
	leading   *prometheus.GaugeVec
	steps     *prometheus.CounterVec
	rows      *prometheus.CounterVec
	errors    *prometheus.CounterVec
	seconds   prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_rollup_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "quipu_rollup_" + name, Help: help}, labels)
	}
	return &metrics{
		watermark: gauge("watermark_seconds", "Instant before which a coarse table is complete, seconds since 1970.", "shard", "resolution"),
		lag:       gauge("lag_seconds", "How long ago that instant was, when the shard was last asked.", "shard", "resolution"),
		leading:   gauge("leading", "Whether this process rolls the shard up just now: 1 or 0.", "shard"),
		steps:     counter("steps_total", "Steps done, by what they did: announced, computed, advanced; pruned and ranked for the ranked lists.", "shard", "action"),
		rows:      counter("rows_total", "Coarse rows written.", "shard", "resolution"),
		errors:    counter("errors_total", "Rounds of a shard that failed.", "shard"),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_rollup_step_seconds", Help: "Duration of a step.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
	}
}

func (m *metrics) saw(state *wire.RollupState, now time.Time) {
	for _, mark := range state.Marks {
		at := time.Unix(mark.CompleteBefore*60, 0)
		m.watermark.WithLabelValues(state.Shard, mark.Resolution).Set(float64(at.Unix()))
		m.lag.WithLabelValues(state.Shard, mark.Resolution).Set(now.Sub(at).Seconds())
	}
}

func (m *metrics) leads(shard string, does bool) {
	value := 0.0
	if does {
		value = 1
	}
	m.leading.WithLabelValues(shard).Set(value)
}

func (m *metrics) stepped(shard string, done *wire.RollupStep, took time.Duration) {
	m.steps.WithLabelValues(shard, string(done.Action)).Inc()
	if done.Action == wire.RollupComputed {
		m.rows.WithLabelValues(shard, done.Resolution).Add(float64(done.Rows))
	}
	m.seconds.Observe(took.Seconds())
}
