package reader_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// outcomes returns each result of a batch as its value, its points or its error code and field.
func outcomes(t *testing.T, got reply) []string {
	t.Helper()
	var answer struct {
		Results []struct {
			Value  json.RawMessage
			Points []struct{ Value json.RawMessage }
			Error  *struct {
				Code, Field string
				Retryable   bool
			}
		}
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil {
		t.Fatalf("decode %s: %v", got.Body, err)
	}
	out := []string{}
	for _, r := range answer.Results {
		switch {
		case r.Error != nil:
			out = append(out, fmt.Sprintf("%s %s %t", r.Error.Code, r.Error.Field, r.Error.Retryable))
		case r.Points != nil:
			values := make([]string, len(r.Points))
			for i, p := range r.Points {
				values[i] = string(p.Value)
			}
			out = append(out, strings.Join(values, ","))
		default:
			out = append(out, string(r.Value))
		}
	}
	return out
}

func TestBatchAnswersEachQuery(t *testing.T) {
	r := newRig(t, nil)
	sample(r)
	got := r.post(t, "/v1/stats:batch", `{"type":"view","from":"2026-01-31T16:00:00Z","queries":[
		{"key":"v1"}, {"key":"v1","function":"min"}, {"key":"nobody"}, {"key":"v1","step":"hour"},
		{"key":"v1","type":"veiw"}, {"key":"p","type":"stock"}, {"key":"p","type":"stock","function":"max"}, {}, {"key":"v1","to":"yesterday"}]}`)
	want := []string{"1000001", "-7", "0", "999999,2", "unknown_type type false", "0", "unprocessable function false", "bad_request key false", "bad_request to false"}
	if diff := cmp.Diff(want, outcomes(t, got)); got.Status != 200 || diff != "" {
		t.Errorf("got status %d, results differ (-want +got):\n%s", got.Status, diff)
	}
}

func TestBatchAsksForEachKeyOnce(t *testing.T) {
	r := newRig(t, nil)
	sample(r)
	r.post(t, "/v1/stats:batch", `{"type":"view","queries":[{"key":"v1"},{"key":"v2"},{"key":"v1","function":"sum"},{"key":"v1","function":"avg"}]}`)
	want := []*wire.StatsRequest{{Type: "view", Keys: []string{"v1", "v2"}, To: event.MaxMinute + 1}}
	if diff := cmp.Diff(want, r.requests()); diff != "" {
		t.Errorf("questions differ (-want +got):\n%s", diff)
	}
}

// lost returns a key of type view whose partition the shard owns.
func lost(shard string) string {
	for i := 0; ; i++ {
		if key := "k" + strconv.Itoa(i); shardOf(cluster.Partition("view", key, partitions)) == shard {
			return key
		}
	}
}

func TestBatchTellsWhatIsMissing(t *testing.T) { // INV-8: never a confident 0
	r := newRig(t, nil)
	here, gone := lost("s1"), lost("s2")
	r.add(event.Event{Type: "view", Key: here, TimeMs: at(17, 0, 0)}, event.Event{Type: "view", Key: gone, TimeMs: at(17, 0, 0)})
	r.set(func(l *ledger) { l.missing = map[string]wire.Code{"s2": wire.CodeUnavailable} })
	got := r.post(t, "/v1/stats:batch", `{"type":"view","queries":[{"key":"`+here+`"},{"key":"`+gone+`"},{"key":"`+gone+`","from":"2026-01-31T17:00:00Z","step":"hour"}]}`)
	want := []string{"1", "unavailable  true", "unavailable  true"}
	if diff := cmp.Diff(want, outcomes(t, got)); got.Status != 200 || diff != "" {
		t.Errorf("got status %d, results differ (-want +got):\n%s", got.Status, diff)
	}
	coverage := got.fields(t)["coverage"]
	partition := json.Number(strconv.Itoa(cluster.Partition("view", gone, partitions)))
	wantCoverage := map[string]any{
		"partitions": json.Number("3"), "answered": json.Number("1"),
		"missing": []any{map[string]any{"shard": "s2", "partitions": []any{partition}, "code": "unavailable"}},
	}
	if diff := cmp.Diff(any(wantCoverage), coverage); diff != "" {
		t.Errorf("coverage differs (-want +got):\n%s", diff)
	}
	if strings.Contains(string(got.Body), "10.1.2.3") {
		t.Errorf("answer tells addresses of databases: %s", got.Body)
	}
}

func TestBatchThatFailsAltogetherIsAProblem(t *testing.T) {
	r := newRig(t, nil)
	r.set(func(l *ledger) { l.fail = wire.NewProblem(wire.CodeUnavailable, "shard s1 at 10.1.2.3 is away") })
	got := r.post(t, "/v1/stats:batch", `{"type":"view","queries":[{"key":"v1"},{"key":"v2"}]}`)
	wantProblem(t, got, 503, wire.CodeUnavailable, "", "can't be reached")
	if got.Header.Get("Retry-After") != "1" {
		t.Errorf("got Retry-After %q, want 1", got.Header.Get("Retry-After"))
	}
}

func TestBatchRefuses(t *testing.T) {
	r := newRig(t, func(c *reader.Config) {
		c.Limits = reader.Limits{BatchQueries: 3, BatchPoints: 100, BatchBytes: 4096}
	})
	series := `{"key":"v1","from":"2026-01-31T16:00:00Z","to":"2026-01-31T17:00:00Z","step":"minute"}`
	cases := []struct {
		name, body    string
		status        int
		code          wire.Code
		field, detail string
		offset        int64 // −1: none
	}{
		{"no body", ``, 400, wire.CodeBadRequest, "", "ends too early", 0},
		{"no queries", `{"type":"view"}`, 400, wire.CodeBadRequest, "queries", "missing", -1},
		{"empty queries", `{"queries":[]}`, 400, wire.CodeBadRequest, "queries", "empty", -1},
		{"no object", `[1]`, 400, wire.CodeBadRequest, "", "the body must not be an array", 1},
		{"broken JSON", `{"queries":[{"key":}]}`, 400, wire.CodeBadRequest, "", "not JSON", 20},
		{"cut off", `{"queries":[{"key":"v1"`, 400, wire.CodeBadRequest, "", "too early", 23},
		{"something after it", `{"queries":[{"key":"v1"}]} x`, 400, wire.CodeBadRequest, "", "follows", 27},
		{"wrong kind", `{"queries":[{"key":7}]}`, 400, wire.CodeBadRequest, "queries.key", "queries.key must not be a number", 20},
		{"unknown field", `{"queries":[{"key":"v1","form":"x"}]}`, 400, wire.CodeBadRequest, "form", "unknown field", -1},
		{"too many queries", `{"queries":[{},{},{},{}]}`, 422, wire.CodeUnprocessable, "queries", "the limit is 3", -1},
		{"too many points", `{"type":"view","queries":[` + series + `,` + series + `]}`, 422, wire.CodeUnprocessable, "queries", "the limit of a batch is 100", -1},
		{"too long", `{"type":"` + strings.Repeat("x", 5000) + `"}`, 413, wire.CodeTooLarge, "", "4096 bytes", -1},
		{"bad wait", `{"type":"view","wait":"soon","queries":[{"key":"v1"}]}`, 400, wire.CodeBadRequest, "wait", "5s or 500ms", -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := r.post(t, "/v1/stats:batch", c.body)
			wantProblem(t, got, c.status, c.code, c.field, c.detail)
			var p wire.Problem
			_ = json.Unmarshal(got.Body, &p)
			switch {
			case c.offset < 0 && p.ByteOffset != nil:
				t.Errorf("got byte offset %d, want none", *p.ByteOffset)
			case c.offset >= 0 && (p.ByteOffset == nil || *p.ByteOffset != c.offset):
				t.Errorf("got problem %s, want byte offset %d", got.Body, c.offset)
			}
		})
	}
	wantProblem(t, r.post(t, "/v1/stats:batch?wait=5s", `{"queries":[{"key":"v1"}]}`), 400, wire.CodeBadRequest, "wait", "takes none")
}

func TestBatchOfManyKeys(t *testing.T) {
	r := newRig(t, nil)
	var queries, want []string
	for i := range 1000 {
		key := "k" + strconv.Itoa(i)
		r.add(event.Event{Type: "view", Key: key, TimeMs: at(17, 0, 0), Weight: int64(i + 1)})
		queries, want = append(queries, `{"key":"`+key+`"}`), append(want, strconv.Itoa(i+1))
	}
	got := r.post(t, "/v1/stats:batch", `{"type":"view","queries":[`+strings.Join(queries, ",")+`]}`)
	if diff := cmp.Diff(want, outcomes(t, got)); diff != "" {
		t.Errorf("results differ (-want +got):\n%s", diff)
	}
}
