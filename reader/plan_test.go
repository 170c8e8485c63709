package reader

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// Every query that isn't skipped is fed by exactly one key of one lookup, of its type and span; no lookup asks twice for a key or for
// more than the sources accept.
func TestPlanCoversEveryQueryOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawQuery := rapid.Custom(func(t *rapid.T) query {
			step := rapid.SampledFrom([]wire.Step{wire.StepNone, wire.StepHour}).Draw(t, "step")
			return query{
				kind: event.Type{Name: rapid.SampledFrom([]string{"view", "like"}).Draw(t, "type")}, key: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "key")),
				function: rapid.SampledFrom([]function{count, sum}).Draw(t, "function"),
				span:     span{to: rapid.SampledFrom([]int64{60, 60 * 30_000}).Draw(t, "to"), step: step},
			}
		})
		queries := rapid.SliceOfN(drawQuery, 0, 40).Draw(t, "queries")
		skipped := rapid.IntRange(0, 3).Draw(t, "skipped")
		fed := make([]int, len(queries))
		for _, l := range planLookups(queries, func(i int) bool { return i%4 == skipped }) {
			seen := map[string]bool{}
			if len(l.keys) > wire.MaxKeysPerStats || int64(len(l.keys))*l.span.points() > wire.MaxPointsPerStats {
				t.Fatalf("a lookup has %d keys with %d points each", len(l.keys), l.span.points())
			}
			for at, key := range l.keys {
				if seen[key] {
					t.Fatalf("a lookup asks twice for %q", key)
				}
				seen[key] = true
				for _, i := range l.of[at] {
					fed[i]++
					if q := queries[i]; q.key != key || q.kind.Name != l.kind || q.span != l.span {
						t.Fatalf("query %+v is fed by %q of %+v", q, key, l)
					}
				}
			}
		}
		for i, n := range fed {
			if want := map[bool]int{true: 0, false: 1}[i%4 == skipped]; n != want {
				t.Fatalf("query %d is fed by %d keys, want %d", i, n, want)
			}
		}
	})
}

func TestPlanSplitsWhatIsTooMuchForOneQuestion(t *testing.T) {
	var queries []query
	for i := range 2500 {
		queries = append(queries, query{kind: event.Type{Name: "view"}, key: fmt.Sprint(i), span: span{to: maxMinute}})
	}
	var got []int
	for _, l := range planLookups(queries, func(int) bool { return false }) {
		got = append(got, len(l.keys))
	}
	if diff := cmp.Diff([]int{1000, 1000, 500}, got); diff != "" {
		t.Errorf("keys of the lookups differ (-want +got):\n%s", diff)
	}
}

func TestJoinedProvenance(t *testing.T) {
	var j joiner
	j.add(&wire.Provenance{
		AsOf: 50, Stale: true, Coverage: wire.Coverage{Partitions: 2, Answered: 1, Missing: []wire.Missing{{Shard: "s2", Partitions: []int{9}, Code: wire.CodeDeadline}}},
		Sources: []wire.Source{{Shard: "s1", Database: "s1-b", AsOf: 50}},
	})
	j.add(&wire.Provenance{
		AsOf: 40, Coverage: wire.Coverage{Partitions: 2, Answered: 1, Missing: []wire.Missing{{Shard: "s2", Partitions: []int{8, 9}, Code: wire.CodeDeadline}}},
		Sources: []wire.Source{{Shard: "s1", Database: "s1-b", AsOf: 40}, {Shard: "s1", Database: "s1-a", AsOf: 60}},
	})
	j.add(&wire.Provenance{AsOf: 0, Coverage: wire.Coverage{Partitions: 1}}) // nobody answered: its as-of says nothing
	j.failed(wire.CodeUnavailable)
	want := wire.Provenance{
		AsOf: 40, Stale: true,
		Coverage: wire.Coverage{Partitions: 6, Answered: 2, Missing: []wire.Missing{{Code: wire.CodeUnavailable}, {Shard: "s2", Partitions: []int{8, 9}, Code: wire.CodeDeadline}}},
		Sources:  []wire.Source{{Shard: "s1", Database: "s1-a", AsOf: 60}, {Shard: "s1", Database: "s1-b", AsOf: 40}},
	}
	if diff := cmp.Diff(want, j.provenance()); diff != "" {
		t.Errorf("provenance differs (-want +got):\n%s", diff)
	}
}
