package rawarchive

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	lag         *prometheus.GaugeVec
	full        prometheus.Gauge
	held        prometheus.Gauge
	events      prometheus.Counter
	objects     prometheus.Counter
	bytes       prometheus.Counter
	expired     prometheus.Counter
	gaps        prometheus.Counter
	missing     prometheus.Counter
	undecodable prometheus.Counter
	errors      prometheus.Counter
	seconds     prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "quipu_rawarchive_" + name, Help: help})
	}
	return &metrics{
		lag: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "quipu_rawarchive_lag_seconds", Help: "Age of the oldest batch of a partition that is not in cold storage, when it was last looked at.",
		}, []string{"partition"}),
		full: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_rawarchive_log_fill_ratio", Help: "Bytes of the log by its bound. From a half on, archiving is not paced; at one, events are refused.",
		}),
		held: f.NewGauge(prometheus.GaugeOpts{
			Name: "quipu_rawarchive_log_holds", Help: "Whether the log keeps what is not archived: 1, or 0 if ingest does not archive by its configuration.",
		}),
		events:      counter("events_total", "Events archived."),
		objects:     counter("objects_total", "Objects written."),
		bytes:       counter("bytes_total", "Bytes of objects written."),
		expired:     counter("expired_objects_total", "Objects deleted as too old."),
		gaps:        counter("gaps_total", "Times that the log began beyond the end of the archive: batches are missing in it for good."),
		missing:     counter("missing_batches_total", "Batches that are missing in the archive for good."),
		undecodable: counter("undecodable_batches_total", "Batches of which no event could be archived; the writers keep them as dead letters."),
		errors:      counter("errors_total", "Rounds, or partitions of a round, that failed."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_rawarchive_object_seconds", Help: "Time to write one object, pauses included.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 15),
		}),
	}
}

func (m *metrics) saw(hold *wire.LogHold) {
	m.held.Set(0)
	if hold.Holds {
		m.held.Set(1)
	}
	if hold.LimitBytes > 0 {
		m.full.Set(float64(hold.UsedBytes) / float64(hold.LimitBytes))
	}
}

func (m *metrics) lagged(partition int, age time.Duration) {
	m.lag.WithLabelValues(strconv.Itoa(partition)).Set(age.Seconds())
}
