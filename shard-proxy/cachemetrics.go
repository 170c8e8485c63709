package shardproxy

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// cacheMetrics are about answers that are kept, and what is known of late changes.
type cacheMetrics struct {
	outcomes     map[string]prometheus.Counter
	bytes        prometheus.Gauge
	entries      prometheus.Gauge
	evicted      prometheus.Counter
	dropped      *prometheus.CounterVec
	waiting      prometheus.Gauge
	refused      prometheus.Counter
	looks        *prometheus.CounterVec
	lookedAt     prometheus.Gauge
	changes      prometheus.Counter
	gaps         prometheus.Counter
	forgotten    prometheus.Counter
	historyBytes prometheus.Gauge
}

func newCacheMetrics(r prometheus.Registerer) *cacheMetrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "quipu_shard_proxy_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "quipu_shard_proxy_" + name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "quipu_shard_proxy_" + name, Help: help}, labels)
	}
	answers := vector("cache_answers_total", "Questions by how they were answered: hit, unchanged (the caller has it), refreshed (given again while it is asked anew), "+
		"miss, coalesced (with the query of another call), stale (nothing newer can be had), direct (not kept).", "outcome")
	m := &cacheMetrics{
		outcomes:     map[string]prometheus.Counter{},
		bytes:        gauge("cache_bytes", "What the kept answers take, about."),
		entries:      gauge("cache_entries_count", "Answers kept."),
		evicted:      counter("cache_evictions_total", "Answers dropped for want of room."),
		dropped:      vector("cache_invalidations_total", "Answers found to hold no longer: a late event touched them, or the shard's term changed.", "reason"),
		waiting:      gauge("cache_waiting_count", "Calls that wait for the query of another."),
		refused:      counter("cache_refused_waiters_total", "Calls refused because too many wait for queries of others."),
		looks:        vector("changes_looks_total", "Looks at late changes, by outcome.", "outcome"),
		lookedAt:     gauge("changes_looked_at_seconds", "When late changes were last read, seconds since 1970. Nobody looks while nobody asks."),
		changes:      counter("changes_total", "Flushes with late rows that were told."),
		gaps:         counter("changes_gaps_total", "Partitions whose late changes could not all be told: what was kept of them counts as open."),
		forgotten:    counter("changes_forgotten_total", "Times that the older half of the late changes was forgotten for want of room."),
		historyBytes: gauge("changes_bytes", "What the late changes take, about."),
	}
	for _, outcome := range []string{outcomeHit, outcomeUnchanged, outcomeRefreshed, outcomeMiss, outcomeCoalesced, outcomeStale, outcomeDirect} {
		m.outcomes[outcome] = answers.WithLabelValues(outcome)
	}
	return m
}

func (m *cacheMetrics) answered(outcome string, questions int) {
	m.outcomes[outcome].Add(float64(questions))
}

func (m *cacheMetrics) told(changes int, t taken) {
	m.changes.Add(float64(changes))
	m.gaps.Add(float64(t.dropped))
	m.lookedAt.SetToCurrentTime()
}

func (m *cacheMetrics) looked(err error) { m.looks.WithLabelValues(outcomeOf(err)).Inc() }
