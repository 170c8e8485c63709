package clusterproxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	shards   *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	missing  *prometheus.CounterVec
	breakers *prometheus.GaugeVec
	hedges   *prometheus.CounterVec
	ejects   *prometheus.CounterVec
	ejected  *prometheus.GaugeVec
	inFlight *prometheus.GaugeVec
	limit    *prometheus.GaugeVec
	refused  *prometheus.CounterVec
	bytes    prometheus.Gauge
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
		hedges: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_hedges_total", Help: "Slow questions put to a second shard proxy, by whether its answer came first.",
		}, []string{"call", "won"}),
		ejects: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_cluster_proxy_ejections_total", Help: "Shard proxies left alone for being worse than the others, by what was worse.",
		}, []string{"proxy", "reason"}),
		ejected: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_cluster_proxy_ejected", Help: "Whether a shard proxy is left alone: 1 or 0.",
		}, []string{"proxy"}),
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

func (m *metrics) retried(code wire.Code) { m.retries.WithLabelValues(string(code)).Inc() }

func (m *metrics) breaker(url string, state int) {
	if state < 0 {
		m.breakers.DeleteLabelValues(url)
		m.ejected.DeleteLabelValues(url)
		return
	}
	m.breakers.WithLabelValues(url).Set(float64(state))
}

func (m *metrics) hedged(call string, won bool) {
	m.hedges.WithLabelValues(call, strconv.FormatBool(won)).Inc()
}

func (m *metrics) ejectedServer(url string, cause balance.EjectCause) {
	if cause == balance.Rejoined {
		m.ejected.WithLabelValues(url).Set(0)
		return
	}
	m.ejects.WithLabelValues(url, string(cause)).Inc()
	m.ejected.WithLabelValues(url).Set(1)
}
