// Package clusterproxy is the router: it takes the internal calls, knows which shard owns a partition, and forwards, scatters
// and gathers over the shard proxies that live. It never talks to MySQL.
//
//	writer ──Apply, Claim──►┐                      ┌─► shard proxy 1 of s1
//	reader ──Stats, Top────►│ cluster proxy ──by partition──► shard proxy 2 of s1
//	ingest ──Checkpoints───►┘      │               └─► shard proxy 1 of s2 …
//	                        Config.Snapshot: the last known topology and members
//
// Guarantees: no request waits for ZooKeeper (INV-10): a route comes from the snapshot at hand. A part that can't be had is
// told in the answer's coverage (INV-8) and fails the request only when nothing else is left. Requests, those of one caller, the bytes of
// Apply bodies, tries and times are bounded (INV-9); questions leave room for writers. Apply is forwarded as it came, without being decoded.
// A shard proxy that fails, hangs or answers worse than the others of its shard is left alone for a while (package balance).
//
// A Proxy starts no goroutines beyond a request's own and is safe for concurrent use.
package clusterproxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

// Config configures a Proxy. Zero values give the defaults named here.
type Config struct {
	Snapshot func() *cluster.Snapshot // the last known state of the cluster, nil if there is none; required
	Client   *wire.Client             // for calls to shard proxies; required

	Zone string // of this process: shard proxies of the same zone come first

	MaxInFlight   int           // requests at once, beyond which they are refused; a quarter is kept for writers; 1,024
	CallerShare   int           // percent of them that one caller may hold; 50
	MaxApplyBytes int64         // of Apply bodies held at once; 256 MiB
	Attempts      int           // tries of one call to a shard; 3
	HedgePercent  int           // of questions put to a second shard proxy when the first is slow; none by default
	EjectFor      time.Duration // how long a shard proxy that is worse than the others is left alone at first; 5 s
	ReadTimeout   time.Duration // of a request, retries included, if its caller does not set less; 10 s
	ApplyTimeout  time.Duration // the same for Apply and Claim; 30 s

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 1024
	}
	if c.CallerShare <= 0 {
		c.CallerShare = 50
	}
	if c.MaxApplyBytes <= 0 {
		c.MaxApplyBytes = 256 << 20
	}
	if c.ReadTimeout <= 0 {
		c.ReadTimeout = 10 * time.Second
	}
	if c.ApplyTimeout <= 0 {
		c.ApplyTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Proxy routes.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	balancer *balance.Balancer
	room     *room               // for requests
	bytes    *semaphore.Weighted // of Apply bodies
	routes   atomic.Pointer[routes]
}

// New returns a proxy. It does no I/O.
func New(cfg Config) *Proxy {
	cfg = cfg.withDefaults()
	m := newMetrics(cfg.Registerer)
	return &Proxy{
		cfg: cfg, log: cfg.Logger, metrics: m,
		balancer: balance.New(balance.Config{
			Attempts: cfg.Attempts, Zone: cfg.Zone, HedgeShare: float64(cfg.HedgePercent) / 100, EjectFor: cfg.EjectFor,
			OnRetry: m.Retried, OnBreaker: m.Breaker, OnHedge: m.Hedged, OnEject: m.EjectedServer,
		}),
		room:  newRoom(cfg.MaxInFlight, cfg.CallerShare, m),
		bytes: semaphore.NewWeighted(max(cfg.MaxApplyBytes, wire.MaxApplyBytes)),
	}
}

// Ready tells why requests can't be routed just now, or nil. Shards that are down are no reason: the others are served.
func (p *Proxy) Ready(context.Context) error {
	_, err := p.snapshot()
	return err
}

// snapshot returns the cluster as last known.
func (p *Proxy) snapshot() (*cluster.Snapshot, error) {
	if s := p.cfg.Snapshot(); s != nil {
		return s, nil
	}
	return nil, wire.NewProblem(wire.CodeUnavailable, "the cluster is not known yet").WithRetryAfter(time.Second)
}

// onShard makes a call to one of a shard's live proxies.
func (p *Proxy) onShard(ctx context.Context, call, shard string, fn func(ctx context.Context, base string) error) error {
	begin := time.Now()
	err := p.balancer.Do(ctx, call, func() []balance.Server { return p.proxiesOf(shard) }, fn)
	p.metrics.shard(call, shard, err, time.Since(begin))
	return atShard(shard, err)
}

// askShard puts a question to one of a shard's live proxies, and to a second one if the first is slow.
func askShard[Out any](ctx context.Context, p *Proxy, call, shard, path string, in any) (*Out, error) {
	begin := time.Now()
	out, err := balance.Ask(ctx, p.balancer, call, func() []balance.Server { return p.proxiesOf(shard) }, func(ctx context.Context, base string) (*Out, error) {
		out := new(Out)
		return out, p.cfg.Client.JSON(ctx, http.MethodPost, base+path, in, out)
	})
	p.metrics.shard(call, shard, err, time.Since(begin))
	return out, atShard(shard, err)
}

// routes are the shard proxies of a snapshot by shard, so that they are looked for once and not with every call.
type routes struct {
	of      *cluster.Snapshot
	byShard map[string][]balance.Server
}

func (p *Proxy) proxiesOf(shard string) []balance.Server {
	s := p.cfg.Snapshot()
	if s == nil {
		return nil
	}
	r := p.routes.Load()
	if r == nil || r.of != s {
		r = &routes{s, map[string][]balance.Server{}}
		for _, m := range s.Members[cluster.RoleShardProxy] {
			r.byShard[m.Shard] = append(r.byShard[m.Shard], balance.Server{URL: m.URL, Zone: m.Zone})
		}
		p.routes.Store(r)
	}
	return r.byShard[shard]
}

// atShard names the shard in an error of a call to it.
func atShard(shard string, err error) error {
	found, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return err
	}
	named := *found
	named.Detail = "shard " + shard + ": " + found.Detail
	return &named
}

// onPartition makes a call to the shard that owns a partition.
func (p *Proxy) onPartition(ctx context.Context, call string, partition int, fn func(ctx context.Context, base string) error) (shard string, err error) {
	return p.atOwner(partition, func(shard string) error { return p.onShard(ctx, call, shard, fn) })
}

// atOwner runs a call for the shard that owns a partition. If the shard says that it does not, and the topology has
// moved the partition meanwhile, it is run for the new owner, once.
func (p *Proxy) atOwner(partition int, call func(shard string) error) (shard string, err error) {
	s, err := p.snapshot()
	if err != nil {
		return "", err
	}
	shard, ok := s.ShardOf(partition)
	if !ok {
		return "", wire.NewProblem(wire.CodeBadRequest, "partition %d is none of the %d", partition, len(s.Topology.Partitions)).WithField("partition")
	}
	err = call(shard)
	if wire.CodeOf(err) != wire.CodeMisrouted {
		return shard, err
	}
	if moved, ok := p.movedTo(partition, shard); ok {
		p.metrics.Retried(wire.CodeMisrouted)
		return moved, call(moved)
	}
	return shard, err
}

// movedTo tells where a partition is by now, if no longer at the shard.
func (p *Proxy) movedTo(partition int, shard string) (string, bool) {
	now := p.cfg.Snapshot()
	if now == nil {
		return "", false
	}
	moved, ok := now.ShardOf(partition)
	return moved, ok && moved != shard
}
