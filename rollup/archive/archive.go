// Package archive moves counts that are older than their retention from the shards to cold storage, and keeps cold storage in order. It
// works within the role rollup, as the leader of a shard.
//
//	state of the shard ──► what comes next, one piece a step:
//	    forget    intents that somebody left behind
//	    drop      time partitions of which all rows are cold
//	    unit      freeze → read rows by key → sort → write objects → read them back → commit
//	    late      what was added to cold days since: the same, day by day
//	    seal      begin a new round of late rows, so that the last one can follow
//	    merge     many small objects of a day become one
//	    sweep     delete objects that nothing refers to
//
// docs/archive.md tells the protocol, and why no answer changes. All that decides is in the shards' transactions; this package does what
// comes next and keeps hints only: when it saw, sealed or swept something last.
//
// # Guarantees
//
//   - It may die, or be doubled, between any two calls. What it wrote and did not commit is removed later as an orphan.
//   - An object counts only after it was read back and its sums were compared with those of what it replaces, by the shard.
//   - Nothing is deleted from cold storage unless every database of every shard was asked and refers to it no more, and not before
//     Config.DeleteGrace.
//   - Without cold storage nothing is frozen or dropped: the pieces that need it fail, and are tried again later.
//   - Memory: rows of three objects. Rows that can't be kept wait in files below Config.SpillDir.
//
// An Archiver is safe for concurrent use; steps of one shard are the leader's alone.
package archive

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
)

// Shards calls any proxy of a shard, again and again within a bound; *shards.Caller does.
type Shards interface {
	IDs() []string
	Partitions(shard string) []int
	JSON(ctx context.Context, shard, path string, in, out any) error
	Bytes(ctx context.Context, shard, path, contentType string, body []byte) ([]byte, error)
}

// Store is cold storage; *blob.Store is one.
type Store interface {
	Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error)
	Download(ctx context.Context, name string, w io.Writer) (blob.Info, error)
	Attributes(ctx context.Context, name string) (blob.Attributes, error)
	List(ctx context.Context, prefix string) iter.Seq2[blob.Attributes, error]
	Delete(ctx context.Context, name string) error
	Probe(ctx context.Context) error
}

// Retention is how long the shards keep each resolution; 0 is for ever.
type Retention struct{ Minutes, Hours, Days time.Duration }

// Until asks for everything before an instant, whatever the retention.
type Until struct {
	Before      time.Time // its day is not archived
	Resolutions []string
}

// Config configures an Archiver. Zero values give the defaults named here.
type Config struct {
	Shards  Shards // required
	Store   Store  // required
	Cluster string // its id, which objects carry

	Retention      Retention
	Until          *Until        // nil: the retention decides
	FileRows       int           // most rows of an object; 1,000,000
	PartitionGroup int           // partitions of one object are those of one number when divided by this; 16
	Interval       time.Duration // between two looks at a shard; 1 minute
	Settle         time.Duration // how long the number of old rows must not have changed; none
	LateInterval   time.Duration // between two seals of late rows; 1 day
	DropDelay      time.Duration // from a commit to the drop; none
	DeleteGrace    time.Duration // from an object's last use to its deletion; none
	MaxFilesPerDay int           // small objects of a day and group that are left alone; 8
	Pause          time.Duration // after each call, at most: no more than one and a half times what it took; none
	SpillDir       string        // folder for rows that wait to be written; the system's

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now
}

// Archiver moves rows of shards to cold storage.
type Archiver struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	started time.Time

	mu    sync.Mutex
	hints map[string]*hints // by shard
}

// New does no I/O.
func New(cfg Config) (*Archiver, error) {
	if cfg.Shards == nil || cfg.Store == nil {
		return nil, errors.New("make archiver: shards and store must be given")
	}
	for field, value := range map[*int]int{&cfg.FileRows: 1_000_000, &cfg.PartitionGroup: 16, &cfg.MaxFilesPerDay: 8} {
		if *field <= 0 {
			*field = value
		}
	}
	for field, value := range map[*time.Duration]time.Duration{&cfg.Interval: time.Minute, &cfg.LateInterval: 24 * time.Hour} {
		if *field <= 0 {
			*field = value
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Archiver{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), started: cfg.Now(), hints: map[string]*hints{},
	}, nil
}
