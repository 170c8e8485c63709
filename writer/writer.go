// Package writer is the processing role: it consumes the partitions that it leases, de-duplicates, adds up by minute and flushes
// the sums together with the checkpoint.
//
// # Guarantees
//
// Every distinct event of the log is counted once (INV-1), because a flush is one compare-and-set of (epoch, offset) with
// its rows (INV-4), and because everything in memory is a function of a checkpoint and the log after it. Whenever the stored
// checkpoint is not where the last flush of this writer left it, memory is dropped, window included, and built again from
// the checkpoint. A batch that can't be counted is a dead letter on disk before the checkpoint passes it.
//
// Whether an event is a duplicate follows from append times in the log alone (INV-7): see quantiser and window.
//
// A partition stops, with an error in the log and state "stopped" in the metrics, rather than count wrongly: when the log's
// incarnation, its extent or the checksum of the last counted batch contradict the checkpoint, or when ids that the window
// needs are gone. It looks again every half minute.
//
// # Ownership
//
// Rendezvous hashing over the live writers says which partitions a writer should have. It takes their leases, and gives back
// those that another live writer should have, after a last flush. An error about a lease changes nothing: only the news that
// somebody else holds it stops a partition, and it is the epoch in the database that keeps a writer without a lease from
// counting (INV-10).
//
// # Bounds
//
// A partition's rows in memory: Flush.MaxRows and one batch, beyond which reading pauses. Windows: Dedup.MaxBytes over
// all partitions, at which a partition waits rather than forget. Retries: with backoff, for as long as the partition is
// held, one at a time, each with a timeout. Flushes of one shard under way: Flush.PerShard; those of other partitions wait in turn, and
// gather meanwhile.
//
// A Writer is run once. Its partitions are independent of each other: a shard that is away delays its own.
package writer

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/quipudb/quipu/cluster"
)

// Writer owns and counts partitions.
type Writer struct {
	cfg      Config
	metrics  *metrics
	windows  *budget
	buffers  rowBuffers
	slots    *shardSlots
	rebuilds chan struct{}
	lanes    map[int]*lane
	wake     chan struct{} // a worker ended
}

// lane is what a writer knows of a partition.
type lane struct {
	held    bool      // the lease, as last known
	task    *task     // nil: no worker runs
	checkAt time.Time // when to ask for the lease again
	startAt time.Time // not before then
	pause   backoff
}

// task is a worker that runs.
type task struct {
	stop   context.CancelFunc // flush once more and return
	abort  context.CancelFunc // return at once
	timer  *time.Timer        // aborts when a stop takes too long; nil before the stop
	ended  chan struct{}
	result error // after ended
}

// New returns a writer. It does no I/O.
func New(cfg Config) (*Writer, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	windows := newBudget(cfg.Dedup.MaxBytes)
	return &Writer{
		cfg: cfg, metrics: newMetrics(cfg.Registry, windows), windows: windows, slots: newShardSlots(cfg.Flush.PerShard),
		rebuilds: make(chan struct{}, runtime.GOMAXPROCS(0)), lanes: map[int]*lane{}, wake: make(chan struct{}, 1),
	}, nil
}

// Run counts until ctx ends, then flushes what is in memory, gives back the leases and returns nil.
func (w *Writer) Run(ctx context.Context) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		changed := w.cfg.Changed()
		if snapshot := w.cfg.Cluster(); snapshot != nil {
			w.settle(ctx, snapshot)
		}
		select {
		case <-ctx.Done():
			w.drain(context.WithoutCancel(ctx))
			return nil
		case <-changed:
		case <-w.wake:
		case <-tick.C:
		}
	}
}

// settle brings what runs closer to what the cluster wants.
func (w *Writer) settle(ctx context.Context, snapshot *cluster.Snapshot) {
	writers := snapshot.MemberIDs(cluster.RoleWriter)
	if !slices.Contains(writers, w.cfg.ID) {
		writers = append(writers, w.cfg.ID)
	}
	leases := leaseRound{w: w}
	for p, owner := range cluster.Owners(snapshot.Settings.Partitions, writers) {
		l, ok := w.lanes[p]
		if !ok {
			l = &lane{pause: newBackoff()}
			w.lanes[p] = l
		}
		w.reap(p, l)
		mine := owner == w.cfg.ID
		switch {
		case l.task != nil && !mine:
			w.stop(l.task)
		case l.task != nil && time.Now().After(l.checkAt):
			w.confirm(ctx, &leases, p, l)
		case l.task == nil && !mine && l.held:
			l.held = !leases.release(ctx, p)
		case l.task == nil && mine && time.Now().After(l.startAt):
			w.begin(ctx, &leases, p, l, snapshot.Settings.Partitions)
		}
	}
}

// reap takes note of a worker that has ended.
func (w *Writer) reap(p int, l *lane) {
	if l.task == nil {
		return
	}
	select {
	case <-l.task.ended:
	default:
		return
	}
	w.metrics.gauges.remove(p)
	if err := l.task.result; err != nil && !errors.Is(err, context.Canceled) {
		// Fenced. Whether the partition is still ours is for its lease to tell.
		wait := l.pause.next(0)
		l.startAt = time.Now().Add(wait)
		w.cfg.Logger.Warn("partition given up", "partition", p, "error", err, "wait", wait)
	}
	if l.task.timer != nil {
		l.task.timer.Stop()
	}
	l.task.abort()
	l.task = nil
}

// confirm asks for a lease that we hold: it may have been lost with its session, and taken.
func (w *Writer) confirm(ctx context.Context, leases *leaseRound, p int, l *lane) {
	held, holder, ok := leases.acquire(ctx, p)
	if !ok {
		return
	}
	l.held, l.checkAt = held, time.Now().Add(verifyEvery)
	if held {
		l.pause.reset()
		return
	}
	w.cfg.Logger.Warn("lease is held by another writer, partition stops", "partition", p, "holder", holder)
	l.task.abort()
}

// begin starts to count a partition if its lease can be had.
func (w *Writer) begin(ctx context.Context, leases *leaseRound, p int, l *lane, partitions int) {
	held, _, ok := leases.acquire(ctx, p)
	if !ok || !held {
		l.held = l.held && !ok
		return
	}
	l.held, l.checkAt = true, time.Now().Add(verifyEvery)
	l.task = w.start(ctx, p, partitions)
}

func (w *Writer) start(ctx context.Context, p, partitions int) *task {
	hard, abort := context.WithCancel(context.WithoutCancel(ctx))
	soft, stop := context.WithCancel(hard)
	logger := w.cfg.Logger.With("partition", p)
	m := w.metrics.partition(p)
	k := &worker{
		partition: p, partitions: partitions, id: w.cfg.ID, log: w.cfg.Log, proxy: w.cfg.Proxy, windows: w.windows, buffers: &w.buffers, rebuilds: w.rebuilds,
		flusher: &flusher{
			proxy: w.cfg.Proxy, slots: w.slots, shard: func() string { return w.shardOf(p) }, timeout: w.cfg.Flush.Timeout, log: logger, metrics: m,
		},
		deadLetters: deadLetters{w.cfg.DeadLetterDir}, clock: newQuantiser(w.cfg.Dedup.Window),
		flush: w.cfg.Flush, maxRows: w.cfg.Flush.MaxRows, read: w.cfg.Read, logger: logger, metrics: m, soft: soft, hard: hard,
	}
	t := &task{stop: stop, abort: abort, ended: make(chan struct{})}
	go func() {
		t.result = k.run()
		close(t.ended)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}()
	return t
}

func (w *Writer) shardOf(partition int) string {
	if snapshot := w.cfg.Cluster(); snapshot != nil {
		shard, _ := snapshot.ShardOf(partition)
		return shard
	}
	return ""
}

// stop asks a worker to flush once more and return, and aborts it when that takes too long.
func (w *Writer) stop(t *task) {
	if t.timer == nil {
		t.timer = time.AfterFunc(w.cfg.Flush.Drain, t.abort)
		t.stop()
	}
}

// drain stops every worker, waits for them, and gives back the leases.
func (w *Writer) drain(ctx context.Context) {
	for _, l := range w.lanes {
		if l.task != nil {
			w.stop(l.task)
		}
	}
	leases := leaseRound{w: w}
	for p, l := range w.lanes {
		if l.task != nil {
			<-l.task.ended
			w.reap(p, l)
		}
		if l.held {
			l.held = !leases.release(ctx, p)
		}
	}
}

// leaseRound makes calls about leases until one fails: then the others would wait in vain, too, and are left for the next
// round. A lease is not given up for that.
type leaseRound struct {
	w    *Writer
	away bool
}

func (r *leaseRound) acquire(ctx context.Context, p int) (held bool, holder string, ok bool) {
	if r.away {
		return false, "", false
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	held, holder, err := r.w.cfg.Leases.TryAcquire(ctx, p)
	return held, holder, r.worked(p, err)
}

func (r *leaseRound) release(ctx context.Context, p int) (released bool) {
	if r.away {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	return r.worked(p, r.w.cfg.Leases.Release(ctx, p))
}

func (r *leaseRound) worked(p int, err error) bool {
	if err != nil {
		r.away = true
		r.w.metrics.leaseErrors.Inc()
		r.w.cfg.Logger.Debug("lease call failed", "partition", p, "error", err)
	}
	return err == nil
}
