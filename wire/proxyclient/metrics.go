package proxyclient

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

type metrics struct {
	balance.Meters

	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		Meters: balance.Meters{
			Retries: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_proxyclient_retries_total", Help: "Calls tried again, by the code that made it necessary.",
			}, []string{"code"}),
			Breakers: f.NewGaugeVec(prometheus.GaugeOpts{
				Name: "quipu_proxyclient_breaker_state", Help: "Circuit breaker of a cluster proxy: 0 closed, 1 half-open, 2 open.",
			}, []string{"proxy"}),
			Hedges: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_proxyclient_hedges_total", Help: "Slow questions put to a second cluster proxy, by whether its answer came first.",
			}, []string{"call", "won"}),
			Ejects: f.NewCounterVec(prometheus.CounterOpts{
				Name: "quipu_proxyclient_ejections_total", Help: "Cluster proxies left alone for being worse than the others, by what was worse.",
			}, []string{"proxy", "reason"}),
			Ejected: f.NewGaugeVec(prometheus.GaugeOpts{
				Name: "quipu_proxyclient_ejected", Help: "Whether a cluster proxy is left alone: 1 or 0.",
			}, []string{"proxy"}),
		},
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_proxyclient_calls_total", Help: "Calls to the cluster proxies by call and problem code; ok if there was none.",
		}, []string{"call", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_proxyclient_call_seconds", Help: "Duration of calls to the cluster proxies, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"call"}),
	}
}

func (m *metrics) called(call string, err error, took time.Duration) {
	m.calls.WithLabelValues(call, wire.CodeLabel(err)).Inc()
	m.seconds.WithLabelValues(call).Observe(took.Seconds())
}
