package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// maxDeadline bounds how long a caller may ask to wait.
const maxDeadline = 10 * time.Minute

// statusClientGone is counted for requests whose caller went away; nothing is sent.
const statusClientGone = 499

// Failed and slow requests that are logged a second, and in a burst: when all of them fail, the log must not fill the disk.
const (
	loggedPerSecond = 10
	loggedBurst     = 50
)

// crossOrigin recognises what a browser sends on behalf of another site.
var crossOrigin = http.NewCrossOriginProtection()

// intake is the only middleware of every request: at 15,000 single posts a second each layer would show.
func (s *Server) intake(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		s.metrics.inFlight.Inc()
		defer s.metrics.inFlight.Dec()
		req := c.Request()
		id := s.ids.of(req)
		c.Response().Header()[wire.HeaderRequestID] = []string{id}
		err := s.serve(c, next)
		if err != nil {
			s.render(c, err)
		}
		s.finish(c, id, err, time.Since(start))
		return nil
	}
}

// serve applies the request's bounds and calls the handler. A panic becomes an error.
func (s *Server) serve(c echo.Context, next echo.HandlerFunc) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.metrics.panics.Inc()
			err = wire.NewProblem(wire.CodeInternal, "internal error").WithCause(&panicError{value: r, stack: debug.Stack()})
		}
	}()
	req := c.Request()
	if !s.cfg.Auth.Enabled() {
		if err := crossOrigin.Check(req); err != nil {
			return wire.NewProblem(wire.CodeForbidden, "cross-origin requests are refused while no tokens are configured")
		}
	}
	if req.ContentLength > s.cfg.MaxBody {
		return tooLarge(s.cfg.MaxBody)
	}
	if req.ContentLength < 0 {
		req.Body = http.MaxBytesReader(c.Response(), req.Body, s.cfg.MaxBody)
	}
	header := req.Header.Get(wire.HeaderDeadline)
	if header == "" {
		return next(c)
	}
	ms, err := strconv.ParseInt(header, 10, 64)
	if err != nil || ms < 0 {
		return wire.NewProblem(wire.CodeBadRequest, "header %s must be milliseconds", wire.HeaderDeadline).WithField(wire.HeaderDeadline)
	}
	left := min(time.Duration(min(ms, maxDeadline.Milliseconds()))*time.Millisecond, maxDeadline)
	ctx, cancel := context.WithTimeout(req.Context(), left)
	defer cancel()
	defer c.SetRequest(req) // errors are rendered after the deadline's context is gone, and that is no caller that went away
	c.SetRequest(req.WithContext(ctx))
	return next(c)
}

func tooLarge(limit int64) *wire.Problem {
	return wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes", limit)
}

// finish counts the request and logs what somebody should look at.
func (s *Server) finish(c echo.Context, id string, err error, took time.Duration) {
	status := c.Response().Status
	req := c.Request()
	s.metrics.observe(c.Path(), req.Method, status, took)
	failed := status >= 500 && c.Path() != readyPath // a probe that says no is an answer
	slow := took >= s.cfg.SlowRequest && c.QueryParam("wait") == ""
	if !failed && !slow {
		return
	}
	if !s.logLimit.Allow() {
		s.unlogged.Add(1)
		return
	}
	attrs := []any{"method", req.Method, "path", c.Path(), "status", status, "seconds", took.Seconds(), "request_id", id}
	if n := s.unlogged.Swap(0); n > 0 {
		attrs = append(attrs, "not_logged_before", n)
	}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Cause != nil {
		attrs = append(attrs, "cause", p.Cause)
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		s.log.Error("handler panicked", append(attrs, "stack", string(p.stack))...)
		return
	}
	if failed {
		s.log.Warn("request failed", attrs...)
		return
	}
	s.log.Warn("slow request", attrs...)
}

type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
