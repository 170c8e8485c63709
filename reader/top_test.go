package reader_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

type topReply struct {
	From, To string
	Exact    bool
	Others   *int64 `json:"others_at_most"`
	Entries  []topEntry
	Coverage struct{ Partitions, Answered int }
}

type topEntry struct {
	Rank  int
	Key   string
	Count int64
}

func decodeTop(t *testing.T, got reply) topReply {
	t.Helper()
	var out topReply
	if err := json.Unmarshal(got.Body, &out); err != nil || got.Status != 200 {
		t.Fatalf("got %d %s: %v", got.Status, got.Body, err)
	}
	return out
}

func TestTop(t *testing.T) {
	r := newRig(t, nil)
	r.add(
		event.Event{Type: "view", Key: "b", TimeMs: at(17, 0, 0), Weight: 5},
		event.Event{Type: "view", Key: "a", TimeMs: at(17, 1, 0), Weight: 5},
		event.Event{Type: "view", Key: "c", TimeMs: at(17, 5, 29), Weight: 9},
		event.Event{Type: "view", Key: "old", TimeMs: at(16, 5, 59), Weight: 100},
		event.Event{Type: "stock", Key: "p", TimeMs: at(17, 0, 0), Weight: 1000},
	)
	cases := []struct {
		name, query, from, to string
		want                  []topEntry
	}{
		{"last hour, current minute included", "", "16:06", "17:06", []topEntry{{1, "c", 9}, {2, "a", 5}, {3, "b", 5}}},
		{"the first two", "&n=2", "16:06", "17:06", []topEntry{{1, "c", 9}, {2, "a", 5}}},
		{"range", "&from=2026-01-31T17:00:00Z&to=2026-01-31T17:01:00Z", "17:00", "17:01", []topEntry{{1, "b", 5}}},
		{"open end", "&from=2026-01-31T17:01:00Z", "17:01", "17:06", []topEntry{{1, "c", 9}, {2, "a", 5}}},
		{"open start", "&to=2026-01-31T16:06:00Z", "15:06", "16:06", []topEntry{{1, "old", 100}}},
		{"long ago", "&from=2025-01-31T17:01:00Z&to=2025-01-31T18:01:00Z", "", "", []topEntry{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := decodeTop(t, r.get(t, "/v1/top?type=view"+c.query))
			if diff := cmp.Diff(c.want, got.Entries); diff != "" || !got.Exact {
				t.Errorf("exact %t, entries differ (-want +got):\n%s", got.Exact, diff)
			}
			if c.from != "" && (got.From != "2026-01-31T"+c.from+":00Z" || got.To != "2026-01-31T"+c.to+":00Z") {
				t.Errorf("got range %s to %s, want %s to %s", got.From, got.To, c.from, c.to)
			}
		})
	}
}

// Any range is asked for; whether it can be ranked is for the shards to say.
func TestTopOfLongRanges(t *testing.T) {
	r := newRig(t, nil)
	r.add(event.Event{Type: "view", Key: "old", TimeMs: at(16, 5, 59), Weight: 100}, event.Event{Type: "view", Key: "new", TimeMs: at(17, 5, 0), Weight: 3})
	got := decodeTop(t, r.get(t, "/v1/top?type=view&from=1970-01-01T00:00:00Z&n=1"))
	if diff := cmp.Diff([]topEntry{{1, "old", 100}}, got.Entries); diff != "" || !got.Exact || got.Others == nil || *got.Others != 3 {
		t.Errorf("got %+v, want others 3 (-want +got):\n%s", got, diff)
	}
	r.set(func(l *ledger) { l.others = 7 })
	got = decodeTop(t, r.get(t, "/v1/top?type=view&from=1970-01-01T00:00:00Z"))
	if got.Exact || *got.Others != 7 || len(got.Entries) != 2 {
		t.Errorf("got %+v, want two entries, not exact, others 7", got)
	}
	r.set(func(l *ledger) {
		l.unranked = wire.NewProblem(wire.CodeUnprocessable, "offered is the day").WithField("from_minute")
	})
	wantProblem(t, r.get(t, "/v1/top?type=view&from=2020-01-01T00:01:00Z"), 422, wire.CodeUnprocessable, "from", "offered is the day")
}

func TestTopTellsWhatIsMissing(t *testing.T) { // INV-8
	r := newRig(t, nil)
	here, gone := lost("s1"), lost("s2")
	r.add(event.Event{Type: "view", Key: here, TimeMs: at(17, 0, 0)}, event.Event{Type: "view", Key: gone, TimeMs: at(17, 0, 0)})
	r.set(func(l *ledger) { l.missing = map[string]wire.Code{"s2": wire.CodeDeadline} })
	got := decodeTop(t, r.get(t, "/v1/top?type=view"))
	if diff := cmp.Diff([]topEntry{{1, here, 1}}, got.Entries); diff != "" || got.Exact || got.Others != nil || got.Coverage.Partitions != 16 || got.Coverage.Answered != 8 {
		t.Errorf("got %+v, want one entry, not exact, 8 of 16 partitions (-want +got):\n%s", got, diff)
	}
	r.set(func(l *ledger) { l.missing["s1"] = wire.CodeUnavailable })
	wantProblem(t, r.get(t, "/v1/top?type=view"), 503, wire.CodeUnavailable, "", "no partition answered")
}

func TestTopRefuses(t *testing.T) {
	r := newRig(t, nil)
	cases := []struct {
		name, query   string
		status        int
		code          wire.Code
		field, detail string
	}{
		{"no type", "", 400, wire.CodeBadRequest, "type", "missing"},
		{"unknown type", "type=veiw", 404, wire.CodeUnknownType, "type", "registered"},
		{"a key", "type=view&key=v1", 400, wire.CodeBadRequest, "key", "takes type, from, to, n, wait"},
		{"n of 0", "type=view&n=0", 400, wire.CodeBadRequest, "n", "1 to 1000"},
		{"n too large", "type=view&n=1001", 400, wire.CodeBadRequest, "n", "1 to 1000"},
		{"n that is no number", "type=view&n=ten", 400, wire.CodeBadRequest, "n", "1 to 1000"},
		{"seconds", "type=view&from=2026-01-31T17:00:01Z", 400, wire.CodeBadRequest, "from", "whole minute"},
		{"range turned round", "type=view&from=2026-01-31T17:00:00Z&to=2026-01-31T16:00:00Z", 400, wire.CodeBadRequest, "to", "after from"},
		{"future", "type=view&from=2026-01-31T17:06:00Z", 400, wire.CodeBadRequest, "from", "future"},
		{"nothing before all time", "type=view&to=1970-01-01T00:00:00Z", 400, wire.CodeBadRequest, "to", "after from"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wantProblem(t, r.get(t, "/v1/top?"+c.query), c.status, c.code, c.field, c.detail)
		})
	}
}
