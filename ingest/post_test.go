package ingest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/eventlog/eventlogtest"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

func view(key, id string) string { return fmt.Sprintf(`{"type":"view","key":%q,"id":%q}`, key, id) }

func compress(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if encoding == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestAcceptedIsInTheLog posts every kind of body and finds in the log what was accepted (INV-2).
func TestAcceptedIsInTheLog(t *testing.T) {
	one := `{"type":"like","key":"k1","id":"a","time":"TIME","value":7,"weight":-2}`
	now := time.Now().UTC().Truncate(time.Millisecond)
	one = strings.Replace(one, "TIME", now.Format("2006-01-02T15:04:05.000Z"), 1)
	want := event.Event{Type: "like", Key: "k1", ID: "a", TimeMs: now.UnixMilli(), Value: 7, HasValue: true, Weight: -2}
	two := want
	two.ID = "b"
	pair := []event.Event{want, two}
	other := strings.Replace(one, `"a"`, `"b"`, 1)
	cases := map[string]struct {
		body    string
		headers []string
		want    []event.Event
	}{
		"array":                 {"[" + one + "," + other + "]", []string{"Content-Type", "application/json"}, pair},
		"array, charset":        {"[" + one + "," + other + "]", []string{"Content-Type", "application/json; charset=utf-8"}, pair},
		"one object":            {one, []string{"Content-Type", "application/json"}, pair[:1]},
		"lines":                 {one + "\n" + other + "\n", []string{"Content-Type", "application/x-ndjson"}, pair},
		"lines, other name":     {one + "\n" + other, []string{"Content-Type", "application/jsonl"}, pair},
		"array without type":    {"[" + one + "," + other + "]", nil, pair},
		"lines without type":    {one + "\n" + other, nil, pair},
		"array from curl":       {"[" + one + "]", []string{"Content-Type", "application/x-www-form-urlencoded"}, pair[:1]},
		"gzip":                  {string(compress(t, "gzip", []byte("["+one+","+other+"]"))), []string{"Content-Encoding", "gzip"}, pair},
		"zstd":                  {string(compress(t, "zstd", []byte(one+"\n"+other))), []string{"Content-Encoding", "ZSTD"}, pair},
		"identity":              {one, []string{"Content-Encoding", "identity"}, pair[:1]},
		"gzip in two members":   {string(compress(t, "gzip", []byte("["+one))) + string(compress(t, "gzip", []byte(","+other+"]"))), []string{"Content-Encoding", "gzip"}, pair},
		"nothing":               {"[]", nil, nil},
		"key with strange text": {`{"type":"view","key":"a\"\\\u0000é😀","time":` + strconv.FormatInt(now.UnixMilli(), 10) + `}`, nil, []event.Event{{Type: "view", Key: "a\"\\\x00é😀", TimeMs: now.UnixMilli(), Weight: 1}}},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			r := start(t, options{})
			a := r.post(test.body, test.headers...)
			if a.status != http.StatusAccepted || a.Accepted != len(test.want) || len(a.Rejected) != 0 {
				t.Fatalf("got %+v, want %d accepted", a, len(test.want))
			}
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("got content type %q", got)
			}
			byID := cmpopts.SortSlices(func(a, b event.Event) bool { return a.ID < b.ID })
			if diff := cmp.Diff(test.want, r.events(), byID, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("events in the log differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefaultTimeIsLogTime(t *testing.T) {
	r := start(t, options{})
	before, err := r.log.Now()
	if err != nil {
		t.Fatal(err)
	}
	r.post(view("a", "1"))
	after, err := r.log.Now()
	if err != nil {
		t.Fatal(err)
	}
	if got := r.events()[0].TimeMs; got < before || got > after {
		t.Errorf("got time %d, want between %d and %d", got, before, after)
	}
}

// TestBadEventsAreRejectedAlone checks code, message and index over HTTP; each kind of flaw has its case in the parser's tests.
func TestBadEventsAreRejectedAlone(t *testing.T) {
	r := start(t, options{})
	a := r.post(`[` + view("a", "1") + `,{"type":"nope","key":"a"},{"type":"view","key":""},` + view("b", "2") + `,{"type":"view","key":"a","weight":-1},
		{"type":"view","key":"a","time":1},{"type":"view","key":"a","time":4000000000000},{"type":"view","key":"a","value":1.5},{"type":"view","key":"a","x":"\"\\"}]`)
	want := []rejected{
		{1, "unknown_type", `type "nope" is not registered`, false},
		{2, "invalid_key", "key must have 1 to 255 bytes, has 0", false},
		{4, "negative_not_allowed", `type "view" does not allow negative weights`, false},
		{5, "too_old", "", false},
		{6, "too_far_ahead", "", false},
		{7, "invalid_value", "value must be a whole number without fraction or exponent, is 1.5", false},
		{8, "invalid_event", `unknown field "x"; known are type, key, id, time, value and weight`, false},
	}
	ignoreAges := cmp.Transformer("age", func(r rejected) rejected {
		if strings.HasPrefix(r.Code, "too_") && r.Message != "" {
			r.Message = ""
		}
		return r
	})
	if a.status != http.StatusAccepted || a.Accepted != 2 {
		t.Fatalf("got %+v, want 2 accepted", a)
	}
	if diff := cmp.Diff(want, a.Rejected, cmp.FilterValues(func(a, b rejected) bool {
		return strings.HasPrefix(b.Code, "too_") && b.Message != "" || strings.HasPrefix(a.Code, "too_") && a.Message != ""
	}, ignoreAges)); diff != "" {
		t.Errorf("rejections differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"view/a/1": 1, "view/b/2": 1}, r.ids()); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

// TestRefusedBodiesLeaveNothing: code, field or byte offset of every body that is refused as a whole, and an empty log.
func TestRefusedBodiesLeaveNothing(t *testing.T) {
	good := view("a", "1")
	large := "[" + strings.Repeat(good+",", 2000) + good + "]"
	zipped := compress(t, "gzip", []byte("["+good+"]"))
	cases := map[string]struct {
		body    string
		headers []string
		status  int
		code    wire.Code
		field   string
		offset  int64 // −1: none
		detail  string
	}{
		"empty":             {"", nil, 400, wire.CodeBadRequest, "", 0, "the body is empty at byte 0"},
		"cut off":           {"[" + good + "," + good[:20], nil, 400, wire.CodeBadRequest, "", int64(1 + len(good) + 1 + 20), "the body ends"},
		"syntax at the end": {"[" + good + ",}", nil, 400, wire.CodeBadRequest, "", int64(1 + len(good) + 1), "'}' where a value should follow at byte"},
		"bad line":          {good + "\n" + `{"type"}` + "\n", nil, 400, wire.CodeBadRequest, "", int64(len(good) + 1 + 7), "'}' where a colon should follow"},
		"two objects":       {good + good, []string{"Content-Type", "application/json"}, 400, wire.CodeBadRequest, "", int64(len(good)), "where the end of the body should follow"},
		"array as lines":    {"[" + good, []string{"Content-Type", "application/x-ndjson"}, 400, wire.CodeBadRequest, "", int64(1 + len(good)), "the body ends"},
		"not JSON":          {"type=view", nil, 400, wire.CodeBadRequest, "", 0, "'t' where an array or an object should follow"},
		"form":              {"type=view", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, wire.CodeMediaType, "Content-Type", -1, "application/x-ndjson"},
		"form, later":       {good + "&", []string{"Content-Type", "text/plain"}, 400, wire.CodeBadRequest, "", int64(len(good)), "'&' where a new line should follow"},
		"encoding":          {good, []string{"Content-Encoding", "br"}, 415, wire.CodeMediaType, "Content-Encoding", -1, `content encoding "br" is not known`},
		"not gzip":          {good, []string{"Content-Encoding", "gzip"}, 400, wire.CodeBadRequest, "", 0, "the gzip body is damaged or cut off after 0 decompressed bytes"},
		"gzip cut off":      {string(zipped[:len(zipped)-4]), []string{"Content-Encoding", "gzip"}, 400, wire.CodeBadRequest, "", int64(len(good) + 2), "the gzip body is damaged or cut off"},
		"not zstd":          {good, []string{"Content-Encoding", "zstd"}, 400, wire.CodeBadRequest, "", 0, "the zstd body is damaged or cut off after 0"},
		"too many events":   {"[" + strings.Repeat("{},", 20) + "{}]", nil, 413, wire.CodeTooLarge, "", -1, "the body has more than 20 events"},
		"too long":          {large, nil, 413, wire.CodeTooLarge, "", -1, "the body is longer than 65536 bytes"},
		"too long, gzip":    {string(compress(t, "gzip", []byte(large))), []string{"Content-Encoding", "gzip"}, 413, wire.CodeTooLarge, "", -1, "the body is longer than 65536 bytes"},
		"too long, zstd":    {string(compress(t, "zstd", []byte(large))), []string{"Content-Encoding", "zstd"}, 413, wire.CodeTooLarge, "", -1, "the body is longer than 65536 bytes"},
		"bad key of retry":  {good, []string{"Idempotency-Key", "é"}, 400, wire.CodeBadRequest, "Idempotency-Key", -1, "Idempotency-Key must be printable ASCII"},
		"long key of retry": {good, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, wire.CodeBadRequest, "Idempotency-Key", -1, "Idempotency-Key has 256 bytes, the limit is 255"},
	}
	r := start(t, options{config: func(c *ingest.Config) { c.MaxBody, c.MaxEvents = 64<<10, 20 }})
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			a := r.post(test.body, test.headers...)
			a.wantProblem(t, test.status, test.code)
			if a.problem.Field != test.field || !strings.Contains(a.problem.Detail, test.detail) {
				t.Errorf("got %+v, want field %q and detail %q", a.problem, test.field, test.detail)
			}
			switch {
			case test.offset < 0 && a.problem.ByteOffset != nil:
				t.Errorf("got byte offset %d, want none", *a.problem.ByteOffset)
			case test.offset >= 0 && (a.problem.ByteOffset == nil || *a.problem.ByteOffset != test.offset):
				t.Errorf("got %+v, want byte offset %d", a.problem, test.offset)
			}
		})
	}
	if got := r.events(); len(got) != 0 {
		t.Errorf("got %d events in the log, want none", len(got))
	}
}

func TestBodyOfUnknownLength(t *testing.T) {
	r := start(t, options{})
	var body strings.Builder
	for i := range 5000 {
		fmt.Fprintln(&body, view("k", strconv.Itoa(i)))
	}
	req, err := http.NewRequest(http.MethodPost, r.url+"/v1/events", struct{ io.Reader }{strings.NewReader(body.String())})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := r.read(resp); a.Accepted != 5000 || len(r.events()) != 5000 {
		t.Errorf("got %+v and %d events in the log, want 5,000", a, len(r.events()))
	}
}

func TestIdempotencyKey(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.IdempotencyMax = 2 }})
	body := `[{"type":"view","key":"a"},{"type":"view","key":"a"},{"type":"view","key":"a","id":"own"}]`
	for range 3 {
		if a := r.post(body, "Idempotency-Key", "k1"); a.Accepted != 3 {
			t.Fatalf("got %+v, want 3 accepted", a)
		}
	}
	seen := r.ids()
	if len(seen) != 3 || seen["view/a/own"] != 3 {
		t.Errorf("got identities %v, want three of them, three times each", seen)
	}
	r.post(body[:len(body)-2]+`}]`, "Idempotency-Key", "k1")
	a := r.post(`{"type":"view","key":"b"}`, "Idempotency-Key", "k1")
	a.wantProblem(t, http.StatusConflict, wire.CodeConflict)
	if a.problem.Field != "Idempotency-Key" || len(r.ids()) != 3 {
		t.Errorf("got %+v and %v in the log", a.problem, r.ids())
	}
	r.post(`[`, "Idempotency-Key", "k2").wantProblem(t, http.StatusBadRequest, wire.CodeBadRequest)
	if a := r.post(`[]`, "Idempotency-Key", "k2"); a.status != http.StatusAccepted {
		t.Errorf("a body that was refused as malformed must not tie its key: got %+v", a)
	}
}

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

// TestManySingleEvents posts single events from many connections at once: all are there, in far fewer batches.
func TestManySingleEvents(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.CommitDelay = 5 * time.Millisecond }})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	const senders, each = 64, 20
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				resp, err := client.Post(r.url+"/v1/events", "application/json", strings.NewReader(view("k"+strconv.Itoa(i), fmt.Sprint(s, "-", i))))
				if err != nil {
					t.Error(err)
					return
				}
				if a := r.read(resp); a.Accepted != 1 {
					t.Errorf("got %+v", a)
				}
			}
		})
	}
	wg.Wait()
	batches := 0
	for p := range testPartitions {
		batches += len(allRecords(t, r.log, p))
	}
	if ids := r.ids(); len(ids) != senders*each || batches >= senders*each/2 {
		t.Errorf("got %d events in %d batches, want %d events in far fewer", len(ids), batches, senders*each)
	}
}

// TestConcurrentBatches mixes bodies of many sizes from many senders, so that pooled memory is reused under load.
func TestConcurrentBatches(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.CommitBytes = 4 << 10 }})
	want := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for s := range 16 {
		wg.Go(func() {
			for i := range 15 {
				var events []string
				mu.Lock()
				for n := range 1 + (s*7+i*13)%200 {
					key, id := fmt.Sprintf("key-%d-%d", s, n%17), fmt.Sprintf("%d-%d-%d", s, i, n)
					events = append(events, view(key, id))
					want["view/"+key+"/"+id]++
				}
				mu.Unlock()
				if a := r.post("[" + strings.Join(events, ",") + "]"); a.Accepted != len(events) {
					t.Errorf("got %+v, want %d accepted", a, len(events))
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, r.ids()); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}

func TestEventTypesAreListed(t *testing.T) {
	r := start(t, options{})
	resp, err := http.Get(r.url + "/v1/event-types")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(text, `{"event_types":[{"name":"like","unit":"","description":"","allow_negative":true,`) || strings.Count(text, `"name"`) != 2 {
		t.Errorf("got %d %s", resp.StatusCode, text)
	}
}

// TestLogOverHTTPConforms runs the event log's suite against the remote reader and this role's handlers.
func TestLogOverHTTPConforms(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlogtest.Log {
		log, reader := openRemote(t)
		return eventlogtest.Log{Appender: log, Reader: reader, Trimmer: log}
	})
}

func TestMain(m *testing.M) {
	if childServes() {
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}
