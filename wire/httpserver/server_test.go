package httpserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
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

func TestAuthentication(t *testing.T) {
	read, readHash := auth.Generate()
	write, writeHash := auth.Generate()
	verifier, err := auth.New([]auth.Token{
		{Name: "dashboard", Scopes: []auth.Scope{auth.Read}, SHA256: readHash},
		{Name: "producer", Scopes: []auth.Scope{auth.Write}, SHA256: writeHash},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, httpserver.Config{Auth: verifier}, func(e *echo.Echo) {
		e.POST("/v1/events", func(c echo.Context) error { return c.NoContent(http.StatusAccepted) }, verifier.Require(auth.Write))
	})
	tests := []struct {
		method, path, token string
		want                int
	}{
		{http.MethodPost, "/v1/events", write, 202},
		{http.MethodPost, "/v1/events", read, 403},
		{http.MethodPost, "/v1/events", "nobody", 401},
		{http.MethodPost, "/v1/events", "", 401},
		{http.MethodGet, "/metrics", read, 200},
		{http.MethodGet, "/metrics", write, 403},
		{http.MethodGet, "/metrics", "", 401},
		{http.MethodGet, "/healthz", "", 200},
		{http.MethodGet, "/readyz", "", 200},
	}
	for _, test := range tests {
		header := http.Header{}
		if test.token != "" {
			header.Set("Authorization", "Bearer "+test.token)
		}
		got := f.do(test.method, test.path, header, nil)
		if got.status != test.want {
			t.Errorf("got status %d for %s %s, want %d", got.status, test.method, test.path, test.want)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge == "Bearer") != (test.want == 401) {
			t.Errorf("got WWW-Authenticate %q with status %d", challenge, got.status)
		}
	}
}

func TestWithoutTokensOnlyLoopbackIsBound(t *testing.T) {
	_, hash := auth.Generate()
	verifier, err := auth.New([]auth.Token{{Name: "a", Scopes: []auth.Scope{auth.Read}, SHA256: hash}})
	if err != nil {
		t.Fatal(err)
	}
	for address, open := range map[string]bool{
		"127.0.0.1:0": true, "127.8.8.8:0": true, "[::1]:0": true, "localhost:0": true, "[::ffff:127.0.0.1]:0": true,
		":0": false, "0.0.0.0:0": false, "[::]:0": false, "10.1.2.3:80": false, "example.com:80": false, "localhost.example.com:80": false,
	} {
		_, err := httpserver.New(httpserver.Config{Role: "reader", Address: address})
		if open != (err == nil) || (!open && !errors.Is(err, httpserver.ErrOpenBind)) {
			t.Errorf("got %v for %s without tokens, want it to be allowed: %v", err, address, open)
		}
		if _, err := httpserver.New(httpserver.Config{Role: "reader", Address: address, Auth: verifier}); err != nil {
			t.Errorf("got %v for %s with tokens, want none", err, address)
		}
	}
	if _, err := httpserver.New(httpserver.Config{Role: "reader", Address: "127.0.0.1"}); err == nil {
		t.Error("an address without a port is accepted")
	}
}

func TestBrowsersOfOtherSitesAreRefusedWithoutTokens(t *testing.T) {
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.POST("/v1/events", func(c echo.Context) error { return c.NoContent(http.StatusAccepted) })
	})
	for name, test := range map[string]struct {
		header http.Header
		want   int
	}{
		"no browser":  {nil, 202},
		"same site":   {http.Header{"Sec-Fetch-Site": {"same-origin"}}, 202},
		"other site":  {http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"old browser": {http.Header{"Origin": {"https://evil.example"}}, 403},
	} {
		if got := f.do(http.MethodPost, "/v1/events", test.header, nil).status; got != test.want {
			t.Errorf("%s: got status %d, want %d", name, got, test.want)
		}
	}
}

func TestReadiness(t *testing.T) {
	var mu sync.Mutex
	var reason error
	f := start(t, httpserver.Config{Ready: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return reason
	}}, nil)
	if got := f.get("/readyz"); got.status != 200 || got.body != `{"status":"ready"}` {
		t.Errorf("got %d %s, want ready", got.status, got.body)
	}
	mu.Lock()
	reason = errors.New("no topology yet")
	mu.Unlock()
	got := f.get("/readyz")
	if got.status != 503 || got.problem.Code != wire.CodeUnavailable || !strings.Contains(got.problem.Detail, "no topology yet") {
		t.Errorf("got %d %+v, want 503 with the reason", got.status, got.problem)
	}
	if got := f.get("/healthz"); got.status != 200 {
		t.Errorf("got %d from /healthz of a role that is not ready, want 200", got.status)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := start(t, httpserver.Config{Registry: registry, Version: "v9"}, func(e *echo.Echo) {
		e.GET("/v1/keys/:type/:key", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
		e.GET("/panic", func(echo.Context) error { panic("no") })
	})
	for range 3 {
		f.get("/v1/keys/view/secret-key")
	}
	f.get("/panic")
	f.get("/secret-path")
	body := f.get("/metrics").body
	for _, want := range []string{
		`quipu_shard_proxy_http_requests_total{method="GET",route="/v1/keys/:type/:key",status="200"} 3`,
		`quipu_shard_proxy_http_requests_total{method="GET",route="/panic",status="500"} 1`,
		`quipu_shard_proxy_http_requests_total{method="GET",route="unmatched",status="404"} 1`,
		`quipu_shard_proxy_http_request_seconds_count{method="GET",route="/v1/keys/:type/:key"} 3`,
		`quipu_shard_proxy_http_panics_total 1`,
		`quipu_shard_proxy_http_in_flight_requests 1`,
		`version="v9"} 1`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(body, "secret") {
		t.Error("a path as sent became a label")
	}
}

func TestFailuresAreLoggedAndTheRestIsNot(t *testing.T) {
	var log lockedBuffer
	f := start(t, httpserver.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil)), SlowRequest: time.Nanosecond}, func(e *echo.Echo) {
		e.GET("/fail", func(echo.Context) error {
			return wire.NewProblem(wire.CodeUnavailable, "down").WithCause(errors.New("dial refused"))
		})
		e.GET("/panic", func(echo.Context) error { panic("out of cheese") })
		e.GET("/fine", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	})
	for path, want := range map[string][]string{
		"/fail":         {"request failed", "down", `"status":503`, "request_id"},
		"/panic":        {"handler panicked", "out of cheese", "server_test.go"},
		"/fine":         {"slow request", `"took"`},
		"/fine?wait=5s": nil,
	} {
		log.Reset()
		f.get(path)
		got := log.String()
		for _, text := range want {
			if !strings.Contains(got, text) {
				t.Errorf("the log of %s lacks %q: %s", path, text, got)
			}
		}
		if want == nil && got != "" {
			t.Errorf("got log %s of %s, want none", got, path)
		}
	}
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	f := start(t, httpserver.Config{Drain: time.Minute}, func(e *echo.Echo) {
		e.GET("/work", func(c echo.Context) error {
			close(entered)
			<-release
			return c.String(http.StatusOK, "done")
		})
	})
	got := make(chan answer, 1)
	go func() { got <- f.get("/work") }()
	<-entered
	f.stop()
	<-f.server.Draining()
	awaitRefusal(t, f.server.URL())
	close(release)
	if a := <-got; a.status != 200 || a.body != "done" {
		t.Errorf("got %d %q from a request in flight, want it to finish", a.status, a.body)
	}
	if err := f.end(); err != nil {
		t.Errorf("got %v from a clean drain, want none", err)
	}
}

func TestDrainEnds(t *testing.T) {
	entered := make(chan struct{})
	f := start(t, httpserver.Config{Drain: 20 * time.Millisecond}, func(e *echo.Echo) {
		e.GET("/hang", func(c echo.Context) error {
			close(entered)
			<-c.Request().Context().Done() // aborted with the drain
			return c.Request().Context().Err()
		})
	})
	failed := make(chan error, 1)
	go func() {
		resp, err := f.client.Get(f.server.URL() + "/hang")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := f.end(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v from a drain that ran out, want it to say so", err)
	}
	if err := <-failed; err == nil {
		t.Error("a request that was cut off got an answer")
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	f := start(t, httpserver.Config{HeaderTimeout: 30 * time.Millisecond}, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.server.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the connection stayed open")
	}
}

func TestListenOnATakenPortFails(t *testing.T) {
	f := start(t, httpserver.Config{}, nil)
	server, err := httpserver.New(httpserver.Config{Role: "reader", Address: strings.TrimPrefix(f.server.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("got %v, want an error of listening", err)
	}
}

func awaitRefusal(t *testing.T, url string) {
	t.Helper()
	address := strings.TrimPrefix(url, "http://")
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("a draining server still accepts connections")
		}
		time.Sleep(time.Millisecond)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}
