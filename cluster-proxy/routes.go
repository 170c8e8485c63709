package clusterproxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// maxJSONBytes bounds the body of every call but Apply.
const maxJSONBytes = 16 << 20

// overloadedFor is how long those are sent away who come while all slots are taken.
const overloadedFor = time.Second

// Register adds the internal calls to a router. They need the scope internal.
func (p *Proxy) Register(e *echo.Echo, v *auth.Verifier) {
	g := e.Group("", v.Require(auth.Internal))
	post := func(path, call string, timeout time.Duration, h handler) {
		g.POST(literal(path), p.bounded(call, timeout, h))
	}
	post(wire.PathApply, "apply", p.cfg.ApplyTimeout, p.serveApply)
	post(wire.PathClaim, "claim", p.cfg.ApplyTimeout, p.serveClaim)
	post(wire.PathStats, "stats", p.cfg.ReadTimeout, serve(p.stats))
	post(wire.PathTop, "top", p.cfg.ReadTimeout, serve(p.top))
	post(wire.PathKeyInfo, "lookup_key", p.cfg.ReadTimeout, serve(p.lookupKey))
	post(wire.PathKeysImport, "import_keys", p.cfg.ApplyTimeout, serve(p.importKeys))
	g.GET(wire.PathCheckpoints, p.bounded("checkpoints", p.cfg.ReadTimeout, p.serveCheckpoints))
}

// literal escapes the colons that the router would take for parameters.
func literal(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

type handler func(ctx context.Context, c echo.Context) error

// bounded refuses a request when all slots are taken, bounds its time, and counts it.
func (p *Proxy) bounded(call string, timeout time.Duration, h handler) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		begin := time.Now()
		defer func() { p.metrics.called(call, err, time.Since(begin)) }()
		if !p.slots.TryAcquire(1) {
			return wire.NewProblem(wire.CodeOverloaded, "%d requests are in flight", p.cfg.MaxInFlight).WithRetryAfter(overloadedFor)
		}
		defer p.slots.Release(1)
		p.metrics.inFlight.Inc()
		defer p.metrics.inFlight.Dec()
		ctx, cancel := context.WithTimeout(c.Request().Context(), timeout)
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
		return sendJSON(c, out)
	}
}

func decode(c echo.Context, in any) error {
	body, err := readBody(c, maxJSONBytes)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, in); err != nil {
		problem := wire.NewProblem(wire.CodeBadRequest, "decode request: %v", err).WithCause(err)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			problem.ByteOffset = &syntax.Offset
		}
		return problem
	}
	return nil
}

// readBody reads a body of at most limit bytes.
func readBody(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if r.ContentLength > limit {
		return nil, tooLong(limit)
	}
	buffer := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 0)+bytes.MinRead))
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

func sendJSON(c echo.Context, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return wire.NewProblem(wire.CodeInternal, "encode answer: %v", err).WithCause(err)
	}
	return c.JSONBlob(http.StatusOK, body)
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
