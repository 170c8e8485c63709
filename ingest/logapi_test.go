package ingest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/eventlog/eventlogtest"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

func partitionOf(eventType, key string) int { return cluster.Partition(eventType, key, testPartitions) }

// openRemote returns a log and a reader that reaches it over HTTP; the first address it knows is dead.
func openRemote(t *testing.T) (*embedded.Log, *remote.Log) {
	t.Helper()
	log := embedded.New(embedded.Config{Dir: t.TempDir(), Partitions: eventlogtest.Partitions, SegmentBytes: 8 << 10})
	if err := log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := event.NewFingerprinter(testKey)
	if err != nil {
		t.Fatal(err)
	}
	i, err := ingest.New(ingest.Config{Log: log, Registry: anyLog{}, Types: testTypes, Fingerprinter: f})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: log, ingest: i}
	r.serve()
	client := wire.NewClient(wire.ClientConfig{})
	t.Cleanup(client.Close)
	return log, remote.New(remote.Config{URLs: func() []string { return []string{"http://127.0.0.1:1", r.url} }, Client: client})
}

func TestLogPathsCheckTheirParameters(t *testing.T) {
	r := start(t, options{})
	for target, field := range map[string]string{
		wire.PathLogRead + "?from=1&max_bytes=1&wait_ms=0":                        "partition",
		wire.PathLogRead + "?partition=x&from=1&max_bytes=1&wait_ms=0":            "partition",
		wire.PathLogRead + "?partition=0&from=-1&max_bytes=1&wait_ms=0":           "from",
		wire.PathLogRead + "?partition=0&from=1&max_bytes=99999999999&wait_ms=0":  "max_bytes",
		wire.PathLogRead + "?partition=0&from=1&max_bytes=1&wait_ms=3600000":      "wait_ms",
		wire.PathLogSeek + "?partition=0&append_time_ms=now":                      "append_time_ms",
		wire.PathLogBounds + "?partition=":                                        "partition",
		wire.PathLogRead + "?partition=0&from=1&max_bytes=1":                      "wait_ms",
		wire.PathLogRead + "?partition=0&from=99999999999999999999&max_bytes=1&w": "from",
	} {
		resp, err := http.Get(r.url + target)
		if err != nil {
			t.Fatal(err)
		}
		a := r.read(resp)
		a.wantProblem(t, http.StatusBadRequest, wire.CodeBadRequest)
		if a.problem.Field != field {
			t.Errorf("%s: got field %q, want %q", target, a.problem.Field, field)
		}
	}
}

// TestRemoteNoticesDamageOnTheWay changes one byte of each answer between server and client.
func TestRemoteNoticesDamageOnTheWay(t *testing.T) {
	r := start(t, options{})
	if a := r.post(view(keyIn(0), "a")); a.Accepted != 1 {
		t.Fatalf("got %+v", a)
	}
	var at int
	proxy := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		resp, err := http.Get(r.url + req.URL.RequestURI())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		body[at%len(body)] ^= 1
		_, _ = w.Write(body)
	})}
	listener := listen(t)
	done := make(chan struct{})
	go func() { defer close(done); _ = proxy.Serve(listener) }()
	defer func() { _ = proxy.Close(); <-done }()
	client := wire.NewClient(wire.ClientConfig{})
	defer client.Close()
	log := remote.New(remote.Config{URLs: func() []string { return []string{"http://" + listener.Addr().String()} }, Client: client})
	for ; at < 150; at++ {
		if _, err := log.Read(t.Context(), 0, 1, 1<<20, 0); err == nil || !strings.Contains(err.Error(), "invalid log chunk") {
			t.Fatalf("byte %d changed: got %v, want an invalid chunk", at, err)
		}
	}
}

func TestRemoteWithoutAnybody(t *testing.T) {
	client := wire.NewClient(wire.ClientConfig{})
	defer client.Close()
	for _, urls := range [][]string{nil, {"http://127.0.0.1:1"}} {
		log := remote.New(remote.Config{URLs: func() []string { return urls }, Client: client})
		if _, err := log.Bounds(t.Context(), 0); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("%v: got %v, want unavailable", urls, err)
		}
	}
}
