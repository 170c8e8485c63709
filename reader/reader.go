package reader

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// Proxy is what the reader asks of the cluster proxies. Its errors are *wire.Problem or those of the context.
type Proxy interface {
	Stats(ctx context.Context, request *wire.StatsRequest) (*wire.StatsAnswer, error)
	Top(ctx context.Context, request *wire.TopRequest) (*wire.TopAnswer, error)
	LookupKey(ctx context.Context, request *wire.KeyRequest) (*wire.KeyInfo, error)
}

// Keeper is a Proxy that answers many questions at once with what shards keep, without waiting for databases: "null" stands for what must be asked alone.
// Questions are the JSON of wire.StatsRequest, answers that of wire.StatsAnswer.
type Keeper interface {
	Kept(ctx context.Context, questions [][]byte) (answers [][]byte, err error)
}

// Config is what a Reader needs.
type Config struct {
	Proxy Proxy
	// EventTypes returns the registered event types by name, nil as long as they are not known.
	EventTypes func() map[string]event.Type
	// Desk is asked for people, and Shards lists the shards for them, nil as long as they are not known; without both people are told that they are away.
	Desk   Desk
	Shards func() []string
	// Cold is where what shards say is in cold storage can be read; nil if there is none.
	Cold Cold
	// Partition returns the partition that counts a key, and false as long as the number of partitions is not known; nil: it never is. It
	// spares reads of objects that can't hold the key.
	Partition func(eventType, key string) (int, bool)

	Now      func() time.Time // time.Now by default
	Limits   Limits
	Registry prometheus.Registerer
	Logger   *slog.Logger
}

// Limits bound what one request and all of them together may cost. Zero values give the defaults named here.
type Limits struct {
	Timeout      time.Duration // of one question to the proxies: 10 s
	ColdTimeout  time.Duration // of reading from cold storage what one question needs: 20 s
	MaxWait      time.Duration // longest ?wait=: 30 s
	Questions    int           // questions in flight: 256
	Cold         int           // of them, those that read from cold storage: 64, and always fewer than all
	Waits        int           // requests that wait: 1,024
	KeptBytes    int64         // of finished answers of closed ranges that are kept: 64 MiB; below 0: none
	ColdMaxBytes int64         // of objects that one request reads: 1 GiB
	SeriesPoints int           // points of one series: 10,080, a week of minutes or 420 days of hours
	BatchPoints  int           // points of all the series of one batch: 50,000
	BatchQueries int           // queries of one batch: 1,000
	BatchBytes   int64         // body of one batch: 1 MiB
	SQL          int           // requests with SQL of people in flight: 16
	SQLTimeout   time.Duration // of one of them: 5 minutes
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Timeout, 10*time.Second)
	setDefault(&l.ColdTimeout, 20*time.Second)
	setDefault(&l.MaxWait, 30*time.Second)
	setDefault(&l.Questions, 256)
	setDefault(&l.Waits, 1024)
	setDefault(&l.Cold, 64)
	l.Cold = min(l.Cold, max(1, l.Questions-1))
	setDefault(&l.KeptBytes, 64<<20)
	setDefault(&l.ColdMaxBytes, 1<<30)
	setDefault(&l.SeriesPoints, 10_080)
	setDefault(&l.BatchPoints, wire.MaxPointsPerStats)
	setDefault(&l.BatchQueries, 1000)
	setDefault(&l.BatchBytes, 1<<20)
	setDefault(&l.SQL, 16)
	setDefault(&l.SQLTimeout, 5*time.Minute)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Reader answers the HTTP count API.
type Reader struct {
	proxy     Proxy
	desk      Desk
	shards    func() []string
	types     func() map[string]event.Type
	cold      Cold
	partition func(eventType, key string) (int, bool)
	now       func() time.Time
	limits    Limits
	logger    *slog.Logger
	metrics   *metrics
	questions gate
	waits     gate
	sql       gate
	// coldQuestions is a bound of its own: however slow cold storage is, there is room for questions that don't need it.
	coldQuestions gate
	kept          *kept
	convoy        *convoy
	document      asset
	console       asset
	drain         chan struct{}
	draining      sync.Once
}

// New returns a reader. It does no I/O.
func New(cfg Config) (*Reader, error) {
	if cfg.Proxy == nil || cfg.EventTypes == nil || cfg.Logger == nil || cfg.Registry == nil {
		return nil, errors.New("make reader: proxy, event types, logger and registry must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Partition == nil {
		cfg.Partition = func(string, string) (int, bool) { return 0, false }
	}
	limits := cfg.Limits.withDefaults()
	m := newMetrics(cfg.Registry)
	return &Reader{
		proxy: cfg.Proxy, desk: cfg.Desk, shards: cfg.Shards, types: cfg.EventTypes, cold: cfg.Cold, partition: cfg.Partition, now: cfg.Now, limits: limits, logger: cfg.Logger, metrics: m,
		questions:     newGate("questions", limits.Questions, m.questions, m.refused),
		waits:         newGate("waits", limits.Waits, m.waiting, m.refused),
		sql:           newGate("requests with SQL", limits.SQL, m.sql, m.refused),
		coldQuestions: newGate("cold questions", limits.Cold, m.coldQuestions, m.refused),
		kept:          newKept(limits.KeptBytes, m),
		convoy:        newConvoy(cfg.Proxy, limits.Timeout, m),
		document:      documentAsset(),
		console:       consoleAsset(),
		drain:         make(chan struct{}),
	}, nil
}

// Run returns when ctx has ended. Requests that wait are then answered with what there is, so that a server can drain.
func (r *Reader) Run(ctx context.Context) error {
	<-ctx.Done()
	r.draining.Do(func() { close(r.drain) })
	return nil
}

// Ready returns an error as long as the reader can't answer anything: the event types are not known yet.
func (r *Reader) Ready(context.Context) error {
	if r.types() == nil {
		return errors.New("event types are not known yet")
	}
	return nil
}

// Register adds the routes. What asks for counts wants the scope read, SQL of people the scope sql, what looks into the databases the scope admin; the console page and the document are open.
func (r *Reader) Register(e *echo.Echo, v *auth.Verifier) {
	read := v.Require(auth.Read)
	get := func(path string, h echo.HandlerFunc, m ...echo.MiddlewareFunc) {
		e.GET(path, h, m...)
		e.HEAD(path, h, m...)
	}
	get("/v1/stats", r.getStats, read)
	e.POST(`/v1/stats\:batch`, r.postBatch, read)
	get("/v1/top", r.getTop, read)
	get("/v1/keys/:type/:key", r.getKey, read)
	get("/v1/event-types", r.getEventTypes, read)
	admin := v.Require(auth.Admin)
	get("/v1/queries", r.getQueries, admin)
	e.DELETE("/v1/queries/:id", r.deleteQuery, admin)
	e.POST("/v1/sql", r.postSQL, v.Require(auth.SQL))
	get("/openapi.json", r.document.serve)
	get("/", r.console.serve)
}
