package ingest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

func TestFullLog(t *testing.T) {
	r := start(t, options{log: embedded.Config{MaxBytes: 64 << 10, SegmentBytes: 8 << 10}})
	acknowledged := map[string]int{}
	for i := 0; ; i++ {
		id := strconv.Itoa(i)
		body := `[` + view(strings.Repeat("k", 200)+id, id) + `,{"type":"nope","key":"x"}]`
		a := r.post(body)
		if a.status == http.StatusAccepted {
			acknowledged["view/"+strings.Repeat("k", 200)+id+"/"+id]++
			continue
		}
		a.wantProblem(t, http.StatusServiceUnavailable, wire.CodeLogFull)
		break
	}
	if diff := cmp.Diff(acknowledged, r.ids()); diff != "" {
		t.Errorf("the log differs from what was acknowledged (-want +got):\n%s", diff)
	}
	for p := range testPartitions {
		b, err := r.log.Bounds(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.log.Trim(t.Context(), p, b.Next); err != nil {
			t.Fatal(err)
		}
	}
	if a := r.post(view("again", "x")); a.Accepted != 1 {
		t.Errorf("after trimming got %+v, want 1 accepted", a)
	}
}

// failingLog refuses or loses appends to some partitions.
type failingLog struct {
	ingest.Log
	mu    sync.Mutex
	err   map[int]error
	after bool // the append takes place, and then it fails
}

func (l *failingLog) Append(ctx context.Context, partition int, batch []byte) (eventlog.Record, error) {
	l.mu.Lock()
	err, after := l.err[partition], l.after
	l.mu.Unlock()
	if err == nil || after {
		record, appendErr := l.Log.Append(ctx, partition, batch)
		if appendErr != nil || err == nil {
			return record, appendErr
		}
	}
	return eventlog.Record{}, err
}

// keyIn returns a key of a partition.
func keyIn(partition int) string {
	for i := 0; ; i++ {
		if key := "key" + strconv.Itoa(i); partitionOf("view", key) == partition {
			return key
		}
	}
}

func TestOutcomesAreTruthfulWhenPartitionsFail(t *testing.T) {
	body := `[` + view(keyIn(0), "a") + `,{"type":"nope","key":"x"},` + view(keyIn(1), "b") + `,` + view(keyIn(2), "c") + `,` + view(keyIn(0), "d") + `]`
	boom := errors.New("boom")
	for _, test := range []struct {
		name     string
		err      map[int]error
		accepted int
		rejected []rejected
		status   int
		code     wire.Code
	}{
		{"one away", map[int]error{1: boom}, 3, []rejected{{1, "unknown_type", "", false}, {2, "unavailable", "", true}}, 202, ""},
		{"one full", map[int]error{0: eventlog.ErrFull}, 2, []rejected{{0, "log_full", "", true}, {1, "unknown_type", "", false}, {4, "log_full", "", true}}, 202, ""},
		{"all away", map[int]error{0: boom, 1: boom, 2: boom, 3: boom}, 0, nil, 503, wire.CodeUnavailable},
		{"all full", map[int]error{0: eventlog.ErrFull, 1: eventlog.ErrFull, 2: eventlog.ErrFull, 3: eventlog.ErrFull}, 0, nil, 503, wire.CodeLogFull},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &failingLog{err: test.err}
			r := start(t, options{faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log }})
			a := r.post(body)
			if test.status != http.StatusAccepted {
				a.wantProblem(t, test.status, test.code)
			} else if diff := cmp.Diff(test.rejected, a.Rejected, cmpopts.IgnoreFields(rejected{}, "Message")); diff != "" || a.Accepted != test.accepted {
				t.Errorf("got %d accepted, want %d; rejections differ (-want +got):\n%s", a.Accepted, test.accepted, diff)
			}
			if got := len(r.events()); got != test.accepted {
				t.Errorf("got %d events in the log, want %d", got, test.accepted)
			}
			log.mu.Lock()
			log.err = nil
			log.mu.Unlock()
			if a := r.post(body); a.Accepted != 4 {
				t.Errorf("a retry got %+v, want 4 accepted", a)
			}
		})
	}
}

// TestAppendedThenFailed: an append whose outcome is not known is not acknowledged, and a retry meets the same ids.
func TestAppendedThenFailed(t *testing.T) {
	log := &failingLog{err: map[int]error{0: context.DeadlineExceeded, 1: io.ErrUnexpectedEOF, 2: io.ErrUnexpectedEOF, 3: io.ErrUnexpectedEOF}, after: true}
	r := start(t, options{faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log }})
	r.post(`{"type":"view","key":"a"}`, "Idempotency-Key", "k").wantProblem(t, http.StatusServiceUnavailable, wire.CodeUnavailable)
	log.mu.Lock()
	log.err = nil
	log.mu.Unlock()
	if a := r.post(`{"type":"view","key":"a"}`, "Idempotency-Key", "k"); a.Accepted != 1 {
		t.Fatalf("got %+v, want 1 accepted", a)
	}
	if ids := r.ids(); len(ids) != 1 || len(r.events()) != 2 {
		t.Errorf("got %v, want one identity twice", ids)
	}
}

func TestFullWindow(t *testing.T) {
	dir := t.TempDir()
	small := func(c *ingest.Config) { c.WindowMaxIDs = 10 }
	r := start(t, options{dir: dir, config: small})
	for i := range 9 {
		r.post(view("a", strconv.Itoa(i)))
	}
	a := r.post("[" + view("a", "x") + "," + view("a", "y") + "]")
	a.wantProblem(t, http.StatusTooManyRequests, wire.CodeWindowFull)
	if a := r.post(`[{"type":"view","key":"a"},{"type":"view","key":"b"},` + view("a", "x") + `]`); a.Accepted != 3 {
		t.Errorf("events without ids and one id more: got %+v, want 3 accepted", a)
	}
	r.post(view("a", "z")).wantProblem(t, http.StatusTooManyRequests, wire.CodeWindowFull)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, options{dir: dir, config: small})
	again.post(view("a", "z")).wantProblem(t, http.StatusTooManyRequests, wire.CodeWindowFull)
	if got := len(again.events()); got != 12 {
		t.Errorf("got %d events, want 12", got)
	}
}

func TestTooMuchInFlight(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.MaxInFlight = 1000 }})
	r.post("["+strings.Repeat(view("a", "1")+",", 40)+view("a", "1")+"]").wantProblem(t, http.StatusTooManyRequests, wire.CodeOverloaded)
	r.post(string(compress(t, "gzip", []byte(view("a", "1")))), "Content-Encoding", "gzip").wantProblem(t, http.StatusTooManyRequests, wire.CodeOverloaded)
	if a := r.post(view("a", "1")); a.Accepted != 1 {
		t.Errorf("got %+v: what was refused must have given back its bytes", a)
	}
}

// stuckLog holds every append until it is let go.
type stuckLog struct {
	ingest.Log
	entered chan struct{}
	release chan struct{}
}

func (l *stuckLog) Append(ctx context.Context, partition int, batch []byte) (eventlog.Record, error) {
	select {
	case l.entered <- struct{}{}:
	default:
	}
	<-l.release
	return l.Log.Append(ctx, partition, batch)
}

func newStuckLog() *stuckLog {
	return &stuckLog{entered: make(chan struct{}, 1), release: make(chan struct{})}
}

func TestRequestsWaitForTheLogWithinABound(t *testing.T) {
	log := newStuckLog()
	r := start(t, options{
		faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log },
		config: func(c *ingest.Config) { c.AppendTimeout = 20 * time.Millisecond },
	})
	r.post(view("a", "1")).wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	r.post(view("b", "2"), wire.HeaderDeadline, "5").wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	close(log.release)
	eventually(t, func() bool { return len(r.events()) == 2 })
	if a := r.post(view("a", "1")); a.Accepted != 1 {
		t.Errorf("a retry got %+v, want 1 accepted", a)
	}
	if diff := cmp.Diff(map[string]int{"view/a/1": 2, "view/b/2": 1}, r.ids()); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

// TestStopAnswersWhatIsInProgress: a request that waits for the log when the role is stopped gets its true answer, later ones are refused.
func TestStopAnswersWhatIsInProgress(t *testing.T) {
	log := newStuckLog()
	r := start(t, options{faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log }})
	answers := make(chan answer, 1)
	go func() { answers <- r.post(view("a", "1")) }()
	<-log.entered
	poll := make(chan answer, 1)
	go func() {
		resp, err := http.Get(r.url + wire.PathLogRead + "?partition=0&from=1&max_bytes=1&wait_ms=20000")
		if err != nil {
			t.Error(err)
			return
		}
		poll <- r.read(resp)
	}()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	eventually(t, func() bool { return r.ingest.Ready(t.Context()) != nil })
	r.post(view("b", "2")).wantProblem(t, http.StatusServiceUnavailable, wire.CodeUnavailable)
	(<-poll).wantProblem(t, http.StatusServiceUnavailable, wire.CodeUnavailable)
	close(log.release)
	if a := <-answers; a.Accepted != 1 {
		t.Errorf("got %+v, want 1 accepted", a)
	}
	if err := <-stopped; err != nil {
		t.Errorf("run ended with %v", err)
	}
	if again := start(t, options{dir: r.dir}); len(again.events()) != 1 {
		t.Errorf("got %v in the log, want what was accepted", again.ids())
	}
}

func TestOtherLogIsRefused(t *testing.T) {
	r := start(t, options{registry: otherLog{}})
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("got %v, want that the cluster counts another log", err)
	}
	if err := r.ingest.Ready(t.Context()); err == nil {
		t.Error("it is ready all the same")
	}
}

type otherLog struct{}

func (otherLog) EnsureLog(context.Context, string) error {
	return errors.New("the cluster counts another log")
}
