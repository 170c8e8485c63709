package ingest

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/eventlog"
)

type metrics struct {
	accepted prometheus.Counter
	rejected *prometheus.CounterVec
	refused  *prometheus.CounterVec
	append   *prometheus.HistogramVec
	batch    prometheus.Histogram
	appendOK prometheus.Observer
	trims    *prometheus.CounterVec

	unpromotable prometheus.Counter
	waiting      *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_ingest_accepted_events_total", Help: "Events that are durable.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_ingest_rejected_events_total", Help: "Events rejected one by one, by code.",
		}, []string{"code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_ingest_refused_requests_total", Help: "Requests of which nothing was accepted, by code.",
		}, []string{"code"}),
		append: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_ingest_append_seconds", Help: "Time to append one batch to the log, by outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"outcome"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_ingest_batch_events", Help: "Events of one batch, gathered from all requests of a moment.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 10),
		}),
		unpromotable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_ingest_unpromotable_total", Help: "Replicas that the log was no longer kept for, because it was nearly full and they lagged.",
		}),
		trims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "quipu_ingest_trim_rounds_total", Help: "Rounds of trimming the log, by outcome: done, or held back because a checkpoint is not known.",
		}, []string{"outcome"}),
	}
	m.waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "quipu_ingest_trim_waits_for_archive", Help: "Whether batches of a partition that could be trimmed wait for the archive of raw events: 1 or 0.",
	}, []string{"partition"})
	m.appendOK = m.append.WithLabelValues("ok")
	if r != nil {
		r.MustRegister(m.accepted, m.rejected, m.refused, m.append, m.batch, m.trims, m.unpromotable, m.waiting)
	}
	return m
}

// waits notes whether a partition's trimming waits for the archive.
func (m *metrics) waits(partition int, does bool) {
	value := 0.0
	if does {
		value = 1
	}
	m.waiting.WithLabelValues(strconv.Itoa(partition)).Set(value)
}

// appended notes one append.
func (m *metrics) appended(events int, took time.Duration, err error) {
	switch {
	case err == nil:
		m.appendOK.Observe(took.Seconds())
		m.batch.Observe(float64(events))
	case errors.Is(err, eventlog.ErrFull):
		m.append.WithLabelValues("full").Observe(took.Seconds())
	default:
		m.append.WithLabelValues("error").Observe(took.Seconds())
	}
}

// watch registers what is read off when asked for.
func (i *Ingest) watch(r prometheus.Registerer) {
	if r == nil {
		return
	}
	gauge := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	gauge("quipu_ingest_in_flight_bytes", "Bytes of request bodies in progress.", func() float64 { return float64(i.bodies.inFlight.bytes.Load()) })
	gauge("quipu_ingest_window_ids", "Event ids within the de-duplication window.", func() float64 {
		now, err := i.cfg.Log.Now()
		if err != nil {
			return 0
		}
		return float64(i.window.ids(now))
	})
	gauge("quipu_ingest_window_limit_ids", "Bound of the event ids within the de-duplication window.", func() float64 { return float64(i.window.limit) })
	for _, l := range i.lanes {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "quipu_ingest_log_next_offset", Help: "Offset that the next batch of a partition will get.",
			ConstLabels: prometheus.Labels{"partition": strconv.Itoa(l.partition)},
		}, func() float64 { return float64(l.next.Load()) }))
	}
}
