package shardproxy

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

type metrics struct {
	calls      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	running    *prometheus.GaugeVec
	waiting    *prometheus.GaugeVec
	places     *prometheus.GaugeVec
	refused    *prometheus.CounterVec
	throttle   *prometheus.GaugeVec
	throttled  *prometheus.CounterVec
	rows       prometheus.Counter
	rollupRows *prometheus.CounterVec
	sqlRows    prometheus.Counter
	sqlBytes   prometheus.Counter
	sqlCut     *prometheus.CounterVec
	archive    archiveMetrics
	cache      *cacheMetrics
	cachedKeys prometheus.Gauge
	reads      *prometheus.CounterVec
	fallbacks  *prometheus.CounterVec
	healthy    *prometheus.GaugeVec
	probes     *prometheus.CounterVec
	lag        *prometheus.GaugeVec
	asOf       *prometheus.GaugeVec
	poolInUse  *prometheus.GaugeVec
	poolOpen   *prometheus.GaugeVec
	poolLimit  *prometheus.GaugeVec
	poolWaited *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_shard_proxy_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "quipu_shard_proxy_" + name, Help: help}, labels)
	}
	return &metrics{
		calls: counter("calls_total", "Calls by problem code; ok if there was none.", "call", "code"),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "quipu_shard_proxy_call_seconds", Help: "Duration of calls.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"call"}),
		running:   gauge("running_count", "Calls that have a place in their class.", "class"),
		waiting:   gauge("waiting_count", "Calls that wait for a place.", "class"),
		places:    gauge("places_count", "Calls of a class that run at a time at most.", "class"),
		throttle:  gauge("flushes_allowed_count", "Flushes let in at a time, on average, as the cost of rows and the lag of replicas allow.", "cause"),
		throttled: counter("throttled_total", "Flushes sent away because the shard suffers, by what it suffers from.", "cause"),
		refused:   counter("refused_total", "Calls refused because their class was full.", "class"),
		cache:     newCacheMetrics(r),
		rows:      f.NewCounter(prometheus.CounterOpts{Name: "quipu_shard_proxy_applied_rows_total", Help: "Rows of committed flushes."}),
		archive: archiveMetrics{
			exported:      counter("archive_exported_rows_total", "Rows read for the archive.", "resolution"),
			commits:       counter("archive_commits_total", "Commits of objects to the archive by problem code; ok if there was none.", "kind", "code"),
			dropped:       counter("archive_dropped_time_partitions_total", "Time partitions dropped, for their rows are cold.", "resolution"),
			conservations: counter("archive_conservation_errors_total", "Commits and restores refused because sums differ.", "kind"),
			frozenBefore:  gauge("archive_frozen_before_seconds", "Before this instant rows never change, seconds since 1970.", "resolution"),
			coldBefore:    gauge("archive_cold_before_seconds", "Before this instant rows are read from cold storage, seconds since 1970.", "resolution"),
		},
		sqlRows:    f.NewCounter(prometheus.CounterOpts{Name: "quipu_shard_proxy_sql_rows_total", Help: "Rows sent to analysts."}),
		sqlBytes:   f.NewCounter(prometheus.CounterOpts{Name: "quipu_shard_proxy_sql_bytes_total", Help: "Bytes of rows sent to analysts."}),
		sqlCut:     counter("sql_truncated_total", "Answers to analysts that a bound cut short.", "bound"),
		rollupRows: counter("rolled_up_rows_total", "Coarse rows that the roll-up wrote.", "resolution"),
		cachedKeys: f.NewGauge(prometheus.GaugeOpts{Name: "quipu_shard_proxy_cached_keys_count", Help: "Key ids in memory."}),
		reads:      counter("reads_total", "Answers by the database that gave them.", "database", "role", "stale"),
		fallbacks:  counter("fallbacks_total", "Reads that a database could not do and that went on to another.", "database"),
		healthy:    gauge("database_healthy", "Whether the database is used for reads: 1 or 0.", "database", "role"),
		probes:     counter("probes_total", "Probes by outcome.", "database", "outcome"),
		lag:        gauge("replica_lag_seconds", "How far a replica is behind.", "database"),
		asOf:       gauge("as_of_seconds", "The oldest as-of of a database's partitions, seconds since 1970.", "database"),
		poolInUse:  gauge("pool_in_use_count", "Connections in use.", "database", "pool"),
		poolOpen:   gauge("pool_open_count", "Open connections.", "database", "pool"),
		poolLimit:  gauge("pool_limit_count", "Most connections.", "database", "pool"),
		poolWaited: gauge("pool_waited_seconds", "Time spent waiting for a connection, since the pool was made.", "database", "pool"),
	}
}

func (m *metrics) called(call string, err error, took time.Duration) {
	m.calls.WithLabelValues(call, wire.CodeLabel(err)).Inc()
	m.seconds.WithLabelValues(call).Observe(took.Seconds())
}

// asked takes what a statement of an analyst gave.
func (m *metrics) asked(end *wire.SQLEnd) {
	m.sqlRows.Add(float64(end.Rows))
	m.sqlBytes.Add(float64(end.Bytes))
	if end.Truncated != "" {
		m.sqlCut.WithLabelValues(end.Truncated).Inc()
	}
}

func (m *metrics) applied(rows, cachedKeys int) {
	m.rows.Add(float64(rows))
	m.cachedKeys.Set(float64(cachedKeys))
}

func (m *metrics) read(from candidate, stale bool) {
	m.reads.WithLabelValues(from.ID, string(from.Role), strconv.FormatBool(stale)).Inc()
}

// probed takes a verdict, and looks at the pools on the way.
func (m *metrics) probed(d *database, h *health, err error) {
	up, outcome := 0.0, "ok"
	if h.healthy {
		up = 1
	}
	if err != nil {
		outcome = string(codeOf(err))
	}
	m.healthy.WithLabelValues(d.ID, string(d.Role)).Set(up)
	m.probes.WithLabelValues(d.ID, outcome).Inc()
	if h.last != nil {
		first, oldest := true, int64(0)
		for _, at := range h.last.AsOf {
			if first || at < oldest {
				oldest, first = at, false
			}
		}
		m.asOf.WithLabelValues(d.ID).Set(float64(oldest) / 1000)
	}
	m.pool(d.ID, "read", d.read)
	m.pool(d.ID, "monitor", d.monitor)
	if d.primary != nil {
		m.pool(d.ID, "apply", d.primary.DB())
	}
}

// lags shows a replica's lag only while it is known.
func (m *metrics) lags(database string, of func() (time.Duration, bool)) {
	lag, known := of()
	if !known {
		m.lag.DeleteLabelValues(database)
		return
	}
	m.lag.WithLabelValues(database).Set(lag.Seconds())
}

func (m *metrics) pool(database, pool string, db *mysql.DB) {
	s := db.PoolStats()
	m.poolInUse.WithLabelValues(database, pool).Set(float64(s.InUse))
	m.poolOpen.WithLabelValues(database, pool).Set(float64(s.OpenConnections))
	m.poolLimit.WithLabelValues(database, pool).Set(float64(s.MaxOpenConnections))
	m.poolWaited.WithLabelValues(database, pool).Set(s.WaitDuration.Seconds())
}

// forget drops the series of a database that is no longer used.
func (m *metrics) forget(database string) {
	for _, gauges := range []*prometheus.GaugeVec{m.healthy, m.lag, m.asOf, m.poolInUse, m.poolOpen, m.poolLimit, m.poolWaited} {
		gauges.DeletePartialMatch(prometheus.Labels{"database": database})
	}
}

// archiveMetrics are about what moves to cold storage and back.
type archiveMetrics struct {
	exported, commits, dropped, conservations *prometheus.CounterVec
	frozenBefore, coldBefore                  *prometheus.GaugeVec
}

func (m *archiveMetrics) mark(resolution string, frozenBefore, coldBefore int64) {
	m.frozenBefore.WithLabelValues(resolution).Set(float64(frozenBefore * 60))
	m.coldBefore.WithLabelValues(resolution).Set(float64(coldBefore * 60))
}

func (m *archiveMetrics) compared(kind string, err error) {
	m.commits.WithLabelValues(kind, outcomeOf(err)).Inc()
	if errors.Is(err, mysql.ErrConservation) {
		m.conservations.WithLabelValues(kind).Inc()
	}
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return string(codeOf(err))
}
