// Package shards calls the shard proxies of a cluster: any proxy of a shard, again and again within a bound.
//
// Every call made through it must be one that may be repeated after a lost answer. Callers are safe for concurrent use.
package shards

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// Pauses between the tries of one call, all proxies of the shard asked each time.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Config configures a Caller.
type Config struct {
	Snapshot func() *cluster.Snapshot // the last known state of the cluster, nil if there is none; required
	Client   *wire.Client             // required; its timeout bounds one try
	Patience time.Duration            // for a shard that is away; 1 minute
}

// Caller calls shards.
type Caller struct{ cfg Config }

// New does no I/O.
func New(cfg Config) *Caller {
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	return &Caller{cfg: cfg}
}

// IDs lists the shards of the topology.
func (c *Caller) IDs() []string {
	s := c.cfg.Snapshot()
	if s == nil {
		return nil
	}
	ids := make([]string, len(s.Topology.Shards))
	for i, shard := range s.Topology.Shards {
		ids[i] = shard.ID
	}
	return ids
}

// Partitions lists those that a shard owns.
func (c *Caller) Partitions(shard string) []int {
	s := c.cfg.Snapshot()
	if s == nil {
		return nil
	}
	return s.Topology.PartitionsOf(shard)
}

// JSON posts in (nil: gets) and decodes the answer into out.
func (c *Caller) JSON(ctx context.Context, shard, path string, in, out any) error {
	method, contentType, body := http.MethodGet, "", []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return wire.NewProblem(wire.CodeInternal, "encode request to %s: %v", path, err).WithCause(err)
		}
		method, contentType = http.MethodPost, wire.JSONType
	}
	reply, err := c.call(ctx, shard, method, path, contentType, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return wire.NewProblem(wire.CodeInternal, "decode answer of %s: %v", path, err).WithCause(err)
	}
	return nil
}

// Bytes posts in, or a body as it is, and returns the answer as it is.
func (c *Caller) Bytes(ctx context.Context, shard, path, contentType string, body []byte) ([]byte, error) {
	return c.call(ctx, shard, http.MethodPost, path, contentType, body)
}

// call asks the proxies of a shard until one answers, within the patience.
func (c *Caller) call(ctx context.Context, shard, method, path, contentType string, body []byte) ([]byte, error) {
	patience := time.Now().Add(c.cfg.Patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		reply, err := c.ask(ctx, shard, method, path, contentType, body)
		rest := pause/2 + rand.N(pause)
		if err == nil || !wire.Retryable(wire.CodeOf(err)) || time.Now().Add(rest).After(patience) {
			return reply, err
		}
		if wait.For(ctx, rest) != nil {
			return nil, err
		}
	}
}

// Rest waits after a call for the sake of others, to whom most of the time is left, whatever a call costs just now: one and a half times as
// long as the call took, but no longer than most.
func Rest(ctx context.Context, took, most time.Duration) error {
	return wait.For(ctx, min(took+took/2, most))
}

// ask tries each proxy of a shard once.
func (c *Caller) ask(ctx context.Context, shard, method, path, contentType string, body []byte) ([]byte, error) {
	var err error = wire.NewProblem(wire.CodeUnavailable, "shard %s has no proxy just now", shard)
	snapshot := c.cfg.Snapshot()
	if snapshot == nil {
		return nil, err
	}
	proxies := snapshot.ShardProxies(shard)
	rand.Shuffle(len(proxies), func(i, j int) { proxies[i], proxies[j] = proxies[j], proxies[i] })
	for _, proxy := range proxies {
		var reply *wire.Reply
		if reply, err = c.cfg.Client.Bytes(ctx, method, proxy.URL+path, contentType, body); err == nil {
			return reply.Body, nil
		}
		if !wire.Retryable(wire.CodeOf(err)) {
			return nil, err
		}
	}
	return nil, err
}
