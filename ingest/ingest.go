// Package ingest is the role that takes events in: it checks them, routes each to its partition, and answers once they are durable. It
// owns the embedded event log and serves it to the writers.
//
// Guarantees. A 202 names how many events are durable and why each of the others is not (INV-2). A body that is not JSON is refused as a
// whole and nothing of it is kept; a bad event is rejected alone. Everything is bounded: bodies, events of a body, bytes in progress,
// event ids within the de-duplication window, the log; at a bound requests are refused with 429 or 503 and Retry-After (INV-9).
// At a stop every request in progress is answered with what became of it.
//
// The path of a request: read and decompress → scan, validate, hash, fingerprint (no allocation an event) → sort by partition → one batch
// a partition gathers from all requests → append → answer. A batch is appended at once when its partition was idle; while an
// append is under way, or Config.CommitDelay has not passed since the last, the next one gathers.
//
// Concurrency: handlers run at once; one goroutine a partition appends. All of them, and the trimmer, end with Run.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// Log is the event log that ingest owns; *embedded.Log is one.
type Log interface {
	eventlog.Appender
	eventlog.Reader
	eventlog.Trimmer
	Partitions() int
	Incarnation() string
	Now() (ms int64, err error) // log time
	Bytes() (used, limit int64) // of its files
}

// Registry records which log the cluster counts; *zookeeper.Client is one.
type Registry interface {
	// EnsureLog fails when the cluster counts another log.
	EnsureLog(ctx context.Context, incarnation string) error
}

// Defaults of Config.
const (
	DefaultMaxBody        = 8 << 20
	DefaultMaxEvents      = 10_000
	DefaultMaxInFlight    = 256 << 20
	DefaultCommitBytes    = 512 << 10
	DefaultWindow         = 10 * time.Minute
	DefaultWindowMaxIDs   = 300_000_000
	DefaultIdempotencyMax = 100_000
	DefaultRetention      = 24 * time.Hour
	DefaultTrimInterval   = 30 * time.Second
	DefaultTrimTimeout    = 20 * time.Second
	DefaultAppendTimeout  = 30 * time.Second
	DefaultDrain          = 10 * time.Second
)

// Config is what ingest needs. Zero values of bounds give the defaults above.
type Config struct {
	Log           Log // open; whoever opened it closes it after Run
	Registry      Registry
	Checkpoints   Checkpoints                  // nil: the log is never trimmed
	Replicas      Replicas                     // nil: the log is kept for every database, however full it is
	Types         func() map[string]event.Type // registered event types; nil while they are not known
	Fingerprinter event.Fingerprinter

	MaxBody     int64         // bytes of a body, decompressed
	MaxEvents   int           // of a body
	MaxInFlight int64         // bytes of all bodies in progress
	AcceptAhead time.Duration // how far ahead an event time may be; default event.MaxAhead
	AcceptLate  time.Duration // for event types that don't say; default event.DefaultAcceptLate

	CommitDelay time.Duration // least time between two appends of a partition; default none
	CommitBytes int           // a batch of this size does not wait

	Window         time.Duration // the writers' de-duplication window
	WindowMaxIDs   int64
	IdempotencyMax int // Idempotency-Keys remembered

	Retention    time.Duration // how long batches are kept while the log is not three quarters full; negative: no time at all
	TrimInterval time.Duration
	// Hold keeps everything that nobody said is in cold storage (wire.PathLogHold), however full the log is.
	Hold          bool
	TrimTimeout   time.Duration
	AppendTimeout time.Duration // how long a request waits for the log at most
	Drain         time.Duration // how long Run waits for requests in progress at a stop

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.MaxEvents, DefaultMaxEvents)
	setDefault(&c.MaxInFlight, DefaultMaxInFlight)
	setDefault(&c.AcceptAhead, event.MaxAhead)
	setDefault(&c.AcceptLate, event.DefaultAcceptLate)
	setDefault(&c.CommitBytes, DefaultCommitBytes)
	setDefault(&c.Window, DefaultWindow)
	setDefault(&c.WindowMaxIDs, DefaultWindowMaxIDs)
	setDefault(&c.IdempotencyMax, DefaultIdempotencyMax)
	setDefault(&c.Retention, DefaultRetention)
	setDefault(&c.TrimInterval, DefaultTrimInterval)
	setDefault(&c.TrimTimeout, DefaultTrimTimeout)
	setDefault(&c.AppendTimeout, DefaultAppendTimeout)
	setDefault(&c.Drain, DefaultDrain)
	c.Retention = max(c.Retention, 0)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Ingest is the role. Make it with New, register its routes, and Run it.
type Ingest struct {
	cfg      Config
	bodies   bodyReader
	window   *window
	seen     *seenKeys
	lanes    []*lane
	archived *archived
	requests sync.Pool
	metrics  *metrics

	jsonType []string

	ready    atomic.Bool
	active   atomic.Int64    // requests between admission and answer
	idle     chan struct{}   // gets a token when active reaches 0
	draining context.Context // done once Run's context is
	drain    context.CancelFunc
}

// New returns the role. It does no I/O.
func New(cfg Config) (*Ingest, error) {
	cfg = cfg.withDefaults()
	seen, err := newSeenKeys(cfg.IdempotencyMax)
	if err != nil {
		return nil, err
	}
	i := &Ingest{
		cfg: cfg, seen: seen, window: newWindow(int(cfg.Window/time.Second)+1, cfg.WindowMaxIDs), metrics: newMetrics(cfg.Registerer),
		bodies:   bodyReader{maxBody: cfg.MaxBody, inFlight: &inFlight{limit: cfg.MaxInFlight}},
		jsonType: []string{wire.JSONType}, idle: make(chan struct{}, 1),
	}
	i.requests.New = func() any { return newRequest(i.bodies.inFlight) }
	i.draining, i.drain = context.WithCancel(context.Background())
	for p := range cfg.Log.Partitions() {
		i.lanes = append(i.lanes, newLane(p, cfg.Log, pace{delay: cfg.CommitDelay, bytes: cfg.CommitBytes}, i.window, i.metrics))
	}
	i.archived = newArchived(len(i.lanes))
	i.watch(cfg.Registerer)
	return i, nil
}

// Register adds the role's routes.
func (i *Ingest) Register(e *echo.Echo, v *auth.Verifier) {
	e.POST("/v1/events", i.postEvents, v.Require(auth.Write))
	e.GET("/v1/event-types", i.getEventTypes, v.Require(auth.Read))
	e.HEAD("/v1/event-types", i.getEventTypes, v.Require(auth.Read))
	internal := v.Require(auth.Internal)
	e.GET(wire.PathLogRead, i.readLog, internal)
	e.GET(wire.PathLogSeek, i.seekLog, internal)
	e.GET(wire.PathLogBounds, i.boundsOfLog, internal)
	e.GET(wire.PathLogHold, i.getHold, internal)
	e.POST(wire.PathLogHold, i.postArchived, internal)
}

// Ready tells why events are not accepted just now, or nil.
func (i *Ingest) Ready(context.Context) error {
	switch {
	case i.draining.Err() != nil:
		return stopping()
	case !i.ready.Load():
		return errors.New("the de-duplication window is being counted")
	case i.cfg.Types() == nil:
		return errors.New("the event types are not known yet")
	}
	return nil
}

// Run checks the log's identity, counts the window, and accepts events until ctx ends. Then it refuses new requests, waits up to
// Config.Drain for those in progress, appends what has gathered, and returns.
func (i *Ingest) Run(ctx context.Context) error {
	defer i.drain()
	if err := i.cfg.Registry.EnsureLog(ctx, i.cfg.Log.Incarnation()); err != nil {
		return fmt.Errorf("compare the log with the cluster's: %w", err)
	}
	if err := i.countWindow(ctx); err != nil {
		return fmt.Errorf("count the de-duplication window: %w", err)
	}
	stop := make(chan struct{})
	var lanes, trimmer sync.WaitGroup
	for _, l := range i.lanes {
		lanes.Go(func() { l.run(stop) })
	}
	if i.cfg.Checkpoints != nil {
		trimmer.Go(func() { i.keepTrimming(ctx) })
	}
	i.ready.Store(true)
	<-ctx.Done()
	i.drain()
	err := i.awaitIdle()
	close(stop)
	lanes.Wait()
	trimmer.Wait()
	return err
}

// awaitIdle waits until every request has its answer.
func (i *Ingest) awaitIdle() error {
	timer := time.NewTimer(i.cfg.Drain)
	defer timer.Stop()
	for i.active.Load() > 0 {
		select {
		case <-i.idle:
		case <-timer.C:
			return fmt.Errorf("%d requests were still in progress after %s", i.active.Load(), i.cfg.Drain)
		}
	}
	return nil
}

// countWindow counts the event ids of the last W in the log, and finds where each partition ends.
func (i *Ingest) countWindow(ctx context.Context) error {
	now, err := i.cfg.Log.Now()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(windowReaders)
	for _, l := range i.lanes {
		group.Go(func() error { return i.countPartition(ctx, l, now-i.cfg.Window.Milliseconds()) })
	}
	return group.Wait()
}

// windowReaders is how many partitions are counted at once.
const windowReaders = 4

func (i *Ingest) countPartition(ctx context.Context, l *lane, since int64) error {
	from, err := i.cfg.Log.Seek(ctx, l.partition, since)
	if err != nil {
		return err
	}
	var fingerprints []uint64
	for {
		chunk, err := i.cfg.Log.Read(ctx, l.partition, from, 4<<20, 0)
		if err != nil {
			return err
		}
		if len(chunk.Records) == 0 {
			l.next.Store(from)
			return nil
		}
		for _, r := range chunk.Records {
			if fingerprints, err = event.DecodeFingerprints(fingerprints[:0], r.Data); err != nil {
				i.cfg.Logger.Warn("a batch in the log is not one that ingest writes", "partition", l.partition, "offset", r.Offset, "error", err)
				continue
			}
			i.window.add(withID(fingerprints), r.AppendTime)
		}
		from = chunk.Next
	}
}

func withID(fingerprints []uint64) int {
	n := 0
	for _, f := range fingerprints {
		if f != 0 {
			n++
		}
	}
	return n
}
