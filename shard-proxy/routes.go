package shardproxy

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
)

// Bounds of bodies.
const (
	maxJSONBytes  = 16 << 20
	maxStatsBytes = 2 << 20 // wire.MaxKeysPerStats keys, with validators
	maxTopBytes   = 4 << 10
	smallApply    = 4 << 10 // an Apply of this size takes the server hardly any time: it need not wait behind large ones
)

// Register adds the internal calls to a router. They need the scope internal.
func (p *Proxy) Register(e *echo.Echo, v *auth.Verifier) {
	g := e.Group("", v.Require(auth.Internal))
	g.POST(wire.PathApply, p.served("apply", p.cfg.ApplyTimeout, p.serveApply))
	g.POST(wire.PathClaim, p.served("claim", p.cfg.ApplyTimeout, p.json(p.small, answering(p.claim))))
	g.POST(wire.PathStats, p.served("stats", p.statsTimeout(), p.serveStats))
	g.POST(httpserver.Path(wire.PathKept), p.served("kept", p.cfg.PointTimeout, p.serveKept))
	g.POST(wire.PathTop, p.served("top", p.cfg.ScanTimeout, p.serveTop))
	g.POST(httpserver.Path(wire.PathKeyInfo), p.served("lookup_key", p.cfg.PointTimeout, p.json(p.points, answering(p.lookupKey))))
	g.POST(httpserver.Path(wire.PathKeysImport), p.served("import_keys", p.cfg.ApplyTimeout, p.json(p.small, answering(p.importKeys))))
	g.POST(httpserver.Path(wire.PathRollupClaim), p.served("claim_rollup", p.cfg.ApplyTimeout, p.json(p.small, answering(p.claimRollup))))
	g.POST(httpserver.Path(wire.PathRollupStep), p.served("step_rollup", p.cfg.ApplyTimeout, p.json(p.rollups, answering(p.stepRollup))))
	g.GET(wire.PathRollup, p.served("rollup", p.cfg.PointTimeout, p.serveRollup))
	p.registerArchive(g)
	g.GET(wire.PathDatabases, p.served("databases", p.cfg.PointTimeout, p.serveDatabases))
	p.registerQueries(g)
	g.POST(wire.PathSQL, p.served("sql", p.cfg.AnalystTimeout, p.serveSQL))
	g.GET(wire.PathCheckpoints, p.served("checkpoints", p.cfg.PointTimeout, p.serveCheckpoints))
}

type handler func(ctx context.Context, c echo.Context) error

// served bounds a call's time, counts it and turns its error into a problem. The call's context has the origin of its caller.
func (p *Proxy) served(call string, timeout time.Duration, h handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(wire.WithOrigin(c.Request().Context(), wire.OriginOfHeader(c.Request().Header)), timeout)
		defer cancel()
		if caller := wire.CallerOf(ctx); caller != "" {
			ctx = guard.WithCaller(ctx, caller)
		}
		err := problemOf(h(ctx, c))
		p.metrics.called(call, err, time.Since(begin))
		return err
	}
}

// answering makes a typed call of JSON in, JSON out.
func answering[In, Out any](answer func(context.Context, *In) (*Out, error)) func(context.Context, []byte) (any, error) {
	return func(ctx context.Context, body []byte) (any, error) {
		in := new(In)
		if err := httpserver.DecodeJSON(body, in); err != nil {
			return nil, err
		}
		return answer(ctx, in)
	}
}

// json serves a call within its class.
func (p *Proxy) json(within *class, answer func(context.Context, []byte) (any, error)) handler {
	return func(ctx context.Context, c echo.Context) error {
		if err := within.enter(ctx); err != nil {
			return err
		}
		defer within.leave()
		body, err := httpserver.ReadBody(c, maxJSONBytes)
		if err != nil {
			return err
		}
		out, err := answer(ctx, body)
		if err != nil {
			return err
		}
		return httpserver.SendJSON(c, out)
	}
}
