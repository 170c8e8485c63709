package reader_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// newKeepingRig is newColdRig before shards that say whether an answer is still the same.
func newKeepingRig(t *testing.T, change func(*reader.Config)) (r *rig, v *vault, warm, chilly string) {
	r, v, warm, chilly = newColdRig(t, func(cfg *reader.Config) {
		cfg.Partition = func(kind, key string) (int, bool) { return cluster.Partition(kind, key, partitions), true }
		if change != nil {
			change(cfg)
		}
	})
	r.set(func(l *ledger) { l.validates = true })
	return r, v, warm, chilly
}

// roles returns the roles of an answer's sources.
func roles(t *testing.T, got map[string]any) string {
	t.Helper()
	var out []string
	for _, s := range got["sources"].([]any) {
		s := s.(map[string]any)
		if s["resolution"] == "" {
			t.Errorf("source %v tells no resolution", s)
		}
		out = append(out, s["role"].(string))
	}
	return strings.Join(out, " ")
}

// A finished answer is kept, what came from cold storage included, until an event touches its very key and range.
func TestClosedAnswersAreKept(t *testing.T) {
	r, _, warm, key := newKeepingRig(t, nil)
	for name, query := range map[string]string{"total": yesterday, "series": yesterday + "&step=hour"} {
		t.Run(name, func(t *testing.T) {
			target := "/v1/stats?type=view&key=" + key + query
			value := func(got map[string]any) string { return text(t, []any{got["value"], got["points"]}) }
			first := r.get(t, target).fields(t)
			again := func(wantRoles string) map[string]any {
				t.Helper()
				got := r.get(t, target).fields(t)
				if got := roles(t, got); got != wantRoles {
					t.Fatalf("the answer is from %s, want %s", got, wantRoles)
				}
				return got
			}
			if got := again("cache"); value(got) != value(first) {
				t.Errorf("got %v, want %v", got, first)
			}
			r.add(event.Event{Type: "view", Key: warm, TimeMs: at(-20, 5, 0)}, event.Event{Type: "view", Key: key, TimeMs: at(12, 0, 0)})
			r.set(func(l *ledger) { l.asOf++ })
			if got := again("cache"); value(got) != value(first) || got["as_of"] == first["as_of"] {
				t.Errorf("got %v, want %v as of later", got, first)
			}
			r.add(event.Event{Type: "view", Key: key, TimeMs: at(-20, 7, 0)})
			if got := again("replica cold"); value(got) == value(first) {
				t.Errorf("the late event is missing: %v", got)
			}
			again("cache")
			if got := r.get(t, target+"&function=max").fields(t); roles(t, got) != "cache" {
				t.Errorf("another function of the same range is from %s", roles(t, got))
			}
		})
	}
	if got := roles(t, r.get(t, "/v1/stats?type=view&key="+key+today).fields(t)); got != "replica" {
		t.Errorf("a range that is still open is from %s", got)
	}
}

// Whoever says no-cache is answered anew.
func TestNoCacheIsAnsweredAnew(t *testing.T) {
	r, _, _, key := newKeepingRig(t, nil)
	target := "/v1/stats?type=view&key=" + key + yesterday
	r.get(t, target)
	req := httptest.NewRequest(http.MethodGet, target, nil)
	req.Header.Set("Cache-Control", "no-cache")
	if got := r.do(t, req).fields(t); roles(t, got) != "replica cold" || text(t, got["value"]) != "3" {
		t.Errorf("got %v", got)
	}
	asked := r.requests()
	if last := asked[len(asked)-1]; last.Validators != nil || last.MinAsOf <= now.UnixMilli() {
		t.Errorf("the shards were asked %+v", last)
	}
}

// In one batch some answers are kept and others are not.
func TestKeptAnswersInABatch(t *testing.T) {
	r, v, _, key := newKeepingRig(t, nil)
	other := ""
	for n := 0; other == ""; n++ { // another key of the same partition
		if k := fmt.Sprint("o", n); cluster.Partition("view", k, partitions) == cluster.Partition("view", key, partitions) {
			other = k
		}
	}
	r.add(event.Event{Type: "view", Key: other, TimeMs: at(-20, 5, 0), Weight: 7})
	r.archive(v, now.Unix()/86400*minutesOfDay)
	body := fmt.Sprintf(`{"type":"view","from":"2026-01-30T00:00:00Z","to":"2026-01-31T00:00:00Z","queries":[{"key":%q},{"key":%q}]}`, key, other)
	r.get(t, "/v1/stats?type=view&key="+key+yesterday)
	for range 2 {
		got := r.post(t, "/v1/stats:batch", body).fields(t)
		results := got["results"].([]any)
		if text(t, results[0].(map[string]any)["value"]) != "3" || text(t, results[1].(map[string]any)["value"]) != "7" {
			t.Errorf("got %v", got)
		}
	}
}

// INV-8: what is kept is answered when shards can't be asked, labelled stale and as of when it was last true for certain.
func TestKeptAnswersOutlastShards(t *testing.T) {
	r, _, warm, key := newKeepingRig(t, nil)
	target := "/v1/stats?type=view&key=" + key + yesterday
	r.get(t, target)
	asOf := r.get(t, target).fields(t)["as_of"]
	for name, away := range map[string]func(*ledger){
		"all":   func(l *ledger) { l.fail = wire.NewProblem(wire.CodeUnavailable, "no cluster proxy answers") },
		"shard": func(l *ledger) { l.fail, l.missing = nil, map[string]wire.Code{"s2": wire.CodeUnavailable} },
	} {
		t.Run(name, func(t *testing.T) {
			r.set(away)
			got := r.get(t, target).fields(t)
			if text(t, got["value"]) != "3" || got["stale"] != true || got["as_of"] != asOf || roles(t, got) != "cache" {
				t.Errorf("got %v", got)
			}
			if c := got["coverage"].(map[string]any); text(t, c["answered"]) != "1" || len(c["missing"].([]any)) != 0 {
				t.Errorf("got coverage %v", c)
			}
			if got := r.get(t, "/v1/stats?type=view&key="+key+today); got.Status != 503 {
				t.Errorf("what was never asked: status %d", got.Status)
			}
		})
	}
	r.set(func(l *ledger) { l.fail, l.missing = nil, map[string]wire.Code{"s2": wire.CodeUnavailable} })
	body := fmt.Sprintf(`{"type":"view","from":"2026-01-30T00:00:00Z","to":"2026-01-31T00:00:00Z","queries":[{"key":%q},{"key":%q}]}`, key, warm)
	if got := r.post(t, "/v1/stats:batch", body).fields(t); got["stale"] != true || text(t, got["results"].([]any)[0].(map[string]any)["value"]) != "3" || got["as_of"] != asOf {
		t.Errorf("got %v", got)
	}
}

// INV-9
func TestKeptAnswersAreBounded(t *testing.T) {
	r, _, _, key := newKeepingRig(t, func(cfg *reader.Config) { cfg.Limits.KeptBytes = 16 << 10 })
	for i := range 100 {
		r.get(t, fmt.Sprintf("/v1/stats?type=view&key=%s&from=2026-01-30T00:%02d:00Z&to=2026-01-30T12:%02d:00Z", key, i%60, i/2))
	}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
	}
	if b := values["quipu_reader_kept_bytes"]; b <= 0 || b > 16<<10 || values["quipu_reader_kept_evictions_total"] == 0 {
		t.Errorf("%v bytes kept, %v evicted", b, values["quipu_reader_kept_evictions_total"])
	}
	none, _, _, key := newKeepingRig(t, func(cfg *reader.Config) { cfg.Limits.KeptBytes = -1 })
	none.get(t, "/v1/stats?type=view&key="+key+yesterday)
	if got := roles(t, none.get(t, "/v1/stats?type=view&key="+key+yesterday).fields(t)); got != "replica cold" {
		t.Errorf("a reader that keeps nothing answers from %s", got)
	}
}
