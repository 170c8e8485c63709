package clusterproxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

type metrics struct {
	balance.Meters

	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	shards   *prometheus.HistogramVec
	missing  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	limit    *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	bytes    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	return &metrics{
		Meters: balance.Meters{
			Retries: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_cluster_proxy_retries_total", Help: "Calls to shard proxies tried again, by the code that made it necessary.",
			}, []string{"code"}),
			Breakers: f.NewGaugeVec(prometheus.GaugeOpts{
				Name: "quipu_cluster_proxy_breaker_state", Help: "Circuit breaker of a shard proxy: 0 closed, 1 half-open, 2 open.",
			}, []string{"proxy"}),
			Hedges: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_cluster_proxy_hedges_total", Help: "Slow questions put to a second shard proxy, by whether its answer came first.",
			}, []string{"call", "won"}),
			Ejects: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_cluster_proxy_ejections_total", Help: "Shard proxies left alone for being worse than the others, by what was worse.",
			}, []string{"proxy", "reason"}),
			Ejected: f.NewGaugeVec(prometheus.GaugeOpts{
				Name: "quipu_cluster_proxy_ejected", Help: "Whether a shard proxy is left alone: 1 or 0.",
			}, []string{"proxy"}),
		},
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_calls_total", Help: "Requests by call and problem code; ok if there was none.",
		}, []string{"call", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_cluster_proxy_call_seconds", Help: "Duration of requests by call.", Buckets: buckets,
		}, []string{"call"}),
		shards: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_cluster_proxy_shard_seconds", Help: "Duration of a part of a request at its shard, retries included, by problem code.", Buckets: buckets,
		}, []string{"call", "shard", "code"}),
		missing: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_missing_parts_total", Help: "Parts that answers lacked, by shard and code.",
		}, []string{"call", "shard", "code"}),
		inFlight: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_in_flight_count", Help: "Requests being served: questions and writes.",
		}, []string{"class"}),
		limit: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_in_flight_limit", Help: "Requests served at a time at most: questions, all together, and those of one caller.",
		}, []string{"class"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_refused_total", Help: "Requests refused for want of room, by the bound: all, questions, caller, bytes.",
		}, []string{"bound", "role"}),
		bytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_apply_in_flight_bytes", Help: "Bytes of Apply bodies held.",
		}),
	}
}

func (m *metrics) called(call string, err error, took time.Duration) {
	m.calls.WithLabelValues(call, wire.CodeLabel(err)).Inc()
	m.seconds.WithLabelValues(call).Observe(took.Seconds())
}

func (m *metrics) shard(call, shard string, err error, took time.Duration) {
	m.shards.WithLabelValues(call, shard, wire.CodeLabel(err)).Observe(took.Seconds())
}

func (m *metrics) missed(call string, parts []wire.Missing) {
	for _, p := range parts {
		m.missing.WithLabelValues(call, p.Shard, string(p.Code)).Inc()
	}
}
