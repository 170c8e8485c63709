package proxyclient

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
	retries  *prometheus.CounterVec
	breakers *prometheus.GaugeVec
	hedges   *prometheus.CounterVec
	ejects   *prometheus.CounterVec
	ejected  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_proxyclient_calls_total", Help: "Calls to the cluster proxies by call and problem code; ok if there was none.",
		}, []string{"call", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_proxyclient_call_seconds", Help: "Duration of calls to the cluster proxies, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"call"}),
		retries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_proxyclient_retries_total", Help: "Calls tried again, by the code that made it necessary.",
		}, []string{"code"}),
		breakers: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_proxyclient_breaker_state", Help: "Circuit breaker of a cluster proxy: 0 closed, 1 half-open, 2 open.",
		}, []string{"proxy"}),
		hedges: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_proxyclient_hedges_total", Help: "Slow questions put to a second cluster proxy, by whether its answer came first.",
		}, []string{"call", "won"}),
		ejects: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_proxyclient_ejections_total", Help: "Cluster proxies left alone for being worse than the others, by what was worse.",
		}, []string{"proxy", "reason"}),
		ejected: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_proxyclient_ejected", Help: "Whether a cluster proxy is left alone: 1 or 0.",
		}, []string{"proxy"}),
	}
}

func (m *metrics) called(call string, err error, took time.Duration) {
	m.calls.WithLabelValues(call, wire.CodeLabel(err)).Inc()
	m.seconds.WithLabelValues(call).Observe(took.Seconds())
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
