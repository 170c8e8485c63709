package clusterproxy

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveStats answers PathStats. The answer to one key, as most are, is passed on as it came, without being decoded.
func (p *Proxy) serveStats(ctx context.Context, c echo.Context) error {
	body, err := httpserver.ReadBody(c, maxJSONBytes)
	if err != nil {
		return err
	}
	r := &wire.StatsRequest{}
	if err := httpserver.DecodeJSON(body, r); err != nil {
		return err
	}
	if err := checkStats(r); err != nil {
		return err
	}
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	if len(r.Keys) == 1 {
		shard, _ := s.ShardOf(s.PartitionOf(r.Type, r.Keys[0]))
		answer, err := p.askRaw(ctx, "stats", shard, wire.PathStats, wire.JSONType, body)
		switch {
		case err == nil && bytes.HasPrefix(answer, toldKey):
			return c.Blob(http.StatusOK, wire.JSONType, answer)
		case err != nil && wire.CodeOf(err) != wire.CodeMisrouted:
			return p.withoutAnswer(r, s, shard, err)
		}
	}
	out, err := p.stats(ctx, s, r)
	if err != nil {
		return err
	}
	return httpserver.SendJSON(c, out)
}

// toldKey begins an answer that tells a key, which no answer of a shard leaves out without saying so.
var toldKey = []byte(`{"keys":[{`)

// withoutAnswer returns the error of a request of which no part was answered.
func (p *Proxy) withoutAnswer(r *wire.StatsRequest, s *cluster.Snapshot, shard string, err error) error {
	keys, partitions := distinct(s, r)
	g := newStatsGathering(r, keys, partitions)
	g.failed(shard, partitions, err)
	_, err = g.answer(p)
	return err
}

// askRaw is askShard for a body and an answer as they are.
func (p *Proxy) askRaw(ctx context.Context, call, shard, path, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := withReserve(ctx)
	defer cancel()
	begin := time.Now()
	out, err := balance.Ask(ctx, p.balancer, call, func() []balance.Server { return p.proxiesOf(shard) }, func(ctx context.Context, base string) ([]byte, error) {
		reply, err := p.cfg.Client.Bytes(ctx, http.MethodPost, base+path, contentType, body)
		if err != nil {
			return nil, err
		}
		return reply.Body, nil
	})
	p.metrics.shard(call, shard, err, time.Since(begin))
	return out, atShard(shard, err)
}

// stats asks each shard for the keys of its partitions. Keys whose partition could not be asked are left out.
func (p *Proxy) stats(ctx context.Context, s *cluster.Snapshot, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	keys, partitions := distinct(s, r)
	g := newStatsGathering(r, keys, partitions)
	p.scatter(ctx, s, partitions, func(ctx context.Context, one part) error {
		out, err := askShard[wire.StatsAnswer](ctx, p, "stats", one.shard, wire.PathStats, g.ask(one))
		if err == nil {
			g.take(one, out)
		}
		return err
	}, g.done)
	return g.answer(p)
}

func checkStats(r *wire.StatsRequest) error {
	switch {
	case !event.ValidTypeName(r.Type):
		return wire.NewProblem(wire.CodeBadRequest, "%q is no event type's name", r.Type).WithField("type")
	case len(r.Keys) == 0 || len(r.Keys) > wire.MaxKeysPerStats:
		return wire.NewProblem(wire.CodeBadRequest, "%d keys, must be 1 to %d", len(r.Keys), wire.MaxKeysPerStats).WithField("keys")
	case r.From >= r.To:
		return wire.NewProblem(wire.CodeBadRequest, "the range from minute %d to %d is empty", r.From, r.To).WithField("to_minute")
	}
	for _, key := range r.Keys {
		if len(key) == 0 || len(key) > event.MaxKeyBytes {
			return wire.NewProblem(wire.CodeBadRequest, "a key has %d bytes, must be 1 to %d", len(key), event.MaxKeyBytes).WithField("keys")
		}
	}
	return nil
}

// distinct returns the keys of a request, each once, and their partitions.
func distinct(s *cluster.Snapshot, r *wire.StatsRequest) (keys []string, partitions []int) {
	seen := make(map[string]bool, len(r.Keys))
	for _, key := range r.Keys {
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
			partitions = append(partitions, s.PartitionOf(r.Type, key))
		}
	}
	return keys, partitions
}

// statsGathering puts the parts of a StatsAnswer together.
type statsGathering struct {
	*gathering
	request     *wire.StatsRequest
	keys        []string // each once
	partitionOf []int    // of each of keys

	validators map[string]string // by key

	mu    sync.Mutex
	found map[string]wire.KeyStats
	cold  []wire.ColdPart
	plan  []wire.PlanSegment
}

func newStatsGathering(r *wire.StatsRequest, keys []string, partitions []int) *statsGathering {
	g := &statsGathering{gathering: newGathering(partitions), request: r, keys: keys, partitionOf: partitions, found: map[string]wire.KeyStats{}}
	if len(r.Validators) == len(r.Keys) {
		g.validators = make(map[string]string, len(r.Keys))
		for i, validator := range r.Validators {
			g.validators[r.Keys[i]] = validator
		}
	}
	return g
}

// ask returns what a shard is asked for.
func (g *statsGathering) ask(one part) *wire.StatsRequest {
	r := *g.request
	r.Keys, r.Validators = make([]string, len(one.items)), nil
	for i, item := range one.items {
		r.Keys[i] = g.keys[item]
	}
	if g.validators != nil {
		r.Validators = make([]string, len(r.Keys))
		for i, key := range r.Keys {
			r.Validators[i] = g.validators[key]
		}
	}
	return &r
}

// take keeps a shard's answer. A key that it neither tells nor reports missing is missing all the same: never a confident 0.
func (g *statsGathering) take(one part, answer *wire.StatsAnswer) {
	g.answered(one, &answer.Provenance)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range answer.Keys {
		g.found[k.Key] = k
	}
	g.cold = append(g.cold, answer.Cold...)
	g.plan = append(g.plan, answer.Plan...)
	for _, item := range one.items {
		partition := g.partitionOf[item]
		if _, ok := g.found[g.keys[item]]; !ok && g.has(partition) {
			g.failed(one.shard, []int{partition}, wire.NewProblem(wire.CodeInternal, "shard %s left out a key that it was asked for", one.shard))
		}
	}
}

func (g *statsGathering) done(one part, err error) {
	if err != nil {
		g.failed(one.shard, one.partitions, err)
	}
}

// answer returns the keys in the order of the request.
func (g *statsGathering) answer(p *Proxy) (*wire.StatsAnswer, error) {
	provenance, err := g.provenance()
	if err != nil {
		return nil, err
	}
	p.metrics.missed("stats", provenance.Coverage.Missing)
	partitionOf := make(map[string]int, len(g.keys))
	for i, key := range g.keys {
		partitionOf[key] = g.partitionOf[i]
	}
	out := &wire.StatsAnswer{Keys: make([]wire.KeyStats, 0, len(g.request.Keys)), Provenance: provenance}
	points := 0
	for _, key := range g.request.Keys {
		if !g.has(partitionOf[key]) {
			continue
		}
		out.Keys = append(out.Keys, g.found[key])
		points += len(g.found[key].Points)
	}
	if points > wire.MaxPointsPerStats {
		return nil, wire.NewProblem(wire.CodeUnprocessable, "the answer has %d points, the limit is %d: ask for fewer keys, a shorter range or a coarser step", points, wire.MaxPointsPerStats)
	}
	return out, g.addCold(out)
}

// addCold adds what is in cold storage, and the plan, by shard.
func (g *statsGathering) addCold(out *wire.StatsAnswer) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortStableFunc(g.cold, func(a, b wire.ColdPart) int { return strings.Compare(a.Shard, b.Shard) })
	slices.SortStableFunc(g.plan, func(a, b wire.PlanSegment) int { return strings.Compare(a.Shard, b.Shard) })
	out.Cold, out.Plan = g.cold, g.plan
	objects := 0
	for i := range out.Cold {
		objects += len(out.Cold[i].Objects)
	}
	if objects > wire.MaxColdObjects {
		return wire.NewProblem(wire.CodeTooLarge, "the answer needs %d objects of cold storage, the limit is %d: ask for fewer keys, a shorter range or a coarser step", objects, wire.MaxColdObjects)
	}
	return nil
}
