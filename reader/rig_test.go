package reader_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
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
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"
	"github.com/quipudb/quipu/wire/proxyclient"
)

// now is a Saturday, 17:05:30 UTC.
var now = time.Date(2026, 1, 31, 17, 5, 30, 250e6, time.UTC)

var types = map[string]event.Type{
	"view":   {Name: "view", Unit: "ms", AcceptLate: event.DefaultAcceptLate, CreatedAt: now.Add(-time.Hour)},
	"stock":  {Name: "stock", Unit: "pieces", AllowNegative: true, AcceptLate: event.DefaultAcceptLate, CreatedAt: now},
	"signup": {Name: "signup", Description: "carries no value", AcceptLate: event.DefaultAcceptLate, CreatedAt: now},
}

// serveLedger serves a ledger the way a cluster proxy serves the fleet, and returns the client that roles ask it with.
func serveLedger(t testing.TB, l *ledger) *proxyclient.Client {
	t.Helper()
	s := newServer(t, nil, nil)
	s.Echo().POST(wire.PathStats, handler(l.Stats))
	s.Echo().POST(wire.PathTop, handler(l.Top))
	s.Echo().POST(strings.ReplaceAll(wire.PathKeyInfo, ":", `\:`), handler(l.LookupKey))
	server := httptest.NewServer(s.Echo())
	client := wire.NewClient(wire.ClientConfig{Timeout: 10 * time.Second})
	t.Cleanup(func() { client.Close(); server.Close() })
	return proxyclient.New(proxyclient.Config{
		URLs: func() []string { return []string{server.URL} }, Client: client, Registerer: prometheus.NewRegistry(),
	})
}

func handler[In, Out any](serve func(context.Context, *In) (*Out, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		in := new(In)
		if err := json.NewDecoder(c.Request().Body).Decode(in); err != nil {
			return err
		}
		out, err := serve(c.Request().Context(), in)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, out)
	}
}

func newServer(t testing.TB, registry *prometheus.Registry, v *auth.Verifier) *httpserver.Server {
	t.Helper()
	s, err := httpserver.New(httpserver.Config{Role: "reader", Address: "127.0.0.1:0", Auth: v, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rig is a reader in its real server, asking a ledger.
type rig struct {
	*ledger
	reader   *reader.Reader
	registry *prometheus.Registry
	echo     *echo.Echo
	document *openapi3.T
}

// newRig makes a rig whose reader asks over HTTP. The change, if any, sees the configuration before it is used.
func newRig(t testing.TB, change func(*reader.Config)) *rig {
	t.Helper()
	l := &ledger{asOf: now.UnixMilli() - 800}
	return rigOf(t, l, serveLedger(t, l), nil, change)
}

func rigOf(t testing.TB, l *ledger, p reader.Proxy, v *auth.Verifier, change func(*reader.Config)) *rig {
	t.Helper()
	out := &rig{ledger: l, registry: prometheus.NewRegistry(), document: loadDocument(t)}
	cfg := reader.Config{
		Proxy: p, EventTypes: func() map[string]event.Type { return types }, Now: func() time.Time { return now },
		Registry: out.registry, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if out.reader, err = reader.New(cfg); err != nil {
		t.Fatal(err)
	}
	out.echo = newServer(t, out.registry, v).Echo()
	out.reader.Register(out.echo, v)
	return out
}

func loadDocument(t testing.TB) *openapi3.T {
	t.Helper()
	document, err := openapi3.NewLoader().LoadFromData(reader.Document())
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// reply is an answer, checked against the document.
type reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// fields decodes the body with exact numbers.
func (r reply) fields(t testing.TB) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	out := map[string]any{}
	if err := d.Decode(&out); err != nil {
		t.Fatalf("decode %s: %v", r.Body, err)
	}
	return out
}

func (r *rig) get(t testing.TB, target string) reply {
	t.Helper()
	return r.do(t, httptest.NewRequest(http.MethodGet, target, nil))
}

func (r *rig) post(t testing.TB, target, body string) reply {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return r.do(t, req)
}

// do serves a request. Whatever comes back must be what the document says of that operation.
func (r *rig) do(t testing.TB, req *http.Request) reply {
	t.Helper()
	recorder := httptest.NewRecorder()
	r.echo.ServeHTTP(recorder, req)
	got := reply{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
	if err := r.validate(req, got); err != nil {
		t.Fatalf("%s %s: answer %d is not what the document says: %v\n%s", req.Method, req.URL, got.Status, err, got.Body)
	}
	return got
}

func (r *rig) validate(req *http.Request, got reply) error {
	c := r.echo.NewContext(req, nil)
	r.echo.Router().Find(req.Method, echo.GetPath(req), c)
	item := r.document.Paths.Value(documentPath(c.Path()))
	if item == nil || item.GetOperation(req.Method) == nil {
		return nil // not an operation: 404, 405, HEAD
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req, Route: &routers.Route{Spec: r.document, Path: c.Path(), PathItem: item, Method: req.Method, Operation: item.GetOperation(req.Method)},
		},
		Status: got.Status, Header: got.Header, Body: io.NopCloser(bytes.NewReader(got.Body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: strings.HasPrefix(got.Header.Get("Content-Type"), "text/html")},
	}
	return openapi3filter.ValidateResponse(context.Background(), input)
}

// documentPath turns a route of echo into a path of the document: /v1/keys/:type becomes /v1/keys/{type}.
func documentPath(route string) string {
	parts := strings.Split(route, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, ":"); ok {
			parts[i] = "{" + name + "}"
		}
	}
	return strings.ReplaceAll(strings.Join(parts, "/"), `\:`, ":")
}
