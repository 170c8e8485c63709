package ingest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/event"
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
	head, err := http.Head(r.url + "/v1/event-types")
	if err != nil {
		t.Fatal(err)
	}
	defer head.Body.Close()
	if head.StatusCode != http.StatusOK {
		t.Errorf("got %d for HEAD, want 200", head.StatusCode)
	}
}

// TestParametersAreRefused: a parameter that no call takes is never ignored.
func TestParametersAreRefused(t *testing.T) {
	r := start(t, options{})
	for target, want := range map[string]string{"?idempotency-key=a": "idempotency-key", "?a%20b&c=1": "a b", "?%zz": "%zz"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			path := map[string]string{http.MethodGet: "/v1/event-types", http.MethodPost: "/v1/events"}[method]
			req, err := http.NewRequestWithContext(t.Context(), method, r.url+path+target, strings.NewReader(view("a", "1")))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			a := r.read(resp)
			a.wantProblem(t, 400, wire.CodeBadRequest)
			if a.problem.Field != want || !strings.HasSuffix(a.problem.Detail, "this call takes none") {
				t.Errorf("%s %s%s: got %+v, want field %q", method, path, target, a.problem, want)
			}
		}
	}
	if got := r.events(); len(got) != 0 {
		t.Errorf("got %d events in the log, want none", len(got))
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
