package clusterproxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/httpserver"

	clusterproxy "github.com/quipudb/quipu/cluster-proxy"
)

// checkKeys compares the keys of an answer with what the fleet has counted.
func checkKeys(t testing.TB, got *wire.StatsAnswer, want ...string) {
	t.Helper()
	var keys []string
	for _, k := range got.Keys {
		keys = append(keys, k.Key)
		if len(k.Points) != 1 || k.Points[0].Count != countOf(k.Key) {
			t.Errorf("key %s: got %v, want count %d", k.Key, k.Points, countOf(k.Key))
		}
	}
	if !slices.Equal(keys, want) {
		t.Errorf("got keys %v, want %v", keys, want)
	}
}

func TestStatsGathersInTheOrderOfTheRequest(t *testing.T) {
	f := newFleet(t)
	keys := []string{keyOn(6, 0), keyOn(1, 0), keyOn(6, 1), keyOn(0, 0), keyOn(1, 0), keyOn(5, 0)}
	got, err := f.statsOf(keys...)
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, got, keys...)
	want := wire.Provenance{
		AsOf: 1000, Stale: true, Coverage: wire.Coverage{Partitions: 4, Answered: 4},
		Sources: []wire.Source{
			{Shard: "s1", Database: "s1-b", Role: "replica", Resolution: "minute", AsOf: 1000},
			{Shard: "s2", Database: "s2-b", Role: "replica", Resolution: "minute", AsOf: 2000},
		},
	}
	if d := cmp.Diff(want, got.Provenance); d != "" {
		t.Errorf("provenance differs (-want +got):\n%s", d)
	}
	if calls := f.callsOf("s1-1", "s1-2", "s2-1", "s2-2"); calls[0]+calls[1] != 1 || calls[2]+calls[3] != 1 {
		t.Errorf("got calls %v, want one a shard", calls)
	}
}

// What a caller has of each key is told to the shard of the key, and so is what the shard says of it.
func TestStatsPassesValidatorsOn(t *testing.T) {
	f := newFleet(t)
	for _, keys := range [][]string{{keyOn(6, 0)}, {keyOn(6, 0), keyOn(1, 0), keyOn(6, 1), keyOn(0, 0)}} {
		r := wire.StatsRequest{Type: "view", Keys: keys, To: 60, Validators: make([]string, len(keys))}
		r.Validators[0] = "of " + keys[0]
		if len(keys) > 1 {
			r.Validators[1], r.Validators[2] = "of "+keys[1], "of "+keys[3]
		}
		got := &wire.StatsAnswer{}
		if err := f.post(t.Context(), wire.PathStats, r, got); err != nil {
			t.Fatal(err)
		}
		for i, k := range got.Keys {
			if k.Unchanged != (i < 2) || k.Validator != "of "+keys[i] || k.Key != keys[i] {
				t.Errorf("key %d: got %+v", i, k)
			}
		}
	}
}

// Questions that travel together go to the shards of their keys, and the answers come back in order. What can't be had is null.
func TestKeptAnswersComeInOrder(t *testing.T) {
	f := newFleet(t)
	keys := []string{keyOn(6, 0), keyOn(1, 0), keyOn(6, 1), keyOn(1, 1), keyOn(0, 0)}
	var body []byte
	for _, key := range keys {
		line, err := json.Marshal(wire.StatsRequest{Type: "view", Keys: []string{key}, To: 60})
		if err != nil {
			t.Fatal(err)
		}
		body = append(append(body, line...), '\n')
	}
	body = append(body, "nonsense\n"...)
	ask := func() (told []string) {
		reply, err := f.client.Bytes(t.Context(), http.MethodPost, f.url+wire.PathKept, wire.LinesType, body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(reply.Body)) {
			answer := &wire.StatsAnswer{}
			if err := json.Unmarshal([]byte(line), answer); err != nil {
				t.Fatal(err)
			}
			key := ""
			if len(answer.Keys) == 1 {
				checkKeys(t, answer, answer.Keys[0].Key)
				key = answer.Keys[0].Key
			}
			told = append(told, key)
		}
		return told
	}
	if diff := cmp.Diff([]string{keys[0], keys[1], "", "", keys[4], ""}, ask()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	f.only("s2-1", "s2-2")
	if diff := cmp.Diff([]string{keys[0], "", "", "", "", ""}, ask()); diff != "" {
		t.Errorf("told without a shard (-want +got):\n%s", diff)
	}
}

func TestStatsAsksOnlyShardsItNeeds(t *testing.T) {
	f := newFleet(t)
	got, err := f.statsOf(keyOn(7, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got.AsOf != 2000 || got.Coverage.Partitions != 1 || !slices.Equal(f.callsOf("s1-1", "s1-2"), []int{0, 0}) {
		t.Errorf("got as-of %d, coverage %v, calls %v of s1", got.AsOf, got.Coverage, f.callsOf("s1-1", "s1-2"))
	}
}

// INV-8: a shard that is away is told, not made up for by zeros.
func TestStatsTellsWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*fleet)
		want wire.Code
	}{
		"dead":        {func(f *fleet) { f.proxies["s2-1"].dies(); f.proxies["s2-2"].dies() }, wire.CodeUnavailable},
		"gone":        {func(f *fleet) { f.only("s1-1") }, wire.CodeUnavailable},
		"hanging":     {func(f *fleet) { f.proxies["s2-1"].hangs(); f.proxies["s2-2"].hangs() }, wire.CodeDeadline},
		"unavailable": {fails(wire.CodeUnavailable), wire.CodeUnavailable},
		"overloaded":  {fails(wire.CodeOverloaded), wire.CodeOverloaded},
		"misrouted":   {fails(wire.CodeMisrouted), wire.CodeMisrouted},
		"schema":      {fails(wire.CodeSchema), wire.CodeSchema},
		"internal":    {fails(wire.CodeInternal), wire.CodeInternal},
		"forbidden":   {fails(wire.CodeForbidden), wire.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			c.fail(f)
			here, there := keyOn(1, 0), keyOn(6, 0)
			got, err := f.statsWithin(1500*time.Millisecond, there, here, keyOn(4, 0), keyOn(6, 1))
			if err != nil {
				t.Fatal(err)
			}
			checkKeys(t, got, here)
			if len(got.Coverage.Missing) != 1 {
				t.Fatalf("got missing %v, want s2", got.Coverage.Missing)
			}
			m := got.Coverage.Missing[0]
			if m.Shard != "s2" || m.Code != c.want || !slices.Equal(m.Partitions, []int{4, 6}) || m.Detail == "" {
				t.Errorf("got missing %+v, want partitions 4 and 6 of s2 by %s", m, c.want)
			}
			if got.Coverage.Partitions != 3 || got.Coverage.Answered != 1 || got.AsOf != 1000 || got.Stale {
				t.Errorf("got %+v, want 1 of 3 partitions as of 1000, not stale", got.Provenance)
			}
		})
	}
}

func fails(code wire.Code) func(*fleet) {
	return func(f *fleet) {
		f.proxies["s2-1"].fails(code)
		f.proxies["s2-2"].fails(code)
	}
}

func TestStatsWithoutAnyPartIsAProblem(t *testing.T) {
	for name, c := range map[string]struct {
		codes [2]wire.Code // of s1 and s2
		want  wire.Code
	}{
		"unavailable":        {[2]wire.Code{wire.CodeUnavailable, wire.CodeUnavailable}, wire.CodeUnavailable},
		"mixed":              {[2]wire.Code{wire.CodeOverloaded, wire.CodeUnavailable}, wire.CodeUnavailable},
		"all overloaded":     {[2]wire.Code{wire.CodeOverloaded, wire.CodeOverloaded}, wire.CodeOverloaded},
		"all misrouted":      {[2]wire.Code{wire.CodeMisrouted, wire.CodeMisrouted}, wire.CodeUnavailable},
		"one's request":      {[2]wire.Code{wire.CodeBadRequest, wire.CodeUnavailable}, wire.CodeBadRequest},
		"the other's":        {[2]wire.Code{wire.CodeUnavailable, wire.CodeUnprocessable}, wire.CodeUnprocessable},
		"internal of both":   {[2]wire.Code{wire.CodeInternal, wire.CodeInternal}, wire.CodeUnavailable},
		"an unknown to both": {[2]wire.Code{wire.CodeUnknownType, wire.CodeUnknownType}, wire.CodeUnknownType},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			for i, code := range c.codes {
				f.proxies[fmt.Sprintf("s%d-1", i+1)].fails(code)
				f.proxies[fmt.Sprintf("s%d-2", i+1)].fails(code)
			}
			_, err := f.statsOf(keyOn(1, 0), keyOn(6, 0))
			p := problem(t, err)
			if p.Code != c.want {
				t.Errorf("got %v, want %s", p, c.want)
			}
			if c.want == wire.CodeOverloaded && p.RetryAfter != 7*time.Second {
				t.Errorf("got retry after %v, want the shards' 7s", p.RetryAfter)
			}
		})
	}
}

// One proxy of a shard that hangs does not cost the answer.
func TestStatsOfAHangingProxy(t *testing.T) {
	f := newFleet(t)
	defer f.proxies["s2-1"].hangs()()
	for range 3 {
		got, err := f.statsWithin(3*time.Second, keyOn(6, 0), keyOn(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		checkKeys(t, got, keyOn(6, 0), keyOn(1, 0))
	}
}

func TestStatsFollowsTheTopology(t *testing.T) {
	f := newFleet(t)
	stay, moved := keyOn(0, 0), keyOn(1, 0)
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(path string, body []byte) (any, error) {
				if slices.Contains(read[wire.StatsRequest](body).Keys, moved) {
					f.move(1, "s2")
					return nil, wire.NewProblem(wire.CodeMisrouted, "partition 1 is not mine")
				}
				return f.answer("s1", path, body)
			}
		})
	}
	got, err := f.statsOf(moved, stay)
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, got, moved, stay)
	if len(got.Coverage.Missing) > 0 || got.Coverage.Answered != 2 {
		t.Errorf("got coverage %+v, want both partitions", got.Coverage)
	}
}

// A shard that leaves a key out has not said that it counts nothing.
func TestStatsKeyLeftOut(t *testing.T) {
	f := newFleet(t)
	out := keyOn(5, 0)
	for _, id := range []string{"s2-1", "s2-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(_ string, body []byte) (any, error) {
				a := f.stats("s2", read[wire.StatsRequest](body))
				a.Keys = slices.DeleteFunc(a.Keys, func(k wire.KeyStats) bool { return k.Key == out })
				return a, nil
			}
		})
	}
	got, err := f.statsOf(out, keyOn(6, 0))
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, got, keyOn(6, 0))
	if len(got.Coverage.Missing) != 1 || !slices.Equal(got.Coverage.Missing[0].Partitions, []int{5}) {
		t.Errorf("got missing %v, want partition 5", got.Coverage.Missing)
	}
}

// A shard may lack some of its own partitions.
func TestStatsPassesAShardsOwnGapsOn(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"s2-1", "s2-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(_ string, body []byte) (any, error) {
				a := f.stats("s2", read[wire.StatsRequest](body))
				a.Keys = slices.DeleteFunc(a.Keys, func(k wire.KeyStats) bool { return cluster.Partition("view", k.Key, partitions) == 5 })
				a.Coverage.Missing = []wire.Missing{{Shard: "s2", Partitions: []int{5}, Code: wire.CodeTermChanged, Detail: "x"}}
				return a, nil
			}
		})
	}
	got, err := f.statsOf(keyOn(5, 0), keyOn(6, 0))
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, got, keyOn(6, 0))
	want := wire.Coverage{Partitions: 2, Answered: 1, Missing: []wire.Missing{{Shard: "s2", Partitions: []int{5}, Code: wire.CodeTermChanged, Detail: "x"}}}
	if d := cmp.Diff(want, got.Coverage); d != "" {
		t.Errorf("coverage differs (-want +got):\n%s", d)
	}
}

// What is in cold storage is told by shard, and bounded over all of them.
func TestStatsPassesColdPartsOn(t *testing.T) {
	f := newFleet(t)
	objects := 1
	part := func(shard string) wire.ColdPart {
		out := wire.ColdPart{Shard: shard, Resolution: "minute", From: 0, To: 60, Partitions: []int{1}}
		for i := range objects {
			out.Objects = append(out.Objects, wire.ColdObject{Object: fmt.Sprint(shard, "-", i), Bytes: 7, Rows: 1, SHA256: "00", Partitions: []int{1}})
		}
		return out
	}
	for id, p := range f.proxies {
		shard := id[:2]
		p.set(func(s *shardProxy) {
			s.answer = func(_ string, body []byte) (any, error) {
				a := f.stats(shard, read[wire.StatsRequest](body))
				a.Cold = []wire.ColdPart{part(shard)}
				a.Plan = []wire.PlanSegment{{Shard: shard, Database: shard + "-b", Place: wire.PlaceLate, Resolution: "minute", From: 0, To: 60}}
				return a, nil
			}
		})
	}
	got, err := f.statsOf(keyOn(5, 0), keyOn(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]wire.ColdPart{part("s1"), part("s2")}, got.Cold); d != "" {
		t.Errorf("cold parts differ (-want +got):\n%s", d)
	}
	if len(got.Plan) != 2 || got.Plan[0].Shard != "s1" || got.Plan[1].Shard != "s2" {
		t.Errorf("got the plan %+v, want that of each shard", got.Plan)
	}
	objects = wire.MaxColdObjects/2 + 1
	if _, err := f.statsOf(keyOn(5, 0), keyOn(1, 0)); wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("got %v, want %s", err, wire.CodeTooLarge)
	}
}

func TestReadsRefuseBadRequests(t *testing.T) {
	f := newFleet(t)
	many := make([]string, wire.MaxKeysPerStats+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		name, path string
		in         any
		code       wire.Code
		field      string
	}{
		{"stats without keys", wire.PathStats, wire.StatsRequest{Type: "view", To: 1}, wire.CodeBadRequest, "keys"},
		{"stats of too many keys", wire.PathStats, wire.StatsRequest{Type: "view", Keys: many, To: 1}, wire.CodeBadRequest, "keys"},
		{"stats of an empty key", wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{""}, To: 1}, wire.CodeBadRequest, "keys"},
		{"stats of no type", wire.PathStats, wire.StatsRequest{Keys: []string{"k"}, To: 1}, wire.CodeBadRequest, "type"},
		{"stats of an empty range", wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{"k"}, From: 5, To: 5}, wire.CodeBadRequest, "to_minute"},
		{"top of none", wire.PathTop, wire.TopRequest{Type: "view", To: 1}, wire.CodeBadRequest, "n"},
		{"top of too many", wire.PathTop, wire.TopRequest{Type: "view", To: 1, N: wire.MaxTop + 1}, wire.CodeBadRequest, "n"},
		{"top of an empty range", wire.PathTop, wire.TopRequest{Type: "view", N: 1}, wire.CodeBadRequest, "to_minute"},
		{"lookup of no key", wire.PathKeyInfo, wire.KeyRequest{Type: "view"}, wire.CodeBadRequest, "key"},
		{"import of nothing", wire.PathKeysImport, wire.KeysImport{}, wire.CodeBadRequest, "keys"},
		{"import of a bad key", wire.PathKeysImport, wire.KeysImport{Keys: []wire.KeyAttributes{{Type: "view"}}}, wire.CodeBadRequest, "keys"},
		{"no object", wire.PathStats, []int{1}, wire.CodeBadRequest, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := problem(t, f.post(t.Context(), c.path, c.in, nil)); p.Code != c.code || p.Field != c.field {
				t.Errorf("got %v at %q, want %s at %q", p, p.Field, c.code, c.field)
			}
		})
	}
	if got := f.callsOf("s1-1", "s1-2", "s2-1", "s2-2"); slices.Max(got) > 0 {
		t.Errorf("refused requests reached the shards: %v", got)
	}
}

func TestTopMergesRankings(t *testing.T) {
	f := newFleet(t)
	var want []string
	for partition := range partitions {
		for i := range 3 {
			want = append(want, keyOn(partition, i))
		}
	}
	slices.SortFunc(want, func(a, b string) int {
		if c := int(countOf(b) - countOf(a)); c != 0 {
			return c
		}
		if a < b {
			return -1
		}
		return 1
	})
	for _, n := range []int{1, 10, 24, 1000} {
		got := &wire.TopAnswer{}
		if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: n}, got); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range got.Entries {
			keys = append(keys, e.Key)
		}
		if !slices.Equal(keys, want[:min(n, len(want))]) {
			t.Errorf("top %d: got %v, want %v", n, keys, want[:min(n, len(want))])
		}
		if !got.Exact || got.Coverage.Answered != partitions || got.AsOf != 1000 || !got.Stale {
			t.Errorf("top %d: got exact %t, %+v", n, got.Exact, got.Provenance)
		}
	}
	f.only("s2-1", "s2-2")
	got := &wire.TopAnswer{}
	if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: 100}, got); err != nil {
		t.Fatal(err)
	}
	if got.Exact || got.Coverage.Answered != 4 || len(got.Entries) != 12 || !slices.Equal(got.Coverage.Missing[0].Partitions, []int{0, 1, 2, 3}) {
		t.Errorf("got exact %t, %d entries, %+v without s1", got.Exact, len(got.Entries), got.Coverage)
	}
}

// What a shard may have left out matters if it could be among the best of all: if it counts as much as the last of them, or there is room.
func TestTopOfShardsThatAreNotExact(t *testing.T) {
	f := newFleet(t)
	all := &wire.TopAnswer{}
	if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: 100}, all); err != nil {
		t.Fatal(err)
	}
	count := func(place int) int64 { return all.Entries[place-1].Count }
	cases := []struct {
		name          string
		n             int
		others        int64 // on s1
		exact         bool
		wantedOthers  int64
		wantedEntries int
	}{
		{"below the last", 5, count(5) - 1, true, max(count(5)-1, count(6)), 5},
		{"as much as the last", 5, count(5), false, count(5), 5},
		{"above the last", 5, count(1) + 1, false, count(1) + 1, 5},
		{"room for others", 100, 1, false, 1, 3 * partitions},
		{"nobody knows", 5, 0, false, count(6), 5},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, id := range []string{"s1-1", "s1-2"} {
				f.proxies[id].set(func(s *shardProxy) {
					s.answer = func(_ string, body []byte) (any, error) {
						a := f.top("s1", read[wire.TopRequest](body))
						a.Exact, a.Others = false, c.others
						return a, nil
					}
				})
			}
			got := &wire.TopAnswer{}
			if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: c.n}, got); err != nil {
				t.Fatal(err)
			}
			if got.Exact != c.exact || got.Others != c.wantedOthers || len(got.Entries) != c.wantedEntries {
				t.Errorf("got exact %t, others %d, %d entries, want %t, %d, %d", got.Exact, got.Others, len(got.Entries), c.exact, c.wantedOthers, c.wantedEntries)
			}
		})
	}
}

func TestTopFollowsTheTopology(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(path string, body []byte) (any, error) {
				if f.snapshot.Load().Topology.Partitions[1] == "s1" {
					f.move(1, "s2")
					return nil, wire.NewProblem(wire.CodeMisrouted, "partition 1 is not mine")
				}
				return f.answer("s1", path, body)
			}
		})
	}
	got := &wire.TopAnswer{}
	if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: 100}, got); err != nil {
		t.Fatal(err)
	}
	if !got.Exact || got.Coverage.Answered != partitions || len(got.Entries) != 3*partitions {
		t.Errorf("got exact %t, %d entries, %+v, want everything", got.Exact, len(got.Entries), got.Coverage)
	}
}

// Rows of a partition that has moved on are nobody's second helping.
func TestTopLeavesOutAnotherShardsKeys(t *testing.T) {
	f := newFleet(t)
	moved := keyOn(6, 0)
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(_ string, body []byte) (any, error) {
				a := f.top("s1", read[wire.TopRequest](body))
				a.Entries = append(a.Entries, wire.TopEntry{Key: moved, Point: wire.Point{Count: 1 << 40}})
				return a, nil
			}
		})
	}
	got := &wire.TopAnswer{}
	if err := f.post(t.Context(), wire.PathTop, wire.TopRequest{Type: "view", From: 10, To: 20, N: 100}, got); err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Entries {
		if e.Count != countOf(e.Key) {
			t.Errorf("got count %d of %s, want its own shard's %d", e.Count, e.Key, countOf(e.Key))
		}
	}
	if len(got.Entries) != 3*partitions || got.Exact {
		t.Errorf("got %d entries, exact %t, want %d and not exact", len(got.Entries), got.Exact, 3*partitions)
	}
}

func TestLookupKey(t *testing.T) {
	f := newFleet(t)
	got := &wire.KeyInfo{}
	if err := f.post(t.Context(), wire.PathKeyInfo, wire.KeyRequest{Type: "view", Key: keyOn(6, 0)}, got); err != nil {
		t.Fatal(err)
	}
	if got.Title != "on s2" || got.Shard != "s2" || got.Partition != 6 || got.Key != keyOn(6, 0) || !got.Known || got.AsOf != 2000 {
		t.Errorf("got %+v, want the key of partition 6 on s2", got)
	}
}

func TestImportKeys(t *testing.T) {
	f := newFleet(t)
	var in wire.KeysImport
	for partition := range partitions {
		in.Keys = append(in.Keys, wire.KeyAttributes{Type: "view", Key: keyOn(partition, 0)})
	}
	got := &wire.KeysImported{}
	if err := f.post(t.Context(), wire.PathKeysImport, in, got); err != nil {
		t.Fatal(err)
	}
	if *got != (wire.KeysImported{Created: partitions, Updated: 200}) {
		t.Errorf("got %+v, want the sum over both shards", got)
	}
	fails(wire.CodeUnavailable)(f)
	if p := problem(t, f.post(t.Context(), wire.PathKeysImport, in, got)); p.Code != wire.CodeUnavailable {
		t.Errorf("got %v with one shard away, want unavailable: the import is to be repeated", p)
	}
}

func TestCheckpoints(t *testing.T) {
	f := newFleet(t)
	ask := func() *wire.CheckpointsAnswer {
		t.Helper()
		got := &wire.CheckpointsAnswer{}
		if err := f.client.JSON(t.Context(), http.MethodGet, f.url+wire.PathCheckpoints, nil, got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := ask(); len(got.Checkpoints) != 2*partitions || len(got.Missing) > 0 || got.Checkpoints[1].Database != "s1-b" {
		t.Errorf("got %+v, want both databases' checkpoints of all partitions", got)
	}
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(string, []byte) (any, error) {
				a := f.checkpoints("s1")
				a.Checkpoints = slices.DeleteFunc(a.Checkpoints, func(c wire.Checkpoint) bool { return c.Database == "s1-b" && c.Partition == 2 })
				return a, nil
			}
		})
	}
	if got := ask(); !slices.Equal(got.Missing, []string{"s1-b"}) {
		t.Errorf("got missing %v, want s1-b, which told nothing of partition 2", got.Missing)
	}
	fails(wire.CodeUnavailable)(f)
	if got := ask(); !slices.Equal(got.Missing, []string{"s1-b", "s2-a", "s2-b"}) || len(got.Checkpoints) != 7 {
		t.Errorf("got missing %v and %d checkpoints, want s1-b and all of s2", got.Missing, len(got.Checkpoints))
	}
}

func TestCallsNeedTheInternalScope(t *testing.T) {
	good, goodHash := auth.Generate()
	reads, readsHash := auth.Generate()
	v, err := auth.New([]auth.Token{
		{Name: "role", Scopes: []auth.Scope{auth.Internal}, SHA256: goodHash},
		{Name: "app", Scopes: []auth.Scope{auth.Read, auth.Write}, SHA256: readsHash},
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "cluster_proxy", Address: "127.0.0.1:0", Auth: v})
	if err != nil {
		t.Fatal(err)
	}
	clusterproxy.New(clusterproxy.Config{Snapshot: func() *cluster.Snapshot { return nil }}).Register(server.Echo(), v)
	front := newServer(t, server.Echo())
	for token, want := range map[string]wire.Code{good: wire.CodeUnavailable, reads: wire.CodeForbidden, "": wire.CodeUnauthorized} {
		client := wire.NewClient(wire.ClientConfig{Token: token})
		defer client.Close()
		for _, path := range []string{wire.PathApply, wire.PathClaim, wire.PathStats, wire.PathTop, wire.PathKeyInfo, wire.PathKeysImport} {
			_, err := client.Bytes(t.Context(), http.MethodPost, front+path, wire.JSONType, []byte("{"))
			if got := wire.CodeOf(err); want == wire.CodeUnavailable && (got == wire.CodeUnauthorized || got == wire.CodeForbidden || got == wire.CodeNotFound) || want != wire.CodeUnavailable && got != want {
				t.Errorf("%s with a token for %s: got %v", path, want, err)
			}
		}
		if err := client.JSON(t.Context(), http.MethodGet, front+wire.PathCheckpoints, nil, nil); wire.CodeOf(err) != want {
			t.Errorf("checkpoints: got %v, want %s", err, want)
		}
	}
}
