// Package rollup is the role that compacts: it has each shard add up its closed minutes to hours, and closed hours to days, so that a
// total over a year reads days; once nothing is left to add up, the archive (package archive) moves what is old to cold storage. It changes
// no answer.
//
//	directory (shards, their proxies) ──► roller ── lock of the shard (ZooKeeper)
//	                                        ├─HTTP─► shard proxy: claim, step, step, …, idle
//	                                        └─ archive: a piece of its work, as long as there is any, the roll-up in between
//
// What a step does, and why readers and late events never notice, is in docs/rollup.md; all of it happens within the transactions of
// package mysql. A roller keeps no state: the next one goes on where the last one stopped, in the middle of an hour if need be.
//
// # Guarantees
//
//   - Any number may run. Who works on a shard holds its lock, a node of its session in ZooKeeper, and an epoch that each transaction
//     compares: one that lost the lock without noticing is refused as fenced.
//   - Steps are small, with a pause after each, and one at a time a shard. Every wait and retry is bounded (INV-9).
//   - What goes wrong is logged and counted, and tried again after the interval.
//
// A Roller is safe for concurrent use.
package rollup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

// Config configures a Roller. Zero values give the defaults named here.
type Config struct {
	Owner    string                   // who this is: unlike every other process, also an earlier one of the same name; required
	Snapshot func() *cluster.Snapshot // the last known state of the cluster, nil if there is none; required
	Client   *wire.Client             // required
	// Lock waits until this process alone holds a lock of the cluster, or ctx ends. Required.
	Lock func(ctx context.Context, name string) (unlock func(), err error)

	Archive Archive // what is done besides, under the same lead; nil: nothing

	Delay     time.Duration // how long after its end an hour is closed; none
	Interval  time.Duration // between two looks at a shard; 15 s
	Turn      time.Duration // after which the lead of a shard is given to whoever waits for it, with work left; 15 s
	ChunkRows int           // finer rows that one step reads, about; 5,000
	Pause     time.Duration // after each step, at most: no more than one and a half times what it took; none
	Ranked    int           // keys that a ranked list keeps at least; the shard's default
	Patience  time.Duration // for the lock of a shard, and for a shard that is away; 1 minute
	LockWait  time.Duration // for the lock of a shard, if it may be longer than that

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now
}

// Archive moves old rows of a shard to cold storage, a piece at a time.
type Archive interface {
	// Due tells whether there is something to do. What it can't tell just now isn't due.
	Due(ctx context.Context, shard string) bool
	// Step does one piece, as the shard's leader, and tells whether there may be more to do at once.
	Step(ctx context.Context, shard string, leader wire.Leader) (more bool, err error)
}

// ErrArchive is what the archive failed with; the roll-up went on.
var ErrArchive = errors.New("archive")

// Roller rolls up the shards of a cluster.
type Roller struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	shards  *shards.Caller

	mu   sync.Mutex
	busy map[string]bool // shards that a round is under way for
}

// New does no I/O.
func New(cfg Config) (*Roller, error) {
	if cfg.Owner == "" || cfg.Snapshot == nil || cfg.Client == nil || cfg.Lock == nil {
		return nil, errors.New("make roller: owner, snapshot, client and lock must be given")
	}
	for field, value := range map[*time.Duration]time.Duration{&cfg.Interval: 15 * time.Second, &cfg.Turn: 15 * time.Second, &cfg.Patience: time.Minute} {
		if *field <= 0 {
			*field = value
		}
	}
	if cfg.ChunkRows <= 0 {
		cfg.ChunkRows = 5000
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Roller{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), busy: map[string]bool{},
		shards: shards.New(shards.Config{Snapshot: cfg.Snapshot, Client: cfg.Client, Patience: cfg.Patience}),
	}, nil
}

// Run rolls up what is closed on every shard of the topology, until ctx ends and the steps under way have ended.
func (r *Roller) Run(ctx context.Context) error {
	var rounds sync.WaitGroup
	defer rounds.Wait()
	ticker := time.NewTicker(r.cfg.Interval)
	defer ticker.Stop()
	for {
		for _, shard := range r.shards.IDs() {
			if !r.begin(shard) {
				continue // it takes longer than the interval
			}
			rounds.Go(func() {
				defer r.end(shard)
				r.tryRound(ctx, shard)
			})
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Roller) begin(shard string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[shard] {
		return false
	}
	r.busy[shard] = true
	return true
}

func (r *Roller) end(shard string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, shard)
}

func (r *Roller) tryRound(ctx context.Context, shard string) {
	err := r.round(ctx, shard, func() time.Time { return r.cfg.Now().Add(-r.cfg.Delay) })
	switch {
	case err == nil || ctx.Err() != nil:
	case wire.CodeOf(err) == wire.CodeFenced:
		r.log.Info("another one rolls this shard up", "shard", shard, "error", err)
	case errors.Is(err, ErrArchive):
		r.log.Warn("archiving failed, will try again; nothing that is not in cold storage is dropped", "shard", shard, "error", err)
	default:
		r.metrics.errors.WithLabelValues(shard).Inc()
		r.log.Warn("roll-up failed, will try again", "shard", shard, "error", err)
	}
}
