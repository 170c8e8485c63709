// Package rawarchive brings raw events to cold storage before the log trims them, so that counts can be computed again by another path
// (package audit) and a shard can be rebuilt from further back than the log reaches.
//
//	ingest (log, hold) ──read──► archiver ──one object a partition and span of offsets──► object storage
//	       ▲                        │ lock of the partition (ZooKeeper)
//	       └──── archived before ───┘
//
// An object is Parquet (blob/rawfile), named after what it holds. There is no manifest and no state: where a partition goes
// on is where its objects end.
//
// # Guarantees
//
//   - Only what is durable in the log is archived, in its order, without gaps: an object begins where the one before it ends. Each is read
//     back before anybody is told of it.
//   - The log keeps what is not archived (ingest's hold). That it begins beyond the archive's end can only be when raw events were not
//     archived for a time: that is an error and counted, and archiving goes on at what is left.
//   - Any number may run, two may even work on one partition at once: objects may overlap then, and hold the same at the same offsets.
//   - Objects are deleted once their day is longer ago than Config.Keep, the oldest first; the newest of a partition stays, as it says where to go on.
//   - One partition at a time, bounded in memory by one object, paced by Config.Rate unless the log fills up.
//
// An Archiver is safe for concurrent use.
package rawarchive

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// Log is the event log and its hold; *remote.Log is one.
type Log interface {
	Read(ctx context.Context, partition int, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error)
	Hold(ctx context.Context) (*wire.LogHold, error)
	Archived(ctx context.Context, told wire.LogArchived) error
}

// Config configures an Archiver. Zero values give the defaults named here.
type Config struct {
	Log     Log    // required
	Store   Store  // required
	Cluster string // id, noted in the objects
	// Lock waits until this process alone holds a lock of the cluster, or ctx ends. Required.
	Lock func(ctx context.Context, name string) (unlock func(), err error)

	After     time.Duration // a batch is archived at this age, by log time; 1 h
	Keep      time.Duration // objects are deleted this long after their day; 30 days
	Interval  time.Duration // between two looks at the log; 15 s
	MaxEvents int           // of one object, more only if one batch has more; 1,000,000
	MaxBytes  int64         // of the batches of one object, likewise; 128 MiB
	Rate      int           // events a second at most, while the log is not half full; 0: no bound
	Patience  time.Duration // for the lock of a partition: another one at work is no reason to wait; 2 s

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now; for Keep
}

// Archiver archives raw events.
type Archiver struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
}

// New does no I/O.
func New(cfg Config) (*Archiver, error) {
	if cfg.Log == nil || cfg.Store == nil || cfg.Lock == nil {
		return nil, errors.New("make raw archiver: log, store and lock must be given")
	}
	for field, value := range map[*time.Duration]time.Duration{
		&cfg.After: time.Hour, &cfg.Keep: 30 * 24 * time.Hour, &cfg.Interval: 15 * time.Second, &cfg.Patience: 2 * time.Second,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if cfg.MaxEvents <= 0 {
		cfg.MaxEvents = 1_000_000
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 128 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Archiver{cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer)}, nil
}

// expireInterval is how often an idle partition is looked at for objects to delete.
const expireInterval = time.Hour

// Run archives what is old enough, and deletes what is too old, until ctx ends and the object under way is given up.
func (a *Archiver) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.cfg.Interval)
	defer ticker.Stop()
	var expired time.Time
	for {
		expire := a.cfg.Now().Sub(expired) >= expireInterval
		if expire {
			expired = a.cfg.Now()
		}
		if err := a.round(ctx, expire); err != nil && ctx.Err() == nil {
			a.metrics.errors.Inc()
			a.log.Warn("raw events are not archived, will try again", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round looks at every partition once. One that fails does not keep the others.
func (a *Archiver) round(ctx context.Context, expire bool) error {
	hold, err := a.cfg.Log.Hold(ctx)
	if err != nil {
		return err
	}
	a.metrics.saw(hold)
	start := rand.IntN(max(len(hold.Partitions), 1)) // others begin elsewhere
	for i := range hold.Partitions {
		p := hold.Partitions[(start+i)%len(hold.Partitions)]
		if err := a.visit(ctx, hold, p, expire); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			a.metrics.errors.Inc()
			a.log.Error("raw events of a partition are not archived", "partition", p.Partition, "error", err)
		}
	}
	return nil
}

// visit works on a partition if there is anything to do, and nobody else does.
func (a *Archiver) visit(ctx context.Context, hold *wire.LogHold, p wire.LogHeldPartition, expire bool) error {
	due, err := a.due(ctx, hold, p)
	if err != nil || !due && !expire {
		return err
	}
	unlock, free, err := a.lock(ctx, p.Partition)
	if err != nil || !free {
		return err
	}
	defer unlock()
	return a.work(ctx, p.Partition, expire)
}

// due tells whether the oldest batch that is not archived is old enough. A partition of which the log was told nothing always is: it
// is not trimmed until then.
func (a *Archiver) due(ctx context.Context, hold *wire.LogHold, p wire.LogHeldPartition) (bool, error) {
	if p.Archived < max(p.First, 1) {
		return true, nil
	}
	age, any, err := a.age(ctx, hold, p.Partition, p.Archived)
	if err != nil || !any {
		return false, err
	}
	return age >= a.after(hold), nil
}

// age tells how long ago the batch at an offset was appended, if there is one.
func (a *Archiver) age(ctx context.Context, hold *wire.LogHold, partition int, offset uint64) (age time.Duration, any bool, err error) {
	chunk, err := a.cfg.Log.Read(ctx, partition, offset, 1, 0)
	if errors.Is(err, eventlog.ErrTrimmed) {
		return 0, true, nil // another one archived it meanwhile
	}
	if err != nil {
		return 0, false, err
	}
	if len(chunk.Records) > 0 {
		age, any = time.Duration(hold.NowMs-chunk.Records[0].AppendTime)*time.Millisecond, true
	}
	a.metrics.lagged(partition, age)
	return age, any, nil
}

// after is the age at which batches are archived: sooner when the log fills up.
func (a *Archiver) after(hold *wire.LogHold) time.Duration {
	switch {
	case fuller(hold, 3, 4):
		return 0
	case pressing(hold):
		return min(a.cfg.After, time.Minute)
	}
	return a.cfg.After
}

// pressing tells whether the log fills up: then nothing is paced.
func pressing(hold *wire.LogHold) bool { return fuller(hold, 1, 2) }

func fuller(hold *wire.LogHold, parts, of int64) bool {
	return hold.LimitBytes > 0 && hold.UsedBytes > hold.LimitBytes/of*parts
}
