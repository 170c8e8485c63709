package httpserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server on a free port of loopback, stopped at the end of its test.
type fixture struct {
	t      *testing.T
	server *httpserver.Server
	client *http.Client
	stop   context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg httpserver.Config, routes func(*echo.Echo)) *fixture {
	t.Helper()
	if cfg.Role == "" {
		cfg.Role = "shard-proxy"
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	server, err := httpserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if routes != nil {
		routes(server.Echo())
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &fixture{t: t, server: server, client: &http.Client{Transport: &http.Transport{}}, stop: cancel, done: make(chan error, 1)}
	go func() { f.done <- server.Run(ctx) }()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		<-f.done
	})
	return f
}

// end stops the server and returns what Run returned.
func (f *fixture) end() error {
	f.stop()
	err := <-f.done
	f.done <- nil
	return err
}

type answer struct {
	status  int
	header  http.Header
	body    string
	problem wire.Problem
}

func (f *fixture) do(method, path string, header http.Header, body io.Reader) answer {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL()+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header = header
	if header == nil {
		req.Header = http.Header{}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(data)}
	if resp.Header.Get("Content-Type") == wire.ProblemType && len(data) > 0 {
		if err := json.Unmarshal(data, &a.problem); err != nil {
			f.t.Fatalf("decode problem %s: %v", data, err)
		}
	}
	return a
}

func (f *fixture) get(path string) answer {
	f.t.Helper()
	return f.do(http.MethodGet, path, nil, nil)
}

func TestEveryErrorIsAProblemDocument(t *testing.T) {
	offset := int64(17)
	fail := func(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }
	f := start(t, httpserver.Config{MaxBody: 100}, func(e *echo.Echo) {
		e.GET("/problem", fail(fmt.Errorf("ask shard: %w", wire.NewProblem(wire.CodeMisrouted, "not mine").WithField("key"))))
		e.GET("/bare", fail(&wire.Problem{Code: wire.CodeBadRequest, Detail: "bad", ByteOffset: &offset}))
		e.GET("/busy", fail(wire.NewProblem(wire.CodeOverloaded, "busy").WithRetryAfter(1500*time.Millisecond)))
		e.GET("/foreign", fail(errors.New("password is hunter2")))
		e.GET("/echo", fail(echo.NewHTTPError(http.StatusTeapot, "short and stout")))
		e.GET("/echo500", fail(echo.NewHTTPError(http.StatusInternalServerError, "password is hunter2")))
		e.GET("/late", fail(fmt.Errorf("query: %w", context.DeadlineExceeded)))
		e.GET("/panic", func(echo.Context) error { panic("password is hunter2") })
		e.POST("/body", func(c echo.Context) error {
			if _, err := io.ReadAll(c.Request().Body); err != nil {
				return fmt.Errorf("read body: %w", err)
			}
			return c.NoContent(http.StatusNoContent)
		})
	})
	long := strings.Repeat("x", 101)
	tests := map[string]struct {
		method, path string
		body         io.Reader
		status       int
		code         wire.Code
		detail       string
	}{
		"wrapped problem":      {path: "/problem", status: 409, code: wire.CodeMisrouted, detail: "not mine"},
		"problem by hand":      {path: "/bare", status: 400, code: wire.CodeBadRequest, detail: "bad"},
		"with retry after":     {path: "/busy", status: 429, code: wire.CodeOverloaded, detail: "busy"},
		"another error":        {path: "/foreign", status: 500, code: wire.CodeInternal, detail: "internal error"},
		"echo's error":         {path: "/echo", status: 418, code: wire.CodeBadRequest, detail: "short and stout"},
		"echo's 500":           {path: "/echo500", status: 500, code: wire.CodeInternal, detail: "internal error"},
		"deadline":             {path: "/late", status: 504, code: wire.CodeDeadline, detail: "the time for this request ran out"},
		"panic":                {path: "/panic", status: 500, code: wire.CodeInternal, detail: "internal error"},
		"unknown path":         {path: "/nowhere/at/all", status: 404, code: wire.CodeNotFound, detail: "no such path"},
		"other method":         {method: http.MethodDelete, path: "/problem", status: 405, code: wire.CodeMethod, detail: "this path does not offer this method"},
		"long body":            {method: http.MethodPost, path: "/body", body: strings.NewReader(long), status: 413, code: wire.CodeTooLarge, detail: "the body is longer than 100 bytes"},
		"long body, no length": {method: http.MethodPost, path: "/body", body: io.MultiReader(strings.NewReader(long)), status: 413, code: wire.CodeTooLarge, detail: "the body is longer than 100 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			got := f.do(method, test.path, nil, test.body)
			p := got.problem
			if got.status != test.status || p.Status != test.status || p.Code != test.code || p.Detail != test.detail {
				t.Errorf("got status %d and %+v, want %d, %s, %q", got.status, p, test.status, test.code, test.detail)
			}
			if p.Title != http.StatusText(test.status) || p.Type != "https://quipu.dev/problems/"+string(test.code) {
				t.Errorf("got title %q and type %q of %s", p.Title, p.Type, test.code)
			}
			if got.header.Get(wire.HeaderRequestID) == "" {
				t.Error("no request id")
			}
		})
	}
	if got := f.get("/busy").header.Get("Retry-After"); got != "2" {
		t.Errorf("got Retry-After %q for 1.5 s, want 2", got)
	}
	if got := f.get("/problem").problem.Field; got != "key" {
		t.Errorf("got field %q, want key", got)
	}
	if got := f.get("/bare").problem.ByteOffset; got == nil || *got != offset {
		t.Errorf("got byte offset %v, want %d", got, offset)
	}
	if got := f.do(http.MethodPost, "/body", nil, strings.NewReader(long[1:])).status; got != http.StatusNoContent {
		t.Errorf("got status %d for a body at the limit, want 204", got)
	}
	if got := f.do(http.MethodHead, "/nowhere", nil, nil); got.status != 404 || got.body != "" {
		t.Errorf("got %d %q for HEAD, want 404 without a body", got.status, got.body)
	}
}

func TestDeadlineHeaderBoundsTheContext(t *testing.T) {
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.GET("/left", func(c echo.Context) error {
			deadline, ok := c.Request().Context().Deadline()
			return c.JSON(http.StatusOK, map[string]any{"ok": ok, "left": time.Until(deadline).Milliseconds()})
		})
		e.GET("/hang", func(c echo.Context) error {
			<-c.Request().Context().Done()
			return fmt.Errorf("ask database: %w", c.Request().Context().Err())
		})
	})
	header := func(v string) http.Header { return http.Header{wire.HeaderDeadline: {v}} }
	var got struct {
		OK   bool
		Left int64
	}
	for name, test := range map[string]struct {
		header   http.Header
		min, max int64
	}{
		"none":    {nil, 0, 0},
		"given":   {header("60000"), 30_000, 60_000},
		"bounded": {header("9223372036854775807"), 500_000, 600_000},
	} {
		if err := json.Unmarshal([]byte(f.do(http.MethodGet, "/left", test.header, nil).body), &got); err != nil {
			t.Fatal(err)
		}
		if got.OK != (test.max > 0) || (got.OK && (got.Left < test.min || got.Left > test.max)) {
			t.Errorf("%s: got %+v left, want %d to %d ms", name, got, test.min, test.max)
		}
	}
	if got := f.do(http.MethodGet, "/hang", header("20"), nil); got.status != 504 || got.problem.Code != wire.CodeDeadline {
		t.Errorf("got %d %+v after the deadline, want 504 deadline", got.status, got.problem)
	}
	for _, bad := range []string{"soon", "-1", "1.5"} {
		got := f.do(http.MethodGet, "/left", header(bad), nil)
		if got.problem.Code != wire.CodeBadRequest || got.problem.Field != wire.HeaderDeadline {
			t.Errorf("got %+v for the deadline %q, want bad_request that names the header", got.problem, bad)
		}
	}
}

func TestClientAndServerShareTheDeadline(t *testing.T) {
	ended := make(chan struct{})
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.GET("/hang", func(c echo.Context) error {
			defer close(ended)
			if _, ok := c.Request().Context().Deadline(); !ok {
				t.Error("the handler's context has no deadline")
			}
			<-c.Request().Context().Done()
			return c.Request().Context().Err()
		})
	})
	client := wire.NewClient(wire.ClientConfig{})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if got, want := wire.CodeOf(client.JSON(ctx, http.MethodGet, f.server.URL()+"/hang", nil, nil)), wire.CodeDeadline; got != want {
		t.Errorf("got code %q, want %q", got, want)
	}
	<-ended
}

// The deadline's context ends with the handler, before its error is rendered.
func TestErrorsAreToldWithinADeadline(t *testing.T) {
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.GET("/full", func(echo.Context) error { return wire.NewProblem(wire.CodeOverloaded, "full") })
	})
	got := f.do(http.MethodGet, "/full", http.Header{wire.HeaderDeadline: {"60000"}}, nil)
	if got.status != 429 || got.problem.Code != wire.CodeOverloaded {
		t.Errorf("got %d %+v, want 429 overloaded", got.status, got.problem)
	}
}

func TestRequestIDs(t *testing.T) {
	f := start(t, httpserver.Config{}, nil)
	own := f.get("/healthz").header.Get(wire.HeaderRequestID)
	if next := f.get("/healthz").header.Get(wire.HeaderRequestID); own == "" || next == "" || own == next {
		t.Errorf("got request ids %q and %q, want two different ones", own, next)
	}
	for sent, keep := range map[string]bool{"abc-1": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, `a"b`: false} {
		got := f.do(http.MethodGet, "/healthz", http.Header{wire.HeaderRequestID: {sent}}, nil).header.Get(wire.HeaderRequestID)
		if (got == sent) != keep {
			t.Errorf("got request id %q for %q, kept should be %v", got, sent, keep)
		}
	}
}
