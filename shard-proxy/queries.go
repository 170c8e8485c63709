package shardproxy

import (
	"context"
	"errors"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// within says what the statements of a read are for, and gives it the time of its class. Call done when it has ended.
func (p *Proxy) within(ctx context.Context, class guard.Class) (_ context.Context, done context.CancelFunc) {
	return context.WithTimeout(guard.WithClass(ctx, class), p.guard.DeadlineOf(class))
}

func classOfStats(r *wire.StatsRequest) guard.Class {
	if r.Step == wire.StepNone {
		return guard.Point
	}
	return guard.Series
}

// killTimeout bounds how long a person waits for a statement's death.
const killTimeout = 10 * time.Second

func (p *Proxy) registerQueries(g *echo.Group) {
	g.GET(wire.PathQueries, p.served("queries", p.cfg.PointTimeout, p.serveQueries))
	g.DELETE(wire.PathQueries+"/:id", p.served("kill_query", killTimeout, p.serveKill))
}

// serveQueries tells what runs by way of this proxy, and if asked, what ran.
func (p *Proxy) serveQueries(_ context.Context, c echo.Context) error {
	out := wire.QueriesAnswer{Queries: []wire.RunningQuery{}, Missing: []wire.MissingMember{}}
	for _, q := range p.guard.Running() {
		out.Queries = append(out.Queries, wire.RunningQuery{
			ID: q.ID, Shard: p.cfg.ShardID, Database: q.Database, Connection: q.Connection, Class: string(q.Class), Caller: q.Caller, Began: q.Began, Deadline: q.Deadline,
			Seconds: q.Seconds, RowsExamined: q.RowsExamined, Ending: string(q.Ending), Digest: q.Digest, Statement: q.Statement,
		})
	}
	if c.QueryParam("digests") == "true" {
		for _, d := range p.guard.Digests() {
			out.Digests = append(out.Digests, wire.QueryDigest{
				ID: d.ID, Shard: p.cfg.ShardID, Proxy: p.cfg.ID, Class: string(d.Class), Text: d.Text, Count: d.Count, Errors: d.Errors, Killed: d.Killed,
				TotalSeconds: d.TotalSeconds, MaxSeconds: d.MaxSeconds, P50Seconds: d.P50Seconds, P95Seconds: d.P95Seconds, P99Seconds: d.P99Seconds,
				MaxExamined: d.MaxExamined, Last: d.Last,
			})
		}
	}
	return httpserver.SendJSON(c, out)
}

// serveKill ends a statement and answers once it is dead.
func (p *Proxy) serveKill(ctx context.Context, c echo.Context) error {
	id := c.Param("id")
	shard, proxy, number, ok := wire.SplitQueryID(id)
	if !ok || shard != p.cfg.ShardID || proxy != p.cfg.ID {
		return wire.NewProblem(wire.CodeNotFound, "no query %q runs by way of this proxy", id)
	}
	err := p.guard.Kill(ctx, number)
	switch {
	case errors.Is(err, guard.ErrUnknown):
		return wire.NewProblem(wire.CodeNotFound, "query %s does not run, or not any more", id)
	case errors.Is(err, guard.ErrWrite):
		return wire.NewProblem(wire.CodeConflict, "query %s writes: its own limit ends it", id)
	case err != nil:
		return err
	}
	p.log.Info("query killed as asked", "query", id, "caller", wire.CallerOf(ctx))
	return httpserver.SendJSON(c, wire.QueryKilled{ID: id})
}
