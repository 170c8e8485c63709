package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// TestRefusalsAreWhatTheDocumentSays sends what is refused as a whole.
func TestRefusalsAreWhatTheDocumentSays(t *testing.T) {
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
	good := `{"type":"view","key":"v1"}`
	tests := map[string]struct {
		method, target, body string
		headers              []string
		status               int
		code                 wire.Code
		offset               int64 // −1: none
	}{
		"empty":           {"POST", "/v1/events", "", asJSON, 400, wire.CodeBadRequest, 0},
		"cut off":         {"POST", "/v1/events", "[" + good + ",{", asJSON, 400, wire.CodeBadRequest, 29},
		"bad line":        {"POST", "/v1/events", good + "\n{]", asLines, 400, wire.CodeBadRequest, 28},
		"not gzip":        {"POST", "/v1/events", good, with(asJSON, "Content-Encoding", "gzip"), 400, wire.CodeBadRequest, 0},
		"parameter":       {"POST", "/v1/events?wait=5s", good, asJSON, 400, wire.CodeBadRequest, -1},
		"key of a retry":  {"POST", "/v1/events", good, with(asJSON, "Idempotency-Key", "é"), 400, wire.CodeBadRequest, -1},
		"longer key":      {"POST", "/v1/events", good, with(asJSON, "Idempotency-Key", strings.Repeat("k", 256)), 400, wire.CodeBadRequest, -1},
		"another site":    {"POST", "/v1/events", good, with(asJSON, "Sec-Fetch-Site", "cross-site"), 403, wire.CodeForbidden, -1},
		"unknown path":    {"POST", "/v1/event", good, asJSON, 404, wire.CodeNotFound, -1},
		"method":          {"PUT", "/v1/events", good, asJSON, 405, wire.CodeMethod, -1},
		"method of types": {"POST", "/v1/event-types", good, asJSON, 405, wire.CodeMethod, -1},
		"too many":        {"POST", "/v1/events", "[" + strings.Repeat(good+",", 10_000) + good + "]", asJSON, 413, wire.CodeTooLarge, -1},
		"too long":        {"POST", "/v1/events", `[{"type":"view","key":"` + strings.Repeat("k", 8<<20), asJSON, 413, wire.CodeTooLarge, -1},
		"too long, gzip":  {"POST", "/v1/events", zipped(t, strings.Repeat(" ", 8<<20+1)), with(asJSON, "Content-Encoding", "gzip"), 413, wire.CodeTooLarge, -1},
		"no events":       {"POST", "/v1/events", "<a/>", []string{"Content-Type", "text/xml"}, 415, wire.CodeMediaType, -1},
		"encoding":        {"POST", "/v1/events", good, with(asJSON, "Content-Encoding", "br"), 415, wire.CodeMediaType, -1},
		"types, typo":     {"GET", "/v1/event-types?nmae=view", "", nil, 400, wire.CodeBadRequest, -1},
	}
	d := openDesk(t, nil, nil)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := d.ask(t, test.method, test.target, test.body, test.headers...)
			p := x.problem()
			if x.status != test.status || p.Code != test.code || p.Status != test.status {
				t.Fatalf("got status %d, %+v, want %d %s", x.status, p, test.status, test.code)
			}
			if (p.ByteOffset == nil) != (test.offset < 0) || (p.ByteOffset != nil && *p.ByteOffset != test.offset) {
				t.Errorf("got %s, want byte offset %d", x.answer, test.offset)
			}
			// Sizes in bytes, what is in a text, and who asks are beyond a schema.
			beyond := []string{"cut off", "bad line", "not gzip", "another site", "too long", "too long, gzip"}
			if err := d.fits(x); err == nil && !slices.Contains(beyond, name) {
				t.Error("the document allows it")
			}
		})
	}
	d.ask(t, http.MethodPost, "/v1/events", good, with(asJSON, "Idempotency-Key", "once")...).accepted(t)
	if x := d.ask(t, http.MethodPost, "/v1/events", good+" ", with(asJSON, "Idempotency-Key", "once")...); x.problem().Code != wire.CodeConflict || x.status != 409 {
		t.Errorf("got %d %s for another body under the same Idempotency-Key, want 409", x.status, x.answer)
	}
}

// TestBoundsAreToldAsTheDocumentSays brings ingest to its bounds, and its log to its end.
func TestBoundsAreToldAsTheDocumentSays(t *testing.T) {
	fails := func(err error) func(*testing.T, *ingest.Config) {
		return func(_ *testing.T, c *ingest.Config) {
			c.Log = &brokenLog{Log: c.Log, append: func(context.Context) error { return err }}
		}
	}
	tests := map[string]struct {
		change func(*testing.T, *ingest.Config)
		status int
		code   wire.Code
	}{
		"in flight":   {func(_ *testing.T, c *ingest.Config) { c.MaxInFlight = 10 }, 429, wire.CodeOverloaded},
		"full window": {func(_ *testing.T, c *ingest.Config) { c.WindowMaxIDs = 1 }, 429, wire.CodeWindowFull},
		"full log":    {fails(eventlog.ErrFull), 503, wire.CodeLogFull},
		"failing log": {fails(errors.New("disk")), 503, wire.CodeUnavailable},
		"panic":       {func(_ *testing.T, c *ingest.Config) { c.Types = panicky() }, 500, wire.CodeInternal},
		"log in a jam": {func(t *testing.T, c *ingest.Config) {
			c.AppendTimeout = 10 * time.Millisecond
			c.Log = jammed(t, c.Log)
		}, 504, wire.CodeDeadline},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t, nil, func(c *ingest.Config) { test.change(t, c) })
			x := d.ask(t, http.MethodPost, "/v1/events", `[{"type":"view","key":"v1","id":"a"},{"type":"view","key":"v2","id":"b"}]`, asJSON...)
			if p := x.problem(); x.status != test.status || p.Code != test.code {
				t.Errorf("got status %d, %+v, want %d %s", x.status, p, test.status, test.code)
			}
		})
	}
}

// panicky tells the event types once, to Ready, and panics then.
func panicky() func() map[string]event.Type {
	told := false
	return func() map[string]event.Type {
		if told {
			panic("as planned")
		}
		told = true
		return deskTypes()
	}
}

// jammed is a log whose appends wait until the test is over.
func jammed(t *testing.T, log ingest.Log) ingest.Log {
	return &brokenLog{Log: log, append: func(context.Context) error {
		<-t.Context().Done()
		return t.Context().Err()
	}}
}

// TestPartsOfTheLogAreToldAsTheDocumentSays: events of partitions that fail are rejected, retryably, beside those that are accepted.
func TestPartsOfTheLogAreToldAsTheDocumentSays(t *testing.T) {
	for err, want := range map[error]string{eventlog.ErrFull: "log_full", errors.New("disk"): "unavailable"} {
		d := openDesk(t, nil, func(c *ingest.Config) { c.Log = &halfLog{c.Log, err} })
		var events []string
		for i := range 40 {
			events = append(events, fmt.Sprintf(`{"type":"view","key":"v%d"}`, i))
		}
		got := d.ask(t, http.MethodPost, "/v1/events", "["+strings.Join(events, ",")+"]", asJSON...).accepted(t)
		if len(got.Rejected) == 0 || got.Accepted != len(events)-len(got.Rejected) || got.Accepted == 0 {
			t.Fatalf("got %+v, want some accepted and some rejected", got)
		}
		for _, r := range got.Rejected {
			if r.Code != want || !r.Retryable {
				t.Errorf("got %+v, want a retryable %s", r, want)
			}
		}
	}
}

// halfLog is a log of whose partitions every other fails.
type halfLog struct {
	ingest.Log
	err error
}

func (l *halfLog) Append(ctx context.Context, partition int, batch []byte) (eventlog.Record, error) {
	if partition%2 == 1 {
		return eventlog.Record{}, l.err
	}
	return l.Log.Append(ctx, partition, batch)
}

func TestProbesAreAsTheDocumentSays(t *testing.T) {
	d, i := newDesk(t, nil, nil)
	want := func(when, target string, status int) {
		t.Helper()
		if x := d.ask(t, http.MethodGet, target, ""); x.status != status {
			t.Errorf("%s: got %d from %s, want %d", when, x.status, target, status)
		}
	}
	want("before it runs", "/healthz", 200)
	want("before it runs", "/readyz", 503)
	want("before it runs", "/metrics", 200)
	if x := d.ask(t, http.MethodPost, "/v1/events", "[]", asJSON...); x.status != 503 {
		t.Errorf("got %d for events before it runs, want 503", x.status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	testkit.Eventually(t, startTimeout, func() error { return i.Ready(ctx) })
	want("when it runs", "/readyz", 200)
	want("when it runs", "/v1/event-types", 200)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want("at its end", "/healthz", 200)
	want("at its end", "/readyz", 503)
	if x := d.ask(t, http.MethodPost, "/v1/events", "[]", asJSON...); x.status != 503 {
		t.Errorf("got %d for events at its end, want 503", x.status)
	}
	unknowing, _ := newDesk(t, nil, func(c *ingest.Config) { c.Types = func() map[string]event.Type { return nil } })
	if x := unknowing.ask(t, http.MethodGet, "/v1/event-types", ""); x.status != 503 {
		t.Errorf("got %d for event types that are not known yet, want 503", x.status)
	}
}

func TestTokensAreAskedForAsTheDocumentSays(t *testing.T) {
	tokens := map[string]string{"none": ""}
	var known []auth.Token
	for _, scope := range []auth.Scope{auth.Write, auth.Read} {
		token, hash := auth.Generate()
		tokens[string(scope)] = token
		known = append(known, auth.Token{Name: string(scope), Scopes: []auth.Scope{scope}, SHA256: hash})
	}
	tokens["unknown"], _ = auth.Generate()
	v, err := auth.New(known)
	if err != nil {
		t.Fatal(err)
	}
	d := openDesk(t, v, nil)
	for target, want := range map[string]map[string]int{
		"POST /v1/events":     {"none": 401, "unknown": 401, "read": 403, "write": 202},
		"GET /v1/event-types": {"none": 401, "unknown": 401, "read": 200, "write": 403},
		"GET /metrics":        {"none": 401, "unknown": 401, "read": 200, "write": 403},
		"GET /healthz":        {"none": 200, "unknown": 200, "read": 200, "write": 200},
		"GET /readyz":         {"none": 200, "unknown": 200, "read": 200, "write": 200},
	} {
		method, path, _ := strings.Cut(target, " ")
		open := d.operation(httptest.NewRequest(method, path, nil)).Route.Operation.Security != nil
		if open != (want["none"] == 200) {
			t.Errorf("the document says of %s that it is open: %t", target, open)
		}
		for name, status := range want {
			headers := asJSON
			if tokens[name] != "" {
				headers = with(asJSON, "Authorization", "Bearer "+tokens[name])
			}
			body := ""
			if method == http.MethodPost {
				body = `{"type":"view","key":"v1"}`
			}
			if x := d.ask(t, method, path, body, headers...); x.status != status {
				t.Errorf("%s with token %s: got %d %s, want %d", target, name, x.status, x.answer, status)
			}
		}
	}
}
