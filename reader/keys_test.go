package reader_test

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

type keyReply struct {
	Type, Key, Shard string
	Known            bool
	Title, Owner     *string
	Partition        int
	Total            json.Number
}

func TestKeys(t *testing.T) {
	r := newRig(t, nil)
	odd := []string{"v1", "a/b", "100%", "a b", "a+b", "a%2Fb", "ü/ß%", ":x", "..", "*", "?", "#", "a\\:b", "🎉"}
	for i, key := range odd {
		r.add(event.Event{Type: "view", Key: key, TimeMs: at(17, 0, 0), Weight: int64(i + 1)})
	}
	r.set(func(l *ledger) { l.titles = map[string]wire.KeyInfo{"v1": {Title: "A film", Owner: "studio"}} })
	for i, key := range odd {
		t.Run(key, func(t *testing.T) {
			got := r.get(t, "/v1/keys/view/"+url.PathEscape(key))
			var info keyReply
			if err := json.Unmarshal(got.Body, &info); err != nil || got.Status != 200 {
				t.Fatalf("got %d %s: %v", got.Status, got.Body, err)
			}
			partition := cluster.Partition("view", key, partitions)
			total, _ := info.Total.Int64()
			if info.Type != "view" || info.Key != key || !info.Known || total != int64(i+1) || info.Partition != partition || info.Shard != shardOf(partition) {
				t.Errorf("got %+v, want key %q with total %d on partition %d", info, key, i+1, partition)
			}
			titled := info.Title != nil && *info.Title == "A film" && info.Owner != nil && *info.Owner == "studio"
			if titled != (key == "v1") {
				t.Errorf("got title %v and owner %v of %q", info.Title, info.Owner, key)
			}
		})
	}
}

func TestUnknownKeyIsNoError(t *testing.T) {
	r := newRig(t, nil)
	got := r.get(t, "/v1/keys/view/nobody").fields(t)
	if got["known"] != false || got["total"] != json.Number("0") || got["title"] != nil {
		t.Errorf("got %v, want an unknown key with total 0", got)
	}
}

// A slash that a client forgot to escape can only be part of the key.
func TestKeyWithAnUnescapedSlash(t *testing.T) {
	r := newRig(t, nil)
	if got := r.get(t, "/v1/keys/view/a/b").fields(t); got["key"] != "a/b" {
		t.Errorf("got key %v, want a/b", got["key"])
	}
}

func TestKeysRefuses(t *testing.T) {
	r := newRig(t, nil)
	wantProblem(t, r.get(t, "/v1/keys/veiw/v1"), 404, wire.CodeUnknownType, "type", "registered")
	wantProblem(t, r.get(t, "/v1/keys/view/%ff"), 400, wire.CodeBadRequest, "key", "UTF-8")
	wantProblem(t, r.get(t, "/v1/keys/view/v1?from=x"), 400, wire.CodeBadRequest, "from", "takes wait")
	wantProblem(t, r.get(t, "/v1/keys/view"), 404, wire.CodeNotFound, "", "no such path")
	r.set(func(l *ledger) {
		l.missing = map[string]wire.Code{"s1": wire.CodeUnavailable, "s2": wire.CodeUnavailable}
	})
	wantProblem(t, r.get(t, "/v1/keys/view/v1"), 503, wire.CodeUnavailable, "", "")
}

func TestEventTypes(t *testing.T) {
	r := newRig(t, nil)
	got := r.get(t, "/v1/event-types")
	var answer struct {
		EventTypes []event.Type `json:"event_types"`
	}
	if err := json.Unmarshal(got.Body, &answer); err != nil || len(answer.EventTypes) != 3 {
		t.Fatalf("got %s, want three types: %v", got.Body, err)
	}
	for i, name := range []string{"signup", "stock", "view"} {
		if answer.EventTypes[i] != types[name] {
			t.Errorf("got type %d %+v, want %+v", i, answer.EventTypes[i], types[name])
		}
	}
	wantProblem(t, r.get(t, "/v1/event-types?name=view"), 400, wire.CodeBadRequest, "name", "takes none")
}

func TestNothingIsAnsweredBeforeTheTypesAreKnown(t *testing.T) {
	r := newRig(t, func(c *reader.Config) { c.EventTypes = func() map[string]event.Type { return nil } })
	if err := r.reader.Ready(t.Context()); err == nil {
		t.Error("got ready, want an error")
	}
	for _, path := range []string{"/v1/stats?type=view&key=v1", "/v1/top?type=view", "/v1/keys/view/v1", "/v1/event-types"} {
		wantProblem(t, r.get(t, path), 503, wire.CodeUnavailable, "", "not known yet")
	}
}
