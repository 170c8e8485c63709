package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// Proxy reaches the shards. Its errors are *wire.Problem.
type Proxy interface {
	// Apply commits rows and checkpoint together. It must not keep the request after it has returned.
	Apply(ctx context.Context, r *wire.ApplyRequest) (*wire.ApplyAnswer, error)
	// Claim takes over a partition and returns its checkpoint.
	Claim(ctx context.Context, r wire.ClaimRequest) (*wire.Checkpoint, error)
}

// Leases say which writer works on a partition, so that two don't compete. An error means that nothing is known, never that a
// lease is lost.
type Leases interface {
	// TryAcquire takes the lease if it is free; asking again while we hold it is fine. If another has it, holder says who.
	TryAcquire(ctx context.Context, partition int) (held bool, holder string, err error)
	Release(ctx context.Context, partition int) error
}

// Config is what a Writer needs. Zero values of settings give the defaults named here.
type Config struct {
	ID     string // as registered in the cluster
	Log    eventlog.Reader
	Proxy  Proxy
	Leases Leases

	Cluster func() *cluster.Snapshot // nil while nothing is known
	Changed func() <-chan struct{}   // closed at the next change of Cluster

	DeadLetterDir string
	Dedup         Dedup
	Flush         Flush
	Read          Read

	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Dedup sets the de-duplication windows.
type Dedup struct {
	Window   time.Duration // 10 minutes; the same for every writer of a cluster
	MaxBytes int64         // of all windows together, taken as needed; 8 GiB. 25 bytes for each id that ingest admits are enough
}

// Flush sets when counts are written.
type Flush struct {
	Interval    time.Duration // between two flushes of a partition while the shards keep up; 1 s
	MaxInterval time.Duration // the longest that load lengthens it to; 15 s
	MaxRows     int           // rows of a partition that make a flush due at once; 50,000
	PerShard    int           // flushes of one shard under way at once; 2
	Timeout     time.Duration // one attempt; 15 s
	Drain       time.Duration // the last flush at a shutdown or before a release; 10 s
}

// Read sets how the log is read.
type Read struct {
	MaxBytes int           // of one read; 1 MiB
	Interval time.Duration // between two reads of a partition at its end; 40 ms
	Timeout  time.Duration // beyond the wait for an append; 10 s
}

// Intervals that are not settings.
const (
	settleEvery  = time.Second      // how often ownership is looked at without a change
	verifyEvery  = 5 * time.Second  // how often a lease that we hold is asked for again
	leaseTimeout = 3 * time.Second  // one call to Leases
	claimTimeout = 10 * time.Second // one call to Claim
	stoppedRetry = 30 * time.Second // how long a stopped partition waits before it looks again
	waitForRoom  = time.Second      // how long a partition whose window is full waits before it looks again
	rebuildBytes = 4 << 20          // one read while a window is rebuilt
)

// MaxFlushRows bounds Flush.MaxRows: the rest of what one request may carry is for the batch that goes beyond it.
const MaxFlushRows = wire.MaxApplyRows / 2

var errConfig = errors.New("invalid writer configuration")

func (c *Config) complete() error {
	setDefault(&c.Dedup.Window, 10*time.Minute)
	setDefault(&c.Dedup.MaxBytes, 8<<30)
	setDefault(&c.Flush.Interval, time.Second)
	setDefault(&c.Flush.MaxInterval, 15*time.Second)
	setDefault(&c.Flush.MaxRows, 50_000)
	setDefault(&c.Flush.PerShard, 2)
	setDefault(&c.Flush.Timeout, 15*time.Second)
	setDefault(&c.Flush.Drain, 10*time.Second)
	setDefault(&c.Read.MaxBytes, 1<<20)
	setDefault(&c.Read.Interval, 40*time.Millisecond)
	setDefault(&c.Read.Timeout, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	switch {
	case c.ID == "":
		return fmt.Errorf("%w: id is empty", errConfig)
	case c.Log == nil || c.Proxy == nil || c.Leases == nil || c.Cluster == nil || c.Changed == nil:
		return fmt.Errorf("%w: a part is missing", errConfig)
	case c.DeadLetterDir == "":
		return fmt.Errorf("%w: dead letter directory is empty", errConfig)
	case c.Dedup.Window < time.Millisecond || c.Dedup.MaxBytes < 0:
		return fmt.Errorf("%w: de-duplication window %s, %d bytes", errConfig, c.Dedup.Window, c.Dedup.MaxBytes)
	case c.Flush.Interval < 0 || c.Flush.MaxInterval < c.Flush.Interval:
		return fmt.Errorf("%w: flush interval %s must not exceed max interval %s", errConfig, c.Flush.Interval, c.Flush.MaxInterval)
	case c.Flush.MaxRows < 1 || c.Flush.MaxRows > MaxFlushRows:
		return fmt.Errorf("%w: max rows is %d, must be 1 to %d", errConfig, c.Flush.MaxRows, MaxFlushRows)
	case c.Flush.PerShard < 1 || c.Flush.Timeout < 0 || c.Flush.Drain < 0 || c.Read.MaxBytes < 1 || c.Read.Interval < 0 || c.Read.Timeout < 0:
		return fmt.Errorf("%w: a bound is negative", errConfig)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
