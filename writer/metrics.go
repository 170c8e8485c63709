package writer

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of a writer. Figures of a partition carry its number; they disappear when the partition is given up.
type metrics struct {
	events       *prometheus.CounterVec
	batches      *prometheus.CounterVec
	duplicates   *prometheus.CounterVec
	deadLetters  *prometheus.CounterVec
	flushes      *prometheus.CounterVec
	flushRows    *prometheus.CounterVec
	retries      *prometheus.CounterVec
	throttled    *prometheus.CounterVec
	rewinds      *prometheus.CounterVec
	claims       *prometheus.CounterVec
	readErrors   *prometheus.CounterVec
	readDelay    prometheus.Histogram
	flushWait    prometheus.Histogram
	slotSeconds  prometheus.Histogram
	flushSeconds prometheus.Histogram
	countDelay   prometheus.Histogram
	rebuild      prometheus.Histogram
	leaseErrors  prometheus.Counter
	gauges       *gauges
}

func newMetrics(r prometheus.Registerer, windows *budget) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quipu_writer_" + name, Help: help}, append([]string{"partition"}, labels...))
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quipu_writer_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.002, 2, 14)})
	}
	m := &metrics{
		events:       counter("events_total", "Events read from the log, duplicates included."),
		batches:      counter("batches_total", "Batches read from the log."),
		duplicates:   counter("duplicate_events_total", "Events not counted because their id was seen within the window."),
		deadLetters:  counter("dead_letters_total", "Batches set aside because they could not be counted.", "reason"),
		flushes:      counter("flushes_total", "Flushes committed, by kind: rows, heartbeat.", "kind"),
		flushRows:    counter("flush_rows_total", "Rows committed."),
		retries:      counter("flush_retries_total", "Attempts to flush that failed and were repeated."),
		throttled:    counter("flushes_throttled_total", "Attempts to flush that the shard sent away: it gets a rest then."),
		rewinds:      counter("rewinds_total", "Times that memory was discarded because the stored checkpoint was elsewhere."),
		claims:       counter("claims_total", "Epochs claimed."),
		readErrors:   counter("read_errors_total", "Reads of the log that failed."),
		readDelay:    seconds("read_delay_seconds", "From the append of the first batch of a read until it was read."),
		flushWait:    seconds("flush_wait_seconds", "From the append of the first batch of a flush until its rows were frozen."),
		slotSeconds:  seconds("flush_slot_seconds", "What a flush that was due, or its next attempt, waited for others of its shard to end."),
		flushSeconds: seconds("flush_seconds", "From freezing the rows of a flush until they are committed."),
		countDelay:   seconds("count_delay_seconds", "From the append of the first batch of a flush until it was committed."),
		rebuild: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "quipu_writer_window_rebuild_seconds", Help: "Time to rebuild the de-duplication window of a partition.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
		}),
		leaseErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "quipu_writer_lease_errors_total", Help: "Calls about leases that failed; a lease is not given up for that.",
		}),
		gauges: newGauges(windows),
	}
	r.MustRegister(m.events, m.batches, m.duplicates, m.deadLetters, m.flushes, m.flushRows, m.retries, m.throttled, m.rewinds, m.claims,
		m.readErrors, m.readDelay, m.flushWait, m.slotSeconds, m.flushSeconds, m.countDelay, m.rebuild, m.leaseErrors, m.gauges)
	return m
}

// partitionMetrics are the figures of one partition.
type partitionMetrics struct {
	events, batches, duplicates, flushRows, retries, rewinds, claims, readErrors prometheus.Counter
	rowFlushes, heartbeats, throttled                                            prometheus.Counter
	readDelay, flushWait, slotSeconds, flushSeconds, countDelay, rebuild         prometheus.Observer

	deadLetters func(reason string) prometheus.Counter
	status      *status
}

func (m *metrics) partition(p int) *partitionMetrics {
	label := strconv.Itoa(p)
	return &partitionMetrics{
		events: m.events.WithLabelValues(label), batches: m.batches.WithLabelValues(label), duplicates: m.duplicates.WithLabelValues(label),
		flushRows: m.flushRows.WithLabelValues(label), retries: m.retries.WithLabelValues(label), throttled: m.throttled.WithLabelValues(label), rewinds: m.rewinds.WithLabelValues(label),
		claims: m.claims.WithLabelValues(label), readErrors: m.readErrors.WithLabelValues(label),
		rowFlushes: m.flushes.WithLabelValues(label, "rows"), heartbeats: m.flushes.WithLabelValues(label, "heartbeat"),
		readDelay: m.readDelay, flushWait: m.flushWait, slotSeconds: m.slotSeconds, flushSeconds: m.flushSeconds, countDelay: m.countDelay, rebuild: m.rebuild,
		deadLetters: func(reason string) prometheus.Counter { return m.deadLetters.WithLabelValues(label, reason) },
		status:      m.gauges.add(p),
	}
}

// State is what a partition is doing.
type State string

// The states of a partition that a writer holds.
const (
	StateClaiming   State = "claiming"    // asking the shard for the epoch and the checkpoint
	StateRebuilding State = "rebuilding"  // comparing log and checkpoint, rebuilding the window
	StateCounting   State = "counting"    // up to date or catching up
	StateWindowFull State = "window_full" // waiting: the windows' memory is used up
	StateBlocked    State = "blocked"     // waiting: a dead letter can't be written
	StateStopped    State = "stopped"     // not counting: log and checkpoint contradict each other
)

func states() []State {
	return []State{StateClaiming, StateRebuilding, StateCounting, StateWindowFull, StateBlocked, StateStopped}
}

// status is written by a partition's worker and read by the collector.
type status struct {
	state       atomic.Pointer[State]
	asOf        atomic.Int64 // committed, ms
	lagBatches  atomic.Int64 // in the log and not committed
	lagEvents   atomic.Int64 // in them; estimated for those not read yet
	cells       atomic.Int64
	windowIDs   atomic.Int64
	windowBytes atomic.Int64
	interval    atomic.Int64 // ns
	next        atomic.Uint64
	epoch       atomic.Uint64
}

func (s *status) set(state State) { s.state.Store(&state) }

// gauges collects the figures of the partitions that are held.
type gauges struct {
	windows *budget

	mu         sync.Mutex
	partitions map[int]*status
}

var perPartition = []string{"partition"}

func newGauges(windows *budget) *gauges {
	return &gauges{windows: windows, partitions: map[int]*status{}}
}

func (g *gauges) add(partition int) *status {
	s := &status{}
	s.set(StateClaiming)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.partitions[partition] = s
	return s
}

func (g *gauges) remove(partition int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.partitions, partition)
}

// Describe sends nothing: the collector is unchecked.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gauge := func(name, help string, value float64, labels []string, values ...string) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("quipu_writer_"+name, help, labels, nil), prometheus.GaugeValue, value, values...)
	}
	gauge("partitions", "Partitions that this writer works on.", float64(len(g.partitions)), nil)
	gauge("windows_bytes", "Bytes of all de-duplication windows.", float64(g.windows.taken.Load()), nil)
	gauge("windows_max_bytes", "Bound of the bytes of all de-duplication windows.", float64(g.windows.limit), nil)
	now := time.Now().UnixMilli()
	for p, s := range g.partitions {
		label, state := strconv.Itoa(p), *s.state.Load()
		for _, other := range states() {
			value := 0.0
			if other == state {
				value = 1
			}
			gauge("partition_state", "1 for the state that a partition is in.", value, []string{"partition", "state"}, label, string(other))
		}
		if asOf := s.asOf.Load(); asOf > 0 {
			gauge("lag_seconds", "Age of the instant up to which the partition is counted.", float64(max(now-asOf, 0))/1000, perPartition, label)
		}
		gauge("lag_batches", "Batches in the log that are not committed, as of the last read.", float64(s.lagBatches.Load()), perPartition, label)
		gauge("lag_events", "Events in the log that are not committed; an estimate for batches not read yet.", float64(s.lagEvents.Load()), perPartition, label)
		gauge("cells", "Rows in memory, not flushed yet.", float64(s.cells.Load()), perPartition, label)
		gauge("window_ids", "Entries of the de-duplication window.", float64(s.windowIDs.Load()), perPartition, label)
		gauge("window_bytes", "Bytes of the de-duplication window.", float64(s.windowBytes.Load()), perPartition, label)
		gauge("flush_interval_seconds", "Time between flushes, as adapted to the load.", time.Duration(s.interval.Load()).Seconds(), perPartition, label)
		gauge("next_offset", "First batch that is not committed.", float64(s.next.Load()), perPartition, label)
		gauge("epoch", "Epoch of the partition.", float64(s.epoch.Load()), perPartition, label)
	}
}
