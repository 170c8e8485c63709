// Package failover is the role that changes the primary of a shard when it is lost, and sees to it that every database of a shard has its place:
// the primary writable, replicas following it.
//
//	directory (proxies, topology) ──► watch ──HTTP──► shard proxies: is the primary healthy?
//	                                    │   ──SQL───► replicas: do they hear of it?
//	                                    ▼
//	                              facts ──► Decide: a plan, or why not
//	                                    │
//	                                    ▼
//	       ZooKeeper (topology, intent) ◄── run ──SQL──► old primary, new primary, other replicas
//
// The protocol, crash by crash, is in docs/failover.md.
//
// # Guarantees
//
//   - A plan is a function of facts; what is unknown never speaks for a change of the primary.
//   - The topology loses its primary before anything is done to a server, in one transaction with the intent that says what is being done. Every
//     step is noted before the next begins and may be repeated: whoever is killed, the next one goes on.
//   - Who acts on a shard holds its lock in ZooKeeper, and an epoch in the record of its failovers: one that lost the lock without noticing
//     can't write to either any more.
//   - What the new primary lacks the log brings back (INV-4); where it does not reach back that far, the change is refused.
//   - A server that holds what the new primary lacks is never made its replica, nor read.
//   - Every wait is bounded (INV-9).
//
// A Keeper is safe for concurrent use.
package failover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// Store is where the cluster keeps its topology and what is remembered of failovers; *zookeeper.Client is one.
type Store interface {
	Settings(ctx context.Context) (cluster.Settings, error)
	Topology(ctx context.Context) (cluster.Topology, int32, error)
	Failover(ctx context.Context, shard string) (cluster.Failover, int32, error)
	SetFailover(ctx context.Context, shard string, f cluster.Failover, version int32) (int32, error)
	SwitchTopology(ctx context.Context, shard string, f cluster.Failover, version int32, change func(*cluster.Shard) error) (int32, error)
	Lock(ctx context.Context, name string) (unlock func(), err error)
}

// Bounds tells what the log holds of a partition; an eventlog.Reader does.
type Bounds interface {
	Bounds(ctx context.Context, partition int) (eventlog.Bounds, error)
}

// Account is a user of the databases.
type Account struct{ User, Password string }

// Config configures a Keeper. Zero values give the defaults named here.
type Config struct {
	Owner    string                   // who this is: unlike every other process, also an earlier one of the same name; required
	Store    Store                    // required
	Snapshot func() *cluster.Snapshot // for the members of the cluster, nil as long as it is not known; required
	Client   *wire.Client             // for the shard proxies; required
	Log      Bounds                   // required

	Account   Account  // may change roles; required
	Replicate Account  // what replicas connect to their primary as; required
	Writers   []string // users whose sessions are ended on a primary that was replaced
	Schema    string   // "quipu"
	TLS       string   // see mysql.Config; replicas then use TLS as well

	Rules Rules
	// Automatic: primaries that are lost are replaced without being asked for it.
	Automatic bool
	// Rebuild is how databases that have diverged are filled anew without being asked for it; its shard and database are not used. Nil: they are not.
	Rebuild  *RebuildRequest
	Interval time.Duration // between two looks at a shard; 500 ms
	Confirm  time.Duration // how long proxies and replicas must agree without a break; 3 s
	Silence  time.Duration // how long a replica must not have heard of its primary; 3 s
	Timeout  time.Duration // of each question to a server or proxy; 2 s
	Fence    time.Duration // to make a lost primary refuse writes, in case it can be reached; 1 s
	CatchUp  time.Duration // for the new primary to execute what it has received; 5 s
	Drain    time.Duration // the same in a planned change; 20 s
	Rejoin   time.Duration // between two tries to make a database follow; 5 s

	// Progress is told each step, nil: nobody is.
	Progress   func(shard, step string)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now
}

func (c Config) withDefaults() Config {
	for field, value := range map[*time.Duration]time.Duration{
		&c.Interval: 500 * time.Millisecond, &c.Confirm: 3 * time.Second, &c.Silence: 3 * time.Second, &c.Timeout: 2 * time.Second,
		&c.Fence: time.Second, &c.CatchUp: 5 * time.Second, &c.Drain: 20 * time.Second, &c.Rejoin: 5 * time.Second,
		&c.Rules.Pause: 2 * time.Minute, &c.Rules.Period: time.Hour,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	for field, value := range map[*int]int{&c.Rules.MaxAtOnce: 4, &c.Rules.MaxPerShard: 3} {
		if *field <= 0 {
			*field = value
		}
	}
	if c.Progress == nil {
		c.Progress = func(string, string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Keeper keeps the databases of shards in their places.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	mu    sync.Mutex
	pools map[string]*mysql.DB // by address
	heard map[string]heard     // by id of a replica
}

// heard is the last sign of life that a replica had of its primary.
type heard struct {
	sign string
	at   time.Time
}

// Errors of this package.
var (
	ErrRefused = errors.New("the primary is not changed")
	ErrAborted = errors.New("the change of the primary was taken back")
)

// New does no I/O.
func New(cfg Config) (*Keeper, error) {
	if cfg.Owner == "" || cfg.Store == nil || cfg.Snapshot == nil || cfg.Client == nil || cfg.Log == nil {
		return nil, errors.New("make failover keeper: owner, store, snapshot, client and log must be given")
	}
	if cfg.Account.User == "" || cfg.Replicate.User == "" {
		return nil, errors.New("make failover keeper: its account and that of replicas must be given")
	}
	cfg = cfg.withDefaults()
	return &Keeper{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer),
		pools: map[string]*mysql.DB{}, heard: map[string]heard{},
	}, nil
}

// Close closes the connections to all databases.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, pool := range k.pools {
		errs = append(errs, pool.Close())
	}
	clear(k.pools)
	return errors.Join(errs...)
}

// Bounds of a pool: a question, and a change beside it.
const (
	poolConnections  = 3
	longestStatement = 15 * time.Second
)

// server returns the pool of a database.
func (k *Keeper) server(d cluster.Database) (*mysql.DB, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if pool := k.pools[d.Address]; pool != nil {
		return pool, nil
	}
	pool, err := mysql.Open(mysql.Config{
		ID: d.ID, Address: d.Address, User: k.cfg.Account.User, Password: k.cfg.Account.Password, Schema: k.cfg.Schema, TLS: k.cfg.TLS,
		MaxConnections: poolConnections, StatementTimeout: longestStatement, DialTimeout: k.cfg.Timeout,
	})
	if err != nil {
		return nil, fmt.Errorf("reach database %s: %w", d.ID, err)
	}
	k.pools[d.Address] = pool
	return pool, nil
}

func (k *Keeper) source() mysql.Source {
	return mysql.Source{User: k.cfg.Replicate.User, Password: k.cfg.Replicate.Password, TLS: k.cfg.TLS != ""}
}
