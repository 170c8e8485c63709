package clusterproxy

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// killTimeout bounds a kill. A shard proxy tries for 10 s.
const killTimeout = 12 * time.Second

// serveQueries adds up what every shard proxy tells of its own statements. Each is asked by itself: another one of its shard can't tell.
func (p *Proxy) serveQueries(ctx context.Context, c echo.Context) error {
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	ctx, cancel := withReserve(ctx)
	defer cancel()
	path := wire.PathQueries
	if c.QueryParam("digests") == "true" {
		path += "?digests=true"
	}
	out := wire.QueriesAnswer{Queries: []wire.RunningQuery{}, Missing: unguarded(s)}
	var mu sync.Mutex // guards out
	var group errgroup.Group
	group.SetLimit(maxFanOut)
	for _, m := range s.Members[cluster.RoleShardProxy] {
		group.Go(func() error {
			answer := &wire.QueriesAnswer{}
			err := p.cfg.Client.JSON(ctx, http.MethodGet, m.URL+path, nil, answer)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Missing = append(out.Missing, missingMember(m, err))
				return nil
			}
			out.Queries, out.Digests = append(out.Queries, answer.Queries...), append(out.Digests, answer.Digests...)
			return nil
		})
	}
	_ = group.Wait() // the goroutines above return no errors
	slices.SortFunc(out.Queries, func(a, b wire.RunningQuery) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID)) })
	slices.SortFunc(out.Digests, func(a, b wire.QueryDigest) int {
		return cmp.Or(cmp.Compare(b.TotalSeconds, a.TotalSeconds), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Proxy, b.Proxy))
	})
	slices.SortFunc(out.Missing, func(a, b wire.MissingMember) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Proxy, b.Proxy))
	})
	return httpserver.SendJSON(c, out)
}

// unguarded lists the shards that no proxy lives of.
func unguarded(s *cluster.Snapshot) []wire.MissingMember {
	out := []wire.MissingMember{}
	for _, shard := range s.Topology.Shards {
		if len(s.ShardProxies(shard.ID)) == 0 {
			out = append(out, wire.MissingMember{Shard: shard.ID, Code: wire.CodeUnavailable, Detail: "no shard proxy is registered"})
		}
	}
	return out
}

func missingMember(m cluster.Member, err error) wire.MissingMember {
	out := wire.MissingMember{Shard: m.Shard, Proxy: m.ID, Code: wire.CodeInternal, Detail: err.Error()}
	if problem, ok := errors.AsType[*wire.Problem](err); ok {
		out.Code, out.Detail = problem.Code, problem.Detail
	}
	return out
}

// serveKill passes a kill on to the shard proxy that the id names.
func (p *Proxy) serveKill(ctx context.Context, c echo.Context) error {
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	id := c.Param("id")
	shard, proxy, _, ok := wire.SplitQueryID(id)
	if !ok {
		return wire.NewProblem(wire.CodeBadRequest, "%.200q is no id of a query: they look like s1~proxy~number", id).WithField("id")
	}
	for _, m := range s.ShardProxies(shard) {
		if m.ID != proxy {
			continue
		}
		out := &wire.QueryKilled{}
		if err := p.cfg.Client.JSON(ctx, http.MethodDelete, m.URL+wire.PathQueries+"/"+url.PathEscape(id), nil, out); err != nil {
			return atShard(shard, err)
		}
		return httpserver.SendJSON(c, out)
	}
	return wire.NewProblem(wire.CodeNotFound, "no shard proxy %.100s of shard %.100s is registered", proxy, shard)
}
