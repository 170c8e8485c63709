package httpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

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

func TestProfilesAreServedOnlyWhenAskedFor(t *testing.T) {
	for profiles, want := range map[bool]int{true: 200, false: 404} {
		f := start(t, httpserver.Config{Profiles: profiles}, nil)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1"} {
			if got := f.get(path).status; got != want {
				t.Errorf("got %d from %s with profiles %t, want %d", got, path, profiles, want)
			}
		}
	}
}

func TestFailuresAreLoggedAndTheRestIsNot(t *testing.T) {
	var log lockedBuffer
	f := start(t, httpserver.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil)), SlowRequest: time.Nanosecond, Ready: func(context.Context) error { return errors.New("not yet") }}, func(e *echo.Echo) {
		e.GET("/fail", func(echo.Context) error {
			return wire.NewProblem(wire.CodeUnavailable, "down").WithCause(errors.New("dial refused"))
		})
		e.GET("/panic", func(echo.Context) error { panic("out of cheese") })
		e.GET("/fine", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	})
	for path, want := range map[string][]string{
		"/fail":          {"request failed", "down", `"status":503`, "request_id"},
		"/panic":         {"handler panicked", "out of cheese", "observe_test.go"},
		"/fine":          {"slow request", `"seconds"`},
		"/fine?wait=5s":  nil,
		"/readyz?wait=0": nil,
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

func TestHeldServersAnswerProbesOnly(t *testing.T) {
	f := start(t, httpserver.Config{Held: true, Ready: func(context.Context) error { return errors.New("waiting for the cluster") }}, func(e *echo.Echo) {
		e.GET("/v1/stats", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	})
	if got := f.get("/healthz").status; got != 200 {
		t.Errorf("got %d from /healthz of a held server, want 200", got)
	}
	if got := f.get("/readyz"); got.status != 503 || !strings.Contains(got.problem.Detail, "waiting for the cluster") {
		t.Errorf("got %d %+v from /readyz of a held server, want 503 with the reason", got.status, got.problem)
	}
	for _, path := range []string{"/v1/stats", "/nowhere", "/"} {
		if got := f.get(path); got.status != 503 || got.problem.Code != wire.CodeUnavailable || got.header.Get("Retry-After") != "1" {
			t.Errorf("got %d %+v from %s of a held server, want 503 unavailable", got.status, got.problem, path)
		}
	}
	f.server.Open()
	if got := f.get("/v1/stats").status; got != 200 {
		t.Errorf("got %d once open, want 200", got)
	}
	if got := f.get("/nowhere").status; got != 404 {
		t.Errorf("got %d of an unknown path once open, want 404", got)
	}
}

func TestTheLogOfFailuresIsBounded(t *testing.T) {
	var log lockedBuffer
	f := start(t, httpserver.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil))}, func(e *echo.Echo) {
		e.GET("/fail", func(echo.Context) error { return wire.NewProblem(wire.CodeLogFull, "full") })
	})
	const requests = 500
	for range requests {
		f.get("/fail")
	}
	if got := strings.Count(log.String(), "request failed"); got == 0 || got >= requests/2 {
		t.Errorf("got %d lines for %d failures, want a bounded number", got, requests)
	}
	if got, want := f.get("/metrics").body, fmt.Sprintf(`route="/fail",status="503"} %d`, requests); !strings.Contains(got, want) {
		t.Errorf("the metrics lack %s", want)
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
