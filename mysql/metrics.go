package mysql

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	keyHits, keyMisses     prometheus.Counter
	retries                prometheus.Counter
	termChanges            prometheus.Counter
	timePartitions         prometheus.Counter
	minuteRows, coarseRows prometheus.Counter
	resolveSeconds         prometheus.Histogram
	lateRows               prometheus.Counter
	applySeconds           prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "quipu_mysql_" + name, Help: help})
	}
	m := &metrics{
		keyHits:        counter("key_cache_hits_total", "Rows whose key id was in memory."),
		keyMisses:      counter("key_cache_misses_total", "Key ids that had to be read or made."),
		retries:        counter("retries_total", "Transactions that the server rolled back for a passing reason."),
		termChanges:    counter("term_changes_total", "Times that the key ids were dropped because the shard's term changed."),
		timePartitions: counter("time_partitions_made_total", "Time partitions added to the counts tables."),
		minuteRows:     counter("minute_rows_total", "Rows applied to minute_counts."),
		coarseRows:     counter("coarse_rows_total", "Rows applied to hour_counts and day_counts, for minutes before their watermarks."),
		resolveSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_mysql_resolve_keys_seconds", Help: "Time to find or make the key ids of an Apply that has rows.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 3, 12),
		}),
		lateRows: counter("late_rows_total", "Rows applied to the late tables, for minutes that were frozen there already."),
		applySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_mysql_apply_transaction_seconds", Help: "Duration of the transactions of Apply that have rows.",
			Buckets: prometheus.ExponentialBuckets(0.002, 1.25, 38), // to 8 s
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []*prometheus.Counter{&m.keyHits, &m.keyMisses, &m.retries, &m.termChanges, &m.timePartitions, &m.minuteRows, &m.coarseRows, &m.lateRows} {
		if err := registerOrReuse(r, c); err != nil {
			return nil, err
		}
	}
	if err := registerOrReuse(r, &m.resolveSeconds); err != nil {
		return nil, err
	}
	return m, registerOrReuse(r, &m.applySeconds)
}

// registerOrReuse lets the primary of a shard be another one after a promotion: it goes on with the metrics of the first.
func registerOrReuse[C prometheus.Collector](r prometheus.Registerer, c *C) error {
	err := r.Register(*c)
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, same := known.ExistingCollector.(C); same {
			*c = existing
			return nil
		}
	}
	return err
}
