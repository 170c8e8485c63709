// Package proxyclient makes the internal calls to the cluster proxies: typed, spread over those that live, tried on another
// one when that may help.
//
// Every error is a *wire.Problem. All calls may be repeated: Apply and Claim compare and set, the others read or overwrite.
// A Client starts no goroutines and is safe for concurrent use.
package proxyclient

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

// Config configures a Client. Zero values give the defaults named here.
type Config struct {
	URLs         func() []string         // base addresses of the live cluster proxies, asked before each try; this or Servers is required
	Servers      func() []balance.Server // the same with their zones
	Zone         string                  // of this process: cluster proxies of the same zone come first
	Client       *wire.Client            // required
	HedgeShare   float64                 // questions put to a second proxy as well when the first is slow, altogether; 0.03, negative for none
	Attempts     int                     // tries a call; 3
	Timeout      time.Duration           // of a call whose context has no deadline; 15 s
	ApplyTimeout time.Duration           // the same for Apply; 30 s
	Registerer   prometheus.Registerer
}

// Client calls cluster proxies.
type Client struct {
	cfg      Config
	metrics  *metrics
	balancer *balance.Balancer
}

// New returns a client. It does no I/O.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.ApplyTimeout <= 0 {
		cfg.ApplyTimeout = 30 * time.Second
	}
	switch {
	case cfg.HedgeShare == 0:
		cfg.HedgeShare = 0.03
	case cfg.HedgeShare < 0:
		cfg.HedgeShare = 0
	}
	if cfg.Servers == nil {
		cfg.Servers = unzoned(cfg.URLs)
	}
	m := newMetrics(cfg.Registerer)
	return &Client{cfg: cfg, metrics: m, balancer: balance.New(balance.Config{
		Attempts: cfg.Attempts, Zone: cfg.Zone, HedgeShare: cfg.HedgeShare,
		OnRetry: m.Retried, OnBreaker: m.Breaker, OnHedge: m.Hedged, OnEject: m.EjectedServer,
	})}
}

func unzoned(urls func() []string) func() []balance.Server {
	return func() []balance.Server {
		list := urls()
		servers := make([]balance.Server, len(list))
		for i, url := range list {
			servers[i].URL = url
		}
		return servers
	}
}

// Apply adds rows and moves their partition's checkpoint, in one transaction. The request is not kept.
func (c *Client) Apply(ctx context.Context, r *wire.ApplyRequest) (*wire.ApplyAnswer, error) {
	body := wire.EncodeApply(nil, r)
	out := &wire.ApplyAnswer{}
	err := c.do(ctx, "apply", c.cfg.ApplyTimeout, func(ctx context.Context, base string) error {
		target := base + wire.PathApply + "?partition=" + url.QueryEscape(strconv.Itoa(r.Partition))
		reply, err := c.cfg.Client.Bytes(ctx, http.MethodPost, target, wire.ApplyType, body)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(reply.Body, out); err != nil {
			return wire.NewProblem(wire.CodeInternal, "decode answer of %s: %v", base, err).WithCause(err)
		}
		return nil
	})
	return orNil(out, err)
}

// Claim takes over a partition and returns its checkpoint with the new epoch. A try whose reply is lost may have raised the
// epoch once more than needed.
func (c *Client) Claim(ctx context.Context, r wire.ClaimRequest) (*wire.Checkpoint, error) {
	return post[wire.Checkpoint](ctx, c, "claim", wire.PathClaim, r)
}

// Checkpoints lists the checkpoints of all partitions as every database has them, and the databases that are missing.
func (c *Client) Checkpoints(ctx context.Context) (*wire.CheckpointsAnswer, error) {
	out := &wire.CheckpointsAnswer{}
	err := c.do(ctx, "checkpoints", c.cfg.Timeout, func(ctx context.Context, base string) error {
		return c.cfg.Client.JSON(ctx, http.MethodGet, base+wire.PathCheckpoints, nil, out)
	})
	return orNil(out, err)
}

// Stats asks for the aggregates of keys. Keys of missing partitions are left out of the answer and told in its coverage.
func (c *Client) Stats(ctx context.Context, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	return ask[wire.StatsAnswer](ctx, c, "stats", wire.PathStats, r)
}

// Kept asks for what is kept of questions of one key each, at most wire.MaxKept, all as JSON. Answers come in the same order, "null" where nothing is kept.
func (c *Client) Kept(ctx context.Context, questions [][]byte) ([][]byte, error) {
	var body []byte
	for _, q := range questions {
		body = append(append(body, q...), '\n')
	}
	reply, err := c.askRaw(ctx, "kept", wire.PathKept, wire.LinesType, body)
	if err != nil {
		return nil, err
	}
	answers := bytes.Split(bytes.TrimSuffix(reply, []byte("\n")), []byte("\n"))
	if len(answers) != len(questions) {
		return nil, wire.NewProblem(wire.CodeInternal, "%d answers to %d questions", len(answers), len(questions))
	}
	return answers, nil
}

// Top asks for the keys with the largest counts.
func (c *Client) Top(ctx context.Context, r *wire.TopRequest) (*wire.TopAnswer, error) {
	return ask[wire.TopAnswer](ctx, c, "top", wire.PathTop, r)
}

// LookupKey asks what is known of a key.
func (c *Client) LookupKey(ctx context.Context, r *wire.KeyRequest) (*wire.KeyInfo, error) {
	return ask[wire.KeyInfo](ctx, c, "lookup_key", wire.PathKeyInfo, r)
}

// ImportKeys sets titles and owners of keys, at most wire.MaxKeysPerImport of them. After an error some may be set.
func (c *Client) ImportKeys(ctx context.Context, r *wire.KeysImport) (*wire.KeysImported, error) {
	return post[wire.KeysImported](ctx, c, "import_keys", wire.PathKeysImport, r)
}

func post[Out any](ctx context.Context, c *Client, call, path string, in any) (*Out, error) {
	out := new(Out)
	err := c.do(ctx, call, c.cfg.Timeout, func(ctx context.Context, base string) error {
		return c.cfg.Client.JSON(ctx, http.MethodPost, base+path, in, out)
	})
	return orNil(out, err)
}

func orNil[Out any](out *Out, err error) (*Out, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ask is post for a question: it may go to two proxies at once.
func ask[Out any](ctx context.Context, c *Client, call, path string, in any) (*Out, error) {
	ctx, cancel := within(ctx, c.cfg.Timeout)
	defer cancel()
	begin := time.Now()
	out, err := balance.Ask(ctx, c.balancer, call, c.cfg.Servers, func(ctx context.Context, base string) (*Out, error) {
		out := new(Out)
		return out, c.cfg.Client.JSON(ctx, http.MethodPost, base+path, in, out)
	})
	c.metrics.called(call, err, time.Since(begin))
	return out, err
}

// askRaw is ask for a body and an answer as they are.
func (c *Client) askRaw(ctx context.Context, call, path, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := within(ctx, c.cfg.Timeout)
	defer cancel()
	begin := time.Now()
	out, err := balance.Ask(ctx, c.balancer, call, c.cfg.Servers, func(ctx context.Context, base string) ([]byte, error) {
		reply, err := c.cfg.Client.Bytes(ctx, http.MethodPost, base+path, contentType, body)
		if err != nil {
			return nil, err
		}
		return reply.Body, nil
	})
	c.metrics.called(call, err, time.Since(begin))
	return out, err
}

func (c *Client) do(ctx context.Context, call string, timeout time.Duration, fn func(context.Context, string) error) error {
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	begin := time.Now()
	err := c.balancer.Do(ctx, call, c.cfg.Servers, fn)
	c.metrics.called(call, err, time.Since(begin))
	return err
}

// within bounds a call that has no deadline yet.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}
