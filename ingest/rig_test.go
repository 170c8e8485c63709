package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

const (
	testPartitions = 4
	testKey        = "000102030405060708090a0b0c0d0e0f"
)

// rig is an ingest role over HTTP with a log on disk.
type rig struct {
	t        *testing.T
	dir      string
	log      *embedded.Log
	ingest   *ingest.Ingest
	registry *prometheus.Registry
	server   *httpserver.Server
	url      string
	stop     func() error // ends the role and returns what Run returned
}

type options struct {
	dir      string
	log      embedded.Config
	config   func(*ingest.Config)
	faulty   func(ingest.Log) ingest.Log // what ingest sees instead of the log
	registry ingest.Registry
}

type anyLog struct{}

func (anyLog) EnsureLog(context.Context, string) error { return nil }

func testTypes() map[string]event.Type {
	return map[string]event.Type{
		"view": {Name: "view", Unit: "ms", AcceptLate: 7 * 24 * time.Hour, CreatedAt: time.Unix(1_700_000_000, 0).UTC()},
		"like": {Name: "like", AllowNegative: true, AcceptLate: time.Hour, CreatedAt: time.Unix(1_700_000_000, 0).UTC()},
	}
}

func start(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, dir: o.dir, registry: prometheus.NewRegistry()}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	o.log.Dir, o.log.Partitions, o.log.Registerer = r.dir, testPartitions, r.registry
	r.log = embedded.New(o.log)
	if err := r.log.Open(t.Context()); err != nil {
		t.Fatalf("open log: %v", err)
	}
	f, err := event.NewFingerprinter(testKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ingest.Config{Log: r.log, Registry: anyLog{}, Types: testTypes, Fingerprinter: f, Registerer: r.registry}
	if o.registry != nil {
		cfg.Registry = o.registry
	}
	if o.config != nil {
		o.config(&cfg)
	}
	if o.faulty != nil {
		cfg.Log = o.faulty(cfg.Log)
	}
	if r.ingest, err = ingest.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.serve()
	return r
}

func (r *rig) serve() {
	r.t.Helper()
	var err error
	r.server, err = httpserver.New(httpserver.Config{Role: "ingest", Address: "127.0.0.1:0", Ready: r.ingest.Ready, Registry: r.registry, MaxBody: 9 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	r.ingest.Register(r.server.Echo(), nil)
	if err := r.server.Listen(); err != nil {
		r.t.Fatal(err)
	}
	r.url = r.server.URL()
	ctx, cancel := context.WithCancel(context.Background())
	httpCtx, stopHTTP := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var roleErr, httpErr error
	wg.Go(func() { httpErr = r.server.Run(httpCtx) })
	ended := make(chan struct{})
	go func() { defer close(ended); roleErr = r.ingest.Run(ctx) }()
	var once sync.Once
	r.stop = func() error {
		once.Do(func() {
			cancel()
			<-ended
			stopHTTP()
			wg.Wait()
			if httpErr != nil {
				r.t.Errorf("stop HTTP: %v", httpErr)
			}
			if err := r.log.Close(); err != nil {
				r.t.Errorf("close log: %v", err)
			}
		})
		return roleErr
	}
	r.t.Cleanup(func() { _ = r.stop() })
	eventually(r.t, func() bool { return r.ingest.Ready(ctx) == nil || roleEnded(ended) })
}

func roleEnded(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come true in time")
		}
	}
}

type answer struct {
	status   int
	header   http.Header
	Accepted int
	Rejected []rejected
	problem  wire.Problem
}

type rejected struct {
	Index     int
	Code      string
	Message   string
	Retryable bool
}

func (r *rig) post(body string, headers ...string) answer {
	r.t.Helper()
	return r.send(r.t.Context(), []byte(body), headers...)
}

// send posts a body; headers are names and values in turn.
func (r *rig) send(ctx context.Context, body []byte, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatalf("post: %v", err)
	}
	return r.read(resp)
}

func (r *rig) read(resp *http.Response) answer {
	r.t.Helper()
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	var into any = &a
	if resp.StatusCode != http.StatusAccepted {
		into = &a.problem
	}
	if err := json.Unmarshal(data, into); err != nil {
		r.t.Fatalf("status %d: %v in %q", resp.StatusCode, err, data)
	}
	return a
}

// events reads everything that is in the log.
func (r *rig) events() []event.Event {
	r.t.Helper()
	var out []event.Event
	for p := range testPartitions {
		for _, record := range allRecords(r.t, r.log, p) {
			var b event.Batch
			if err := b.Decode(record.Data); err != nil {
				r.t.Fatalf("decode batch %d of partition %d: %v", record.Offset, p, err)
			}
			for i := range b.Len() {
				out = append(out, b.Event(i))
			}
		}
	}
	return out
}

// ids returns how often each identity is in the log.
func (r *rig) ids() map[string]int {
	r.t.Helper()
	seen := map[string]int{}
	for _, e := range r.events() {
		seen[e.Type+"/"+e.Key+"/"+e.ID]++
	}
	return seen
}

func allRecords(t *testing.T, log eventlog.Reader, partition int) []eventlog.Record {
	t.Helper()
	b, err := log.Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	var out []eventlog.Record
	for from := b.First; from < b.Next; {
		c, err := log.Read(t.Context(), partition, from, 1<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c.Records...)
		from = c.Next
	}
	return out
}

func (a answer) wantProblem(t *testing.T, status int, code wire.Code) {
	t.Helper()
	if a.status != status || a.problem.Code != code || a.problem.Detail == "" {
		t.Fatalf("got status %d, problem %+v, want %d %s", a.status, a.problem, status, code)
	}
	if got := a.header.Get("Content-Type"); got != wire.ProblemType {
		t.Errorf("got content type %q", got)
	}
	if retry := a.header.Get("Retry-After"); (status == 429 || status == 503 || status == 504) && retry == "" {
		t.Errorf("status %d came without Retry-After", status)
	}
}
