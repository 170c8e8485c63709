package shardproxy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	shardproxy "github.com/quipudb/quipu/shard-proxy"

	"github.com/quipudb/quipu/wire"
)

// What ran is told by its shape, with the class that its deadline is of.
func TestDigestsTellWhatRan(t *testing.T) {
	r := newRig(t, shared, func(c *shardproxy.Config) { c.ID = "proxy-1" }).bothHealthy()
	for range 3 {
		if _, err := r.stats(keyOf(1, 0), keyOf(1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.post(wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{keyOf(1, 0)}, To: 60 * 24 * 60, Step: wire.StepDay}, nil); err != nil {
		t.Fatal(err)
	}
	var told wire.QueriesAnswer
	if err := r.client.JSON(t.Context(), http.MethodGet, r.url+wire.PathQueries+"?digests=true", nil, &told); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, d := range told.Digests {
		if d.Shard != "s1" || d.Proxy != "proxy-1" || d.Text == "" || d.Count < 1 {
			t.Errorf("digest %+v", d)
		}
		counts[d.Class] += d.Count
	}
	told.Queries = slices.DeleteFunc(told.Queries, func(q wire.RunningQuery) bool { return q.Class == "write" }) // the proxy makes time partitions
	if counts["point"] < 3 || counts["series"] < 1 || len(told.Queries) != 0 {
		t.Errorf("got %v by class, and %+v that run", counts, told.Queries)
	}
}

func TestKillOfWhatDoesNotRun(t *testing.T) {
	r := newRig(t, shared, func(c *shardproxy.Config) { c.ID = "proxy-1" })
	for id, want := range map[string]string{
		wire.QueryID("s1", "proxy-1", "00000000-1"): "does not run",
		wire.QueryID("s1", "proxy-2", "00000000-1"): "by way of this proxy",
		"s1": "by way of this proxy",
	} {
		err := r.client.JSON(t.Context(), http.MethodDelete, r.url+wire.PathQueries+"/"+id, nil, nil)
		if wire.CodeOf(err) != wire.CodeNotFound || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", id, err)
		}
	}
}
