package archive

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	frozen  *prometheus.GaugeVec
	cold    *prometheus.GaugeVec
	lag     *prometheus.GaugeVec
	late    *prometheus.GaugeVec
	up      prometheus.Gauge
	rows    *prometheus.CounterVec
	objects *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	orphans *prometheus.CounterVec
	errors  *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_archive_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "quipu_archive_" + name, Help: help}, labels)
	}
	return &metrics{
		frozen:  gauge("frozen_before_seconds", "Instant before which rows change no more, seconds since 1970.", "shard", "resolution"),
		cold:    gauge("cold_before_seconds", "Instant before which rows are in cold storage, seconds since 1970.", "shard", "resolution"),
		lag:     gauge("lag_seconds", "How far cold storage is behind what the retention allows to go there.", "shard", "resolution"),
		late:    gauge("late_rows", "Late rows of cold days that are not in cold storage yet.", "shard", "resolution"),
		up:      f.NewGauge(prometheus.GaugeOpts{Name: "quipu_archive_storage_up", Help: "Whether cold storage answered when it was needed last: 1 or 0."}),
		rows:    counter("rows_total", "Rows committed to cold storage, by kind: frozen, late, merged.", "shard", "resolution", "kind"),
		objects: counter("objects_total", "Objects committed, by kind.", "shard", "resolution", "kind"),
		bytes:   counter("written_bytes_total", "Bytes of objects written and read back.", "shard", "resolution"),
		orphans: counter("orphans_removed_total", "Objects deleted that nothing referred to.", "shard"),
		errors:  counter("errors_total", "Steps that failed, to be tried again.", "shard", "step"),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_archive_step_seconds", Help: "Duration of a step.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}, []string{"step"}),
	}
}

func (m *metrics) saw(shard string, state *wire.ArchiveState, targets map[string]int64) {
	for _, mark := range state.Marks {
		m.frozen.WithLabelValues(shard, mark.Resolution).Set(float64(mark.FrozenBefore * 60))
		m.cold.WithLabelValues(shard, mark.Resolution).Set(float64(mark.ColdBefore * 60))
		behind := int64(0)
		if target := targets[mark.Resolution]; oldRows(state, mark, target) > 0 {
			behind = max(0, target-oldest(state, mark))
		}
		m.lag.WithLabelValues(shard, mark.Resolution).Set(float64(behind * 60))
		late := int64(0)
		for _, l := range state.Late {
			if l.Resolution == mark.Resolution {
				late += l.Rows
			}
		}
		m.late.WithLabelValues(shard, mark.Resolution).Set(float64(late))
	}
}

// oldest is where the first rows are that are not cold.
func oldest(state *wire.ArchiveState, mark wire.ArchiveMark) int64 {
	for _, t := range state.Tables {
		if t.Resolution == mark.Resolution && t.To > mark.ColdBefore && t.Rows > 0 {
			return max(t.From, mark.ColdBefore)
		}
	}
	return mark.ColdBefore
}

// storageSaid tells from what cold storage was asked whether it is there.
func (m *metrics) storageSaid(err error) {
	switch {
	case err == nil:
		m.up.Set(1)
	case errors.Is(err, blob.ErrUnavailable):
		m.up.Set(0)
	}
}

func (m *metrics) wrote(shard, resolution string, bytes int64) {
	m.bytes.WithLabelValues(shard, resolution).Add(float64(bytes))
}

func (m *metrics) committed(shard, resolution string, kind wire.ArchiveCommitKind, objects int, rows int64) {
	m.objects.WithLabelValues(shard, resolution, string(kind)).Add(float64(objects))
	m.rows.WithLabelValues(shard, resolution, string(kind)).Add(float64(rows))
}

func (m *metrics) failed(shard, step string) { m.errors.WithLabelValues(shard, step).Inc() }

func (m *metrics) stepped(_, step string, took time.Duration) {
	m.seconds.WithLabelValues(step).Observe(took.Seconds())
}
