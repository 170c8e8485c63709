package clusterproxy

import (
	"context"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
)

// maxJSONBytes bounds the body of every call but Apply.
const maxJSONBytes = 16 << 20

// overloadedFor is how long those are sent away who come while all slots are taken.
const overloadedFor = time.Second

// Register adds the internal calls to a router. They need the scope internal.
func (p *Proxy) Register(e *echo.Echo, v *auth.Verifier) {
	g := e.Group("", v.Require(auth.Internal))
	post := func(path, call, class string, timeout time.Duration, h handler) {
		g.POST(httpserver.Path(path), p.bounded(call, class, timeout, h))
	}
	post(wire.PathApply, "apply", write, p.cfg.ApplyTimeout, p.serveApply)
	post(wire.PathClaim, "claim", write, p.cfg.ApplyTimeout, p.serveClaim)
	post(wire.PathStats, "stats", question, p.cfg.ReadTimeout, p.serveStats)
	post(wire.PathKept, "kept", question, p.cfg.ReadTimeout, p.serveKept)
	post(wire.PathTop, "top", question, p.cfg.ReadTimeout, serve(p.top))
	post(wire.PathKeyInfo, "lookup_key", question, p.cfg.ReadTimeout, serve(p.lookupKey))
	post(wire.PathKeysImport, "import_keys", question, p.cfg.ApplyTimeout, serve(p.importKeys))
	post(wire.PathSQL, "sql", question, sqlTimeout, p.serveSQL)
	g.GET(wire.PathQueries, p.bounded("queries", question, p.cfg.ReadTimeout, p.serveQueries))
	g.DELETE(wire.PathQueries+"/:id", p.bounded("kill_query", question, killTimeout, p.serveKill))
	g.GET(wire.PathCheckpoints, p.bounded("checkpoints", write, p.cfg.ReadTimeout, p.serveCheckpoints)) // the log needs it to be trimmed
}

type handler func(ctx context.Context, c echo.Context) error

// bounded refuses a request when there is no room, bounds its time, and counts it. The calls that it leads to are on behalf of its caller.
func (p *Proxy) bounded(call, class string, timeout time.Duration, h handler) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		begin := time.Now()
		defer func() { p.metrics.called(call, err, time.Since(begin)) }()
		origin := wire.OriginOfHeader(c.Request().Header)
		if err := p.room.enter(origin.Member, class); err != nil {
			return err
		}
		defer p.room.leave(origin.Member, class)
		ctx, cancel := context.WithTimeout(wire.WithOrigin(c.Request().Context(), origin), timeout)
		defer cancel()
		return h(ctx, c)
	}
}

// serve decodes a JSON request, answers it and encodes the answer.
func serve[In, Out any](answer func(context.Context, *In) (*Out, error)) handler {
	return func(ctx context.Context, c echo.Context) error {
		in := new(In)
		if err := decode(c, in); err != nil {
			return err
		}
		out, err := answer(ctx, in)
		if err != nil {
			return err
		}
		return httpserver.SendJSON(c, out)
	}
}

func decode(c echo.Context, in any) error {
	body, err := httpserver.ReadBody(c, maxJSONBytes)
	if err != nil {
		return err
	}
	return httpserver.DecodeJSON(body, in)
}

// partitionOf reads the parameter that routes Apply.
func partitionOf(c echo.Context) (int, error) {
	text := c.QueryParam("partition")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, wire.NewProblem(wire.CodeBadRequest, "partition %q is no partition", text).WithField("partition")
	}
	return n, nil
}
