package clusterproxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	shards   *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	missing  *prometheus.CounterVec
	breakers *prometheus.GaugeVec
	inFlight prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	return &metrics{
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_calls_total", Help: "Requests by call and problem code; ok if there was none.",
		}, []string{"call", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_cluster_proxy_call_seconds", Help: "Duration of requests by call.", Buckets: buckets,
		}, []string{"call"}),
		shards: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_cluster_proxy_shard_seconds", Help: "Duration of a part of a request at its shard, retries included, by problem code.", Buckets: buckets,
		}, []string{"call", "shard", "code"}),
		retries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_retries_total", Help: "Calls to shard proxies tried again, by the code that made it necessary.",
		}, []string{"code"}),
		missing: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_missing_parts_total", Help: "Parts that answers lacked, by shard and code.",
		}, []string{"call", "shard", "code"}),
		breakers: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_breaker_state", Help: "Circuit breaker of a shard proxy: 0 closed, 1 half-open, 2 open.",
		}, []string{"proxy"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_in_flight_count", Help: "Requests being served.",
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

func (m *metrics) retried(code wire.Code) { m.retries.WithLabelValues(string(code)).Inc() }

func (m *metrics) breaker(url string, state int) {
	if state < 0 {
		m.breakers.DeleteLabelValues(url)
		return
	}
	m.breakers.WithLabelValues(url).Set(float64(state))
}
