package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
)

// desk is ingest in its real server, over a real log, beside the document that says what it does.
type desk struct {
	echo     *echo.Echo
	document *openapi3.T
}

// deskTypes are the event types of a desk.
func deskTypes() map[string]event.Type {
	now := time.Now().UTC().Truncate(time.Second)
	return map[string]event.Type{
		"view": {Name: "view", Unit: "ms", Description: "a video was watched", AcceptLate: event.DefaultAcceptLate, CreatedAt: now},
		"like": {Name: "like", AllowNegative: true, AcceptLate: event.DefaultAcceptLate, CreatedAt: now},
	}
}

// countedLog is a registry that knows no other log.
type countedLog struct{}

func (countedLog) EnsureLog(context.Context, string) error { return nil }

// brokenLog answers appends as it is told to, once told.
type brokenLog struct {
	ingest.Log
	append func(context.Context) error
}

func (l *brokenLog) Append(ctx context.Context, partition int, batch []byte) (eventlog.Record, error) {
	if l.append != nil {
		return eventlog.Record{}, l.append(ctx)
	}
	return l.Log.Append(ctx, partition, batch)
}

// openDesk starts a desk. The change, if any, sees the configuration before it is used.
func openDesk(t *testing.T, v *auth.Verifier, change func(*ingest.Config)) *desk {
	t.Helper()
	d, i := newDesk(t, v, change)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v from the end of ingest, want none", err)
		}
	})
	testkit.Eventually(t, startTimeout, func() error { return i.Ready(ctx) })
	return d
}

// newDesk makes a desk whose ingest does not run yet.
func newDesk(t *testing.T, v *auth.Verifier, change func(*ingest.Config)) (*desk, *ingest.Ingest) {
	t.Helper()
	log := embedded.New(embedded.Config{Dir: t.TempDir(), Partitions: 4})
	if err := log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	fingerprinter, err := event.NewFingerprinter("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	cfg := ingest.Config{Log: log, Registry: countedLog{}, Types: deskTypes, Fingerprinter: fingerprinter, Registerer: registry}
	if change != nil {
		change(&cfg)
	}
	i, err := ingest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0", Auth: v, Ready: i.Ready, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	i.Register(server.Echo(), v)
	document, err := openapi3.NewLoader().LoadFromData(reader.Document())
	if err != nil {
		t.Fatal(err)
	}
	return &desk{echo: server.Echo(), document: document}, i
}

// failing is what a test and a property's check have in common.
type failing interface {
	Helper()
	Fatalf(format string, args ...any)
}

// exchange is a request with what came back.
type exchange struct {
	req    *http.Request
	body   []byte
	status int
	header http.Header
	answer []byte
}

// ask serves a request; headers are names and values in turn. Whatever comes back must be what the document says of that operation.
func (d *desk) ask(t failing, method, target, body string, headers ...string) exchange {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	d.echo.ServeHTTP(recorder, req)
	x := exchange{req: req, body: []byte(body), status: recorder.Code, header: recorder.Header(), answer: recorder.Body.Bytes()}
	if err := d.checkAnswer(x); err != nil {
		t.Fatalf("%s %s: answer %d is not what the document says: %v\n%s", method, target, x.status, err, x.answer)
	}
	return x
}

// operation finds what the document says of a request's path and method, nil if it is none of its operations.
func (d *desk) operation(req *http.Request) *openapi3filter.RequestValidationInput {
	item := d.document.Paths.Value(req.URL.Path)
	if item == nil || item.GetOperation(req.Method) == nil {
		return nil
	}
	return &openapi3filter.RequestValidationInput{
		Request: req, QueryParams: req.URL.Query(),
		Route:   &routers.Route{Spec: d.document, Path: req.URL.Path, PathItem: item, Method: req.Method, Operation: item.GetOperation(req.Method)},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
}

func (d *desk) checkAnswer(x exchange) error {
	if x.status >= 400 {
		if err := d.checkProblem(x); err != nil {
			return err
		}
	}
	input := d.operation(x.req)
	if input == nil {
		return nil // 404, 405, HEAD
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: x.status, Header: x.header, Body: io.NopCloser(bytes.NewReader(x.answer)), Options: input.Options,
	})
}

// checkProblem: every error is a problem document whose code the document names for that status.
func (d *desk) checkProblem(x exchange) error {
	if got := x.header.Get("Content-Type"); got != wire.ProblemType {
		return fmt.Errorf("its content type is %q", got)
	}
	var value any
	var p wire.Problem
	if err := json.Unmarshal(x.answer, &value); err != nil {
		return err
	}
	if err := d.document.Components.Schemas["Problem"].Value.VisitJSON(value); err != nil {
		return err
	}
	if err := json.Unmarshal(x.answer, &p); err != nil {
		return err
	}
	input := d.operation(x.req)
	if input == nil {
		return nil
	}
	response := input.Route.Operation.Responses.Status(x.status)
	if response == nil {
		return fmt.Errorf("it has no status %d", x.status)
	}
	codes, _, _ := strings.Cut(*response.Value.Description, ":")
	for code := range strings.SplitSeq(codes, ", ") {
		if code == string(p.Code) {
			return nil
		}
	}
	return fmt.Errorf("it says %q of status %d, not %s", *response.Value.Description, x.status, p.Code)
}

// fits tells whether the document allows a request. What is compressed is not looked into.
func (d *desk) fits(x exchange) error {
	input := d.operation(x.req)
	if input == nil {
		return fmt.Errorf("%s %s is no operation", x.req.Method, x.req.URL.Path)
	}
	for name := range x.req.URL.Query() {
		if input.Route.Operation.Parameters.GetByInAndName("query", name) == nil {
			return fmt.Errorf("parameter %q is not documented", name)
		}
	}
	x.req.Body = io.NopCloser(bytes.NewReader(x.body))
	encoding := x.req.Header.Get("Content-Encoding")
	input.Options.ExcludeRequestBody = encoding != "" && encoding != "identity"
	return openapi3filter.ValidateRequest(context.Background(), input)
}

// problem returns the problem that an answer is, an empty one if it is none.
func (x exchange) problem() wire.Problem {
	var p wire.Problem
	if x.status >= 400 {
		_ = json.Unmarshal(x.answer, &p) // ask has checked it
	}
	return p
}

// accepted is the answer to events.
type accepted struct {
	Accepted int
	Rejected []struct {
		Index     int
		Code      string
		Retryable bool
	}
}

func (x exchange) accepted(t failing) accepted {
	t.Helper()
	var a accepted
	if err := json.Unmarshal(x.answer, &a); err != nil || x.status != http.StatusAccepted {
		t.Fatalf("got status %d and %s, want 202 (%v)", x.status, x.answer, err)
	}
	return a
}
