package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
)

// PrimaryConfig configures a Primary.
type PrimaryConfig struct {
	DB        *DB    // a pool that may write
	ClusterID string // what the database must say that it belongs to
	ShardID   string

	// EventTypes tells what is known of a type that the shard meets for the first time. Optional.
	EventTypes func() map[string]event.Type
	CachedKeys int // ids of keys kept in memory, about 40 bytes each; 1,000,000

	Logger     *slog.Logger          // optional
	Registerer prometheus.Registerer // optional
	Now        func() time.Time      // for time partitions; time.Now
}

// Primary writes to a shard's primary.
type Primary struct {
	cfg     PrimaryConfig
	db      *DB
	log     *slog.Logger
	metrics *metrics
	current atomic.Pointer[generation]
	ranges  timeRanges
	gaps    gaps
}

// NewPrimary does no I/O.
func NewPrimary(cfg PrimaryConfig) (*Primary, error) {
	if cfg.DB == nil || cfg.DB.cfg.ReadOnly {
		return nil, errors.New("open primary: needs a pool that may write")
	}
	cfg.CachedKeys = defaultTo(cfg.CachedKeys, 1_000_000)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.EventTypes == nil {
		cfg.EventTypes = func() map[string]event.Type { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("open primary: %w", err)
	}
	return &Primary{cfg: cfg, db: cfg.DB, log: cfg.Logger, metrics: m}, nil
}

// DB returns the pool.
func (p *Primary) DB() *DB { return p.db }

// generation is what was learnt from the database under one term. Under another term the same id may mean another key, so
// a generation is dropped whole.
type generation struct {
	term uint64
	keys *keyCache

	mu    sync.Mutex
	types map[string]uint16
}

// generation returns the current one, or reads the term to start one.
func (p *Primary) generation(ctx context.Context) (*generation, error) {
	if g := p.current.Load(); g != nil {
		return g, nil
	}
	var state struct {
		ClusterID string `db:"cluster_id"`
		ShardID   string `db:"shard_id"`
		Term      uint64 `db:"term"`
	}
	if err := p.db.sql.GetContext(ctx, &state, "SELECT cluster_id, shard_id, term FROM shard_state WHERE id = 1"); err != nil {
		return nil, fmt.Errorf("read shard state of %s: %w", p.db.cfg.ID, absent(err))
	}
	if state.ClusterID != p.cfg.ClusterID || state.ShardID != p.cfg.ShardID {
		return nil, fmt.Errorf("database %s holds shard %s of cluster %s, not %s of %s: %w",
			p.db.cfg.ID, state.ShardID, state.ClusterID, p.cfg.ShardID, p.cfg.ClusterID, ErrForeign)
	}
	g := &generation{term: state.Term, keys: newKeyCache(p.cfg.CachedKeys), types: map[string]uint16{}}
	if !p.current.CompareAndSwap(nil, g) {
		if other := p.current.Load(); other != nil {
			return other, nil
		}
	}
	return g, nil
}

// drop forgets a generation, unless another has replaced it already.
func (p *Primary) drop(g *generation) {
	if p.current.CompareAndSwap(g, nil) {
		p.metrics.termChanges.Inc()
		p.log.Warn("shard term changed, key ids dropped", "database", p.db.cfg.ID, "term", g.term)
	}
}

// CachedKeys returns how many key ids are in memory.
func (p *Primary) CachedKeys() int {
	if g := p.current.Load(); g != nil {
		return g.keys.len()
	}
	return 0
}
