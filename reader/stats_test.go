package reader_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// at returns an instant of the day of now in ms.
func at(hour, minute, second int) int64 {
	return now.Truncate(24*60*60e9).UnixMilli() + int64(hour*3600+minute*60+second)*1000
}

// sample gives v1 five events, two of which have values that any float would spoil.
func sample(r *rig) {
	const big = event.MaxValue
	r.add(
		event.Event{Type: "view", Key: "v1", TimeMs: at(15, 59, 59)},
		event.Event{Type: "view", Key: "v1", TimeMs: at(16, 0, 0), Value: big, HasValue: true, Weight: 999_999},
		event.Event{Type: "view", Key: "v1", TimeMs: at(17, 5, 10), Value: -7, HasValue: true},
		event.Event{Type: "view", Key: "v1", TimeMs: at(17, 9, 0)}, // a little ahead of the clock
		event.Event{Type: "view", Key: "v1", TimeMs: 60_000},
		event.Event{Type: "view", Key: "a/b c+ü%", TimeMs: at(17, 0, 0)},
		event.Event{Type: "stock", Key: "p", TimeMs: at(17, 0, 0), Value: 10, HasValue: true, Weight: 3},
		event.Event{Type: "stock", Key: "p", TimeMs: at(17, 1, 0), Value: 10, HasValue: true, Weight: -3},
		event.Event{Type: "signup", Key: "v1", TimeMs: at(17, 1, 0)},
	)
}

func TestStatsTotals(t *testing.T) {
	r := newRig(t, nil)
	sample(r)
	cases := []struct{ name, query, want string }{
		{"all time, ahead of the clock included", "type=view&key=v1", "1000003"},
		{"count is the default", "type=view&key=v1&function=count", "1000003"},
		{"half-open range", "type=view&key=v1&from=2026-01-31T16:00:00Z&to=2026-01-31T17:05:00Z", "999999"},
		{"open start", "type=view&key=v1&to=2026-01-31T16:00:00Z", "2"},
		{"open end", "type=view&key=v1&from=2026-01-31T17:05:00Z", "2"},
		{"any offset", "type=view&key=v1&from=2026-01-31T21:30:00%2B05:30&to=2026-01-31T12:01:00-04:00", "999999"},
		{"exact sum beyond 64 bits", "type=view&key=v1&function=sum", "9007190247541736259002"},
		{"minimum", "type=view&key=v1&function=min", "-7"},
		{"maximum", "type=view&key=v1&function=max", "9007199254740991"},
		{"average of the events with a value", "type=view&key=v1&function=avg&from=2026-01-31T17:00:00Z", "-7"},
		{"average where the weights cancel out", "type=stock&key=p&function=avg", "null"},
		{"average of a fraction", "type=stock&key=p&function=avg&to=2026-01-31T17:01:00Z", "10"},
		{"sum where the weights cancel out", "type=stock&key=p&function=sum", "0"},
		{"sum of a type without values", "type=signup&key=v1&function=sum", "0"},
		{"average of a type without values", "type=signup&key=v1&function=avg", "null"},
		{"minimum without values", "type=signup&key=v1&function=min", "null"},
		{"maximum of no events", "type=view&key=nobody&function=max", "null"},
		{"unknown key", "type=view&key=nobody", "0"},
		{"key that wants escaping", "type=view&key=" + url.QueryEscape("a/b c+ü%"), "1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := r.get(t, "/v1/stats?"+c.query)
			if got.Status != 200 {
				t.Fatalf("got status %d: %s", got.Status, got.Body)
			}
			value, _ := json.Marshal(got.fields(t)["value"])
			if string(value) != c.want {
				t.Errorf("got value %s, want %s", value, c.want)
			}
		})
	}
}

func TestStatsSaysWhatItIs(t *testing.T) { // INV-8
	r := newRig(t, nil)
	sample(r)
	r.set(func(l *ledger) { l.stale = true })
	got := r.get(t, "/v1/stats?type=view&key=v1&function=sum&to=2026-01-31T15:00:00Z").fields(t)
	want := map[string]any{
		"type": "view", "key": "v1", "function": "sum", "unit": "ms", "from": nil, "to": "2026-01-31T15:00:00Z", "value": json.Number("0"),
		"as_of": "2026-01-31T17:05:29.450Z", "stale": true,
		"coverage": map[string]any{"partitions": json.Number("1"), "answered": json.Number("1"), "missing": []any{}},
		"sources": []any{map[string]any{
			"shard": "s2", "database": "s2-b", "role": "replica", "resolution": "minute+hour+day", "as_of": "2026-01-31T17:05:29.450Z",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer differs (-want +got):\n%s", diff)
	}
}

// series returns the points of an answer as "start=value", without the date of now.
func series(t *testing.T, got reply) string {
	t.Helper()
	var answer struct {
		Points []struct {
			Start string
			Value json.RawMessage
		}
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil {
		t.Fatalf("decode %s: %v", got.Body, err)
	}
	var out []string
	for _, p := range answer.Points {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(p.Start, "2026-01-31T"), ":00Z")+"="+string(p.Value))
	}
	return strings.Join(out, " ")
}

func TestSeriesIsDense(t *testing.T) {
	r := newRig(t, nil)
	sample(r)
	cases := []struct{ name, query, want string }{
		{"hours", "from=2026-01-31T14:00:00Z&to=2026-01-31T18:00:00Z&step=hour", "14:00=0 15:00=1 16:00=999999 17:00=2"},
		{"minutes", "from=2026-01-31T17:04:00Z&to=2026-01-31T17:07:00Z&step=minute", "17:04=0 17:05=1 17:06=0"},
		{"minutes, current one included", "from=2026-01-31T17:04:00Z&step=minute", "17:04=0 17:05=1"},
		{"hours, current one included", "from=2026-01-31T16:00:00Z&step=hour", "16:00=999999 17:00=2"},
		{"days", "from=2026-01-30T00:00:00Z&step=day", "2026-01-30T00:00=0 00:00=1000002"},
		{"sums", "from=2026-01-31T15:00:00Z&step=hour&function=sum", "15:00=0 16:00=9007190247541736259009 17:00=-7"},
		{"minima", "from=2026-01-31T15:00:00Z&step=hour&function=min", "15:00=null 16:00=9007199254740991 17:00=-7"},
		{"averages", "from=2026-01-31T15:00:00Z&step=hour&function=avg", "15:00=null 16:00=9007199254740991 17:00=-7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := r.get(t, "/v1/stats?type=view&key=v1&"+c.query)
			if s := series(t, got); got.Status != 200 || s != c.want {
				t.Errorf("got %d %q, want %q\n%s", got.Status, s, c.want, got.Body)
			}
		})
	}
}

func TestSeriesEndIsTold(t *testing.T) {
	r := newRig(t, nil)
	got := r.get(t, "/v1/stats?type=view&key=v1&from=2026-01-31T00:00:00Z&step=day").fields(t)
	if got["from"] != "2026-01-31T00:00:00Z" || got["to"] != "2026-02-01T00:00:00Z" || got["step"] != "day" || got["value"] != nil {
		t.Errorf("got %v, want the day of now", got)
	}
}

// wantProblem checks an error answer: status, code, field and a part of its detail.
func wantProblem(t *testing.T, got reply, status int, code wire.Code, field, detail string) {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(got.Body, &p); err != nil {
		t.Fatalf("decode %s: %v", got.Body, err)
	}
	if got.Status != status || p.Status != status || p.Code != code || p.Field != field || !strings.Contains(p.Detail, detail) {
		t.Errorf("got status %d, code %q, field %q, detail %q; want %d, %q, %q, …%q…", got.Status, p.Code, p.Field, p.Detail, status, code, field, detail)
	}
	if media := got.Header.Get("Content-Type"); media != wire.ProblemType {
		t.Errorf("got media type %q, want %q", media, wire.ProblemType)
	}
}

func TestStatsRefuses(t *testing.T) {
	r := newRig(t, nil)
	const ok = "type=view&key=v1"
	cases := []struct {
		name, query   string
		status        int
		code          wire.Code
		field, detail string
	}{
		{"nothing", "", 400, wire.CodeBadRequest, "type", "type is missing"},
		{"no key", "type=view", 400, wire.CodeBadRequest, "key", "key is missing"},
		{"empty key", "type=view&key=", 400, wire.CodeBadRequest, "key", "key is empty"},
		{"long key", "type=view&key=" + strings.Repeat("x", 256), 400, wire.CodeBadRequest, "key", "256 bytes"},
		{"key that is no text", "type=view&key=%ff", 400, wire.CodeBadRequest, "key", "UTF-8"},
		{"unknown type", "type=veiw&key=v1", 404, wire.CodeUnknownType, "type", "registered: signup, stock, view"},
		{"unknown function", ok + "&function=median", 400, wire.CodeBadRequest, "function", "count, sum, avg, min or max"},
		{"minimum of what can be undone", "type=stock&key=p&function=min", 422, wire.CodeUnprocessable, "function", "negative"},
		{"maximum of what can be undone", "type=stock&key=p&function=max", 422, wire.CodeUnprocessable, "function", "negative"},
		{"unknown parameter", ok + "&form=2026-01-31T17:00:00Z", 400, wire.CodeBadRequest, "form", "takes type, key, from, to"},
		{"repeated parameter", ok + "&key=v2", 400, wire.CodeBadRequest, "key", "2 times"},
		{"broken query string", ok + "&from=%zz", 400, wire.CodeBadRequest, "", "decoded"},
		{"date", ok + "&from=2026-01-31", 400, wire.CodeBadRequest, "from", "RFC 3339"},
		{"epoch", ok + "&to=1769880000000", 400, wire.CodeBadRequest, "to", "RFC 3339"},
		{"unescaped plus", ok + "&from=2026-01-31T17:00:00+01:00", 400, wire.CodeBadRequest, "from", "%2B"},
		{"seconds in from", ok + "&from=2026-01-31T17:00:30Z", 400, wire.CodeBadRequest, "from", "whole minute"},
		{"fraction in to", ok + "&to=2026-01-31T17:00:00.5Z", 400, wire.CodeBadRequest, "to", "whole minute"},
		{"hour not aligned", ok + "&from=2026-01-31T17:01:00Z&step=hour", 400, wire.CodeBadRequest, "from", "whole hour in UTC"},
		{"hour of half an offset", ok + "&from=2026-01-31T17:00:00%2B05:30&step=hour", 400, wire.CodeBadRequest, "from", "2026-01-31T11:30:00Z"},
		{"day not aligned", ok + "&from=2026-01-31T00:00:00Z&to=2026-01-31T12:00:00Z&step=day", 400, wire.CodeBadRequest, "to", "whole day in UTC"},
		{"before all time", ok + "&from=1969-12-31T23:59:00Z", 400, wire.CodeBadRequest, "from", "1970"},
		{"after all time", ok + "&to=2100-01-01T00:01:00Z", 400, wire.CodeBadRequest, "to", "2100"},
		{"empty range", ok + "&from=2026-01-31T17:00:00Z&to=2026-01-31T17:00:00Z", 400, wire.CodeBadRequest, "to", "must lie after from"},
		{"range turned round", ok + "&from=2026-01-31T17:00:00Z&to=2026-01-31T16:00:00Z", 400, wire.CodeBadRequest, "to", "must lie after from"},
		{"from at the end of all time", ok + "&from=2100-01-01T00:00:00Z", 400, wire.CodeBadRequest, "from", "future"},
		{"unknown step", ok + "&from=2026-01-31T17:00:00Z&step=week", 400, wire.CodeBadRequest, "step", "minute, hour or day"},
		{"series without a start", ok + "&step=day", 400, wire.CodeBadRequest, "from", "where it starts"},
		{"series of the future", ok + "&from=2026-02-01T00:00:00Z&step=day", 400, wire.CodeBadRequest, "from", "future"},
		{"too many points", ok + "&from=2026-01-01T00:00:00Z&step=minute", 422, wire.CodeUnprocessable, "step", "the limit is 10080"},
		{"wait without a unit", ok + "&wait=5", 400, wire.CodeBadRequest, "wait", "5s or 500ms"},
		{"negative wait", ok + "&wait=-5s", 400, wire.CodeBadRequest, "wait", "5s or 500ms"},
		{"long wait", ok + "&wait=31s", 400, wire.CodeBadRequest, "wait", "the limit is 30s"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wantProblem(t, r.get(t, "/v1/stats?"+c.query), c.status, c.code, c.field, c.detail)
		})
	}
	if asked := r.requests(); len(asked) != 0 {
		t.Errorf("got %d questions to the proxies, want none for requests that are refused", len(asked))
	}
}
