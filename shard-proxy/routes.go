package shardproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// Bounds of bodies.
const (
	maxJSONBytes  = 16 << 20
	smallApply    = 4 << 10 // an Apply of this size takes the server hardly any time: it need not wait behind large ones
	firstBodySize = 64 << 10
)

// Register adds the internal calls to a router. They need the scope internal.
func (p *Proxy) Register(e *echo.Echo, v *auth.Verifier) {
	g := e.Group("", v.Require(auth.Internal))
	g.POST(wire.PathApply, p.served("apply", p.cfg.ApplyTimeout, p.serveApply))
	g.POST(wire.PathClaim, p.served("claim", p.cfg.ApplyTimeout, p.json(p.small, answering(p.claim))))
	g.POST(wire.PathStats, p.served("stats", p.cfg.PointTimeout, p.json(p.points, answering(p.stats))))
	g.POST(wire.PathTop, p.served("top", p.cfg.ScanTimeout, p.json(p.scans, answering(p.top))))
	g.POST(literal(wire.PathKeyInfo), p.served("lookup_key", p.cfg.PointTimeout, p.json(p.points, answering(p.lookupKey))))
	g.POST(literal(wire.PathKeysImport), p.served("import_keys", p.cfg.ApplyTimeout, p.json(p.small, answering(p.importKeys))))
	g.POST(literal(wire.PathRollupClaim), p.served("claim_rollup", p.cfg.ApplyTimeout, p.json(p.small, answering(p.claimRollup))))
	g.POST(literal(wire.PathRollupStep), p.served("step_rollup", p.cfg.ApplyTimeout, p.json(p.rollups, answering(p.stepRollup))))
	g.GET(wire.PathRollup, p.served("rollup", p.cfg.PointTimeout, p.serveRollup))
	g.GET(wire.PathCheckpoints, p.served("checkpoints", p.cfg.PointTimeout, p.serveCheckpoints))
}

// literal escapes the colons that the router would take for parameters.
func literal(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

type handler func(ctx context.Context, c echo.Context) error

// served bounds a call's time, counts it and turns its error into a problem.
func (p *Proxy) served(call string, timeout time.Duration, h handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(c.Request().Context(), timeout)
		defer cancel()
		err := problemOf(h(ctx, c))
		p.metrics.called(call, err, time.Since(begin))
		return err
	}
}

// answering makes a typed call of JSON in, JSON out.
func answering[In, Out any](answer func(context.Context, *In) (*Out, error)) func(context.Context, []byte) (any, error) {
	return func(ctx context.Context, body []byte) (any, error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			problem := wire.NewProblem(wire.CodeBadRequest, "decode request: %v", err).WithCause(err)
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				problem.ByteOffset = &syntax.Offset
			}
			return nil, problem
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
		body, err := readBody(c, maxJSONBytes)
		if err != nil {
			return err
		}
		out, err := answer(ctx, body)
		if err != nil {
			return err
		}
		return sendJSON(c, out)
	}
}

func sendJSON(c echo.Context, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return wire.NewProblem(wire.CodeInternal, "encode answer: %v", err).WithCause(err)
	}
	return c.JSONBlob(http.StatusOK, body)
}

// readBody reads a body of at most limit bytes.
func readBody(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if r.ContentLength > limit {
		return nil, tooLong(limit)
	}
	size := r.ContentLength
	if size < 0 {
		size = firstBodySize
	}
	buffer := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := buffer.ReadFrom(io.LimitReader(r.Body, limit+1))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || int64(buffer.Len()) > limit {
		return nil, tooLong(limit)
	}
	if err != nil {
		return nil, wire.NewProblem(wire.CodeBadRequest, "read body: %v", err).WithCause(err)
	}
	return buffer.Bytes(), nil
}

func tooLong(limit int64) *wire.Problem {
	return wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes", limit)
}
