package httpserver

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics of a server. Labels are bounded: a route is a pattern of the router, never a path as sent.
type metrics struct {
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	mu     sync.RWMutex // guards series
	series map[seriesKey]series
}

type seriesKey struct {
	route, method string
	status        int
}

// series are the resolved metrics of one combination of labels: looking them up by label costs more than counting.
type series struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

func newMetrics(registry *prometheus.Registry, role, version string) (*metrics, error) {
	prefix := "quipu_" + strings.ReplaceAll(role, "-", "_") + "_http_"
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "in_flight_requests", Help: "Requests being served.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: prefix + "panics_total", Help: "Handlers that panicked.",
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "requests_total", Help: "Requests served, by route, method and status; 499 is a caller that went away.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "request_seconds", Help: "Time from a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 18),
		}, []string{"route", "method"}),
		series: map[seriesKey]series{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "quipu_build_info", Help: "1, with the build as labels.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version(), "role": role},
	})
	build.Set(1)
	own := []prometheus.Collector{m.inFlight, m.panics, m.requests, m.seconds, build}
	shared := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	return m, register(registry, own, shared)
}

// register adds the collectors; those of the process may be there already.
func register(registry *prometheus.Registry, own, shared []prometheus.Collector) error {
	for _, c := range own {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	for _, c := range shared {
		err := registry.Register(c)
		if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !twice {
			return err
		}
	}
	return nil
}

func (m *metrics) observe(route, method string, status int, took time.Duration) {
	key := seriesKey{route: routeLabel(route), method: methodLabel(method), status: status}
	m.mu.RLock()
	s, ok := m.series[key]
	m.mu.RUnlock()
	if !ok {
		s = m.addSeries(key)
	}
	s.requests.Inc()
	s.seconds.Observe(took.Seconds())
}

func (m *metrics) addSeries(key seriesKey) series {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := series{
		requests: m.requests.WithLabelValues(key.route, key.method, strconv.Itoa(key.status)),
		seconds:  m.seconds.WithLabelValues(key.route, key.method),
	}
	m.series[key] = s
	return s
}

// routeLabel keeps unknown paths from making a series each.
func routeLabel(route string) string {
	if route == "" || route == "/*" {
		return "unmatched"
	}
	return route
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions:
		return method
	}
	return "other"
}
