package balance

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
)

// Meters count what a balancer does. Whoever has a balancer makes them, under names of its own, and hands their methods to its Config.
type Meters struct {
	Retries  *prometheus.CounterVec // by code
	Breakers *prometheus.GaugeVec   // by server
	Hedges   *prometheus.CounterVec // by kind of call, and whether the hedge won
	Ejects   *prometheus.CounterVec // by server and cause
	Ejected  *prometheus.GaugeVec   // by server
}

// Retried is for Config.OnRetry.
func (m *Meters) Retried(code wire.Code) { m.Retries.WithLabelValues(string(code)).Inc() }

// Breaker is for Config.OnBreaker.
func (m *Meters) Breaker(url string, state int) {
	if state < 0 {
		m.Breakers.DeleteLabelValues(url)
		m.Ejected.DeleteLabelValues(url)
		return
	}
	m.Breakers.WithLabelValues(url).Set(float64(state))
}

// Hedged is for Config.OnHedge.
func (m *Meters) Hedged(call string, won bool) {
	m.Hedges.WithLabelValues(call, strconv.FormatBool(won)).Inc()
}

// EjectedServer is for Config.OnEject.
func (m *Meters) EjectedServer(url string, cause EjectCause) {
	if cause == Rejoined {
		m.Ejected.WithLabelValues(url).Set(0)
		return
	}
	m.Ejects.WithLabelValues(url, string(cause)).Inc()
	m.Ejected.WithLabelValues(url).Set(1)
}
