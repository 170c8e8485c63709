// Package shardproxy is the guard of one shard: the only way by which other processes reach its databases. It applies flushes on
// the primary, answers reads from a replica that keeps up or else from the primary, watches the health of every
// database, and makes time partitions ahead of need.
//
//	Apply, Claim, import,
//	steps of the roll-up,
//	changes of the archive ► admission ──► primary (one at a time by role in the topology)
//	Stats, Top ────────────► kept answers, what is missing once ─┐
//	lookup ────────────────► admission ──► replica within the lag bound → primary → replica beyond it, labelled stale
//	rows for the archive ──► admission ──► replica, if it has them frozen → primary
//	SQL of people ─────────► admission ──► replica, under the analysts' account
//	Checkpoints, references ─────────────► every database
//	                             ▲
//	         prober: reads each database's checkpoints with hysteresis; unknown is not healthy
//
// # Guarantees
//
//   - A database is used only after a probe found that it belongs to this shard of this cluster and has a schema that this
//     build knows.
//   - Every answer names the database that gave it and its as-of; it says stale when it comes from a replica beyond the lag bound,
//     or when a promotion set as-of back (INV-8).
//   - Writers are slowed down while the primary suffers or replicas fall behind (throttle).
//   - Answers of closed ranges are kept until a late event touches them, whichever proxy applied it; those of open ones for about a second. A kept answer is
//     the answer at the as-of that it says (docs/caching.md). With no database left, what is kept is answered, labelled stale.
//   - Calls wait in bounded queues by class and are refused with 429 beyond; every statement has a deadline (INV-9).
//   - Topology is followed as last known; no call waits for it (INV-10).
//
// A Proxy is safe for concurrent use. Run must be running for calls to be served.
package shardproxy

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql/analyst"
	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
)

// Account is a database user.
type Account struct{ User, Password string }

// Config configures a Proxy. Zero values give the defaults named here.
type Config struct {
	ShardID    string
	Zone       string                       // of this process, for callers that don't tell theirs
	ID         string                       // of this proxy, part of the ids of queries: the member's id
	Snapshot   func() *cluster.Snapshot     // the last known state of the cluster, nil if there is none; required
	Changed    func() <-chan struct{}       // closed at the next change of it; required
	EventTypes func() map[string]event.Type // registered types; optional

	Apply, Read, Monitor Account
	Analyst              Account // of people's SQL; without a user there is none
	Schema               string  // "quipu"
	TLS                  string  // see mysql.Config

	MaxLag         time.Duration // of a replica that is read, and of an answer that is not stale; 5 s
	ApplyTimeout   time.Duration // of an Apply, a Claim or an import; 20 s
	PointTimeout   time.Duration // of a read of keys; 5 s
	SeriesTimeout  time.Duration // of a read of keys over time; 8 s
	ScanTimeout    time.Duration // of a ranking; 20 s
	AdminTimeout   time.Duration // of one statement of everything else that reads; 20 s
	AnalystTimeout time.Duration // of a statement of a person, its rows' reading included; 30 s

	ApplyConnections   int // to the primary, for flushes; 4
	ReadConnections    int // to each database; 16
	AnalystConnections int // to each database, for people; 2
	CachedKeys         int // key ids kept in memory; 1,000,000

	ThrottleLag      time.Duration // of a replica, beyond which writers are slowed down; 0: never
	ThrottleSlowdown int           // times the usual cost of a row, beyond which writers are slowed down; 0: never
	Cache            CacheConfig   // of answers

	ProbeInterval     time.Duration // 500 ms
	ProbeTimeout      time.Duration // 2 s
	PartitionInterval time.Duration // between two looks at the time partitions; 1 minute

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now
}

func (c Config) withDefaults() Config {
	for field, value := range map[*time.Duration]time.Duration{
		&c.MaxLag: 5 * time.Second, &c.ApplyTimeout: 20 * time.Second, &c.PointTimeout: 5 * time.Second, &c.ScanTimeout: 20 * time.Second,
		&c.SeriesTimeout: 8 * time.Second, &c.AdminTimeout: 20 * time.Second, &c.AnalystTimeout: 30 * time.Second,
		&c.ProbeInterval: 500 * time.Millisecond, &c.ProbeTimeout: 2 * time.Second, &c.PartitionInterval: time.Minute,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	for field, value := range map[*int]int{&c.ApplyConnections: 4, &c.ReadConnections: 16, &c.AnalystConnections: 2} {
		if *field <= 0 {
			*field = value
		}
	}
	c.Cache = c.Cache.withDefaults()
	if c.EventTypes == nil {
		c.EventTypes = func() map[string]event.Type { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Proxy guards one shard.
type Proxy struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	databases atomic.Pointer[databases]
	turn      atomic.Uint64 // spreads reads over replicas
	tide      tide
	guard     *guard.Guard
	parser    *analyst.Parser
	throttle  *throttle

	cache   *resultCache
	feed    *feed
	flights *flights

	flushes, small, points, scans, rollups *class
	archives, exports, asks, analysts      *class
}

// Room for calls that wait for a place in their class, a place.
const (
	smallCalls      = 8  // heartbeats, claims, imports at a time
	scanCalls       = 2  // rankings at a time: each keeps a core busy
	rollupCalls     = 1  // steps of a roll-up at a time: they follow each other
	archiveCalls    = 1  // changes of the archive at a time: they follow each other
	exportCalls     = 2  // portions of rows for the archive at a time: each keeps a core busy
	analystsWaiting = 4  // statements of people that may wait for each place
	waitingAPlace   = 16 // calls that may wait for each place
	spareConnection = 2  // for key ids and time partitions beside the transactions
)

// New does no I/O.
func New(cfg Config) (*Proxy, error) {
	cfg = cfg.withDefaults()
	if cfg.ShardID == "" || cfg.Snapshot == nil || cfg.Changed == nil {
		return nil, fmt.Errorf("make shard proxy: shard, snapshot and its changes must be given")
	}
	m := newMetrics(cfg.Registerer)
	p := &Proxy{
		guard: newGuard(cfg), parser: analyst.NewParser(), throttle: newThrottle(cfg, m),
		cfg: cfg, log: cfg.Logger.With("shard", cfg.ShardID), metrics: m,
		flushes: newClass("flush", cfg.ApplyConnections, waitingAPlace, m),
		small:   newClass("small", smallCalls, waitingAPlace, m),
		points:  newClass("point", cfg.ReadConnections, waitingAPlace, m),
		scans:   newClass("scan", scanCalls, waitingAPlace, m),
		rollups: newClass("rollup", rollupCalls, waitingAPlace, m),

		archives: newClass("archive", archiveCalls, waitingAPlace, m),
		analysts: newClass("analyst", cfg.AnalystConnections, analystsWaiting, m),
		exports:  newClass("export", exportCalls, waitingAPlace, m),

		asks:    newClass("ask", cfg.Cache.Waiters+cfg.ReadConnections*(1+waitingAPlace)+scanCalls*(1+waitingAPlace), 1, m),
		cache:   newResultCache(cfg.Cache.Bytes, m.cache),
		flights: newFlights(cfg.Cache.Waiters, m.cache),
	}
	p.feed = newFeed(p, cfg.Cache.Changes)
	return p, nil
}

// newGuard makes what watches the statements of all pools.
func newGuard(cfg Config) *guard.Guard {
	return guard.New(guard.Config{
		Name: cfg.ShardID + "~" + cfg.ID,
		Deadlines: map[guard.Class]time.Duration{
			guard.Point: cfg.PointTimeout, guard.Series: cfg.SeriesTimeout, guard.Top: cfg.ScanTimeout, guard.Admin: cfg.AdminTimeout, guard.Write: cfg.ApplyTimeout,
			guard.Analyst: cfg.AnalystTimeout,
		},
		Logger: cfg.Logger.With("shard", cfg.ShardID), Registerer: cfg.Registerer,
	})
}

// Run follows the topology and late changes, probes the databases and makes time partitions until ctx ends. It waits for the queries under way.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.flights.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.feed.run(ctx) })
	group.Go(func() error { return p.followTopology(ctx) })
	group.Go(func() error { return p.prepareAhead(ctx) })
	group.Go(func() error { return p.guard.Run(ctx) })
	return group.Wait()
}

// Ready tells why no call can be served just now, or nil.
func (p *Proxy) Ready(context.Context) error {
	all := p.databases.Load()
	if all == nil {
		return wire.NewProblem(wire.CodeUnavailable, "the topology of shard %s is not known yet", p.cfg.ShardID)
	}
	var reason error = wire.NewProblem(wire.CodeUnavailable, "shard %s has no databases", p.cfg.ShardID)
	for _, d := range all.list {
		h := d.health.Load()
		if h.healthy {
			return nil
		}
		reason = h.reason
	}
	return problemOf(reason)
}
