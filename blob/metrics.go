package blob

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	seconds       *prometheus.HistogramVec
	read, written prometheus.Counter
}

// newMetrics makes the package's metrics; nil registers none.
func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_blob_request_seconds", Help: "Time of requests to cold storage, by operation and outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
		}, []string{"operation", "outcome"}),
		read:    prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_blob_read_bytes_total", Help: "Bytes read from cold storage."}),
		written: prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_blob_written_bytes_total", Help: "Bytes of objects uploaded to cold storage."}),
	}
	if registerer != nil {
		registerer.MustRegister(m.seconds, m.read, m.written)
	}
	return m
}

func (m *metrics) observe(operation string, took time.Duration, err error) {
	outcome := "ok"
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable):
		outcome = "unavailable"
	case errors.Is(err, ErrNotFound):
		outcome = "not_found"
	case errors.Is(err, ErrDamaged):
		outcome = "damaged"
	case errors.Is(err, ErrExists):
		outcome = "exists"
	default:
		outcome = "error"
	}
	m.seconds.WithLabelValues(operation, outcome).Observe(took.Seconds())
}
