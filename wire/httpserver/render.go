package httpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// handleError serves echo's own calls; the intake renders before echo would ask.
func (s *Server) handleError(err error, c echo.Context) { s.render(c, err) }

// render answers with the problem document of an error, unless an answer has begun or nobody is there to read it.
func (s *Server) render(c echo.Context, err error) {
	resp := c.Response()
	if resp.Committed {
		return
	}
	if c.Request().Context().Err() == context.Canceled {
		resp.Status = statusClientGone
		return
	}
	p := problemOf(err)
	header := resp.Header()
	header.Set(echo.HeaderContentType, wire.ProblemType)
	header.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		seconds := (p.RetryAfter + time.Second - 1) / time.Second
		header.Set(echo.HeaderRetryAfter, strconv.FormatInt(int64(seconds), 10))
	}
	if p.Status == http.StatusUnauthorized {
		header.Set(echo.HeaderWWWAuthenticate, "Bearer")
	}
	resp.WriteHeader(p.Status)
	if c.Request().Method != http.MethodHead {
		_, _ = resp.Write(encode(p)) // a caller that went away needs no answer
	}
}

// encode writes a problem for people to read as well: without what JSON needs within HTML only.
func encode(p *wire.Problem) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil { // a Problem holds nothing that can't be encoded
		panic(err)
	}
	return body.Bytes()
}

// problemOf finds or makes the problem of an error. What is not meant for the caller is not told.
func problemOf(err error) *wire.Problem {
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		return complete(p)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(e.Limit)
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return problemOfEcho(e)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.NewProblem(wire.CodeDeadline, "the time for this request ran out").WithRetryAfter(time.Second)
	}
	return wire.NewProblem(wire.CodeInternal, "internal error")
}

// complete fills in what a problem made by hand may lack, in a copy: problems may be shared.
func complete(p *wire.Problem) *wire.Problem {
	if p.Status != 0 && p.Type != "" && p.Title != "" {
		return p
	}
	full := wire.NewProblem(p.Code, "%s", p.Detail)
	full.Field, full.ByteOffset, full.Checkpoint, full.RetryAfter, full.Cause = p.Field, p.ByteOffset, p.Checkpoint, p.RetryAfter, p.Cause
	if p.Status != 0 {
		full.Status, full.Title = p.Status, http.StatusText(p.Status)
	}
	return full
}

func problemOfEcho(e *echo.HTTPError) *wire.Problem {
	switch e.Code {
	case http.StatusNotFound:
		return wire.NewProblem(wire.CodeNotFound, "no such path")
	case http.StatusMethodNotAllowed:
		return wire.NewProblem(wire.CodeMethod, "this path does not offer this method")
	case http.StatusUnsupportedMediaType:
		return wire.NewProblem(wire.CodeMediaType, "%v", e.Message)
	case http.StatusRequestEntityTooLarge:
		return wire.NewProblem(wire.CodeTooLarge, "the body is too long")
	case http.StatusUnauthorized:
		return wire.NewProblem(wire.CodeUnauthorized, "%v", e.Message)
	case http.StatusForbidden:
		return wire.NewProblem(wire.CodeForbidden, "%v", e.Message)
	case http.StatusTooManyRequests:
		return wire.NewProblem(wire.CodeOverloaded, "%v", e.Message).WithRetryAfter(time.Second)
	case http.StatusServiceUnavailable:
		return wire.NewProblem(wire.CodeUnavailable, "%v", e.Message).WithRetryAfter(time.Second)
	}
	if e.Code >= 500 {
		return wire.NewProblem(wire.CodeInternal, "internal error")
	}
	p := wire.NewProblem(wire.CodeBadRequest, "%s", fmt.Sprint(e.Message))
	p.Status, p.Title = e.Code, http.StatusText(e.Code)
	return p
}
