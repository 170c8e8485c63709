package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/cluster"
)

// The routing hash decides where stored counts are found again: these values must never change.
func TestKeyHashNeverChanges(t *testing.T) {
	for _, c := range []struct {
		eventType, key string
		hash           uint64
		of16, of256    int
	}{
		{"view", "v1", 0xba81370813fe119a, 10, 154},
		{"view", "v2", 0xa6ad5249c4d4469a, 10, 154},
		{"departure", "LAS", 0xf4c4b9c241173794, 4, 148},
		{"route", "LAS-PHL", 0xa904b65d3d13e58f, 15, 143},
		{"like", "ключ", 0x0b3fb85adbe47cf2, 2, 242},
		{"a", strings.Repeat("k", 255), 0xfa837b0687dd5557, 7, 87},
	} {
		if got := cluster.KeyHash(c.eventType, c.key); got != c.hash {
			t.Errorf("hash of %s %.20s: got %#x, want %#x", c.eventType, c.key, got, c.hash)
		}
		if got := cluster.Partition(c.eventType, c.key, 16); got != c.of16 {
			t.Errorf("partition of %s %.20s: got %d of 16, want %d", c.eventType, c.key, got, c.of16)
		}
		if got := cluster.Partition(c.eventType, c.key, 256); got != c.of256 {
			t.Errorf("partition of %s %.20s: got %d of 256, want %d", c.eventType, c.key, got, c.of256)
		}
	}
}

func TestKeyHashTellsTypeFromKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z]{2,64}`)
		eventType, key := name.Draw(t, "type"), name.Draw(t, "key")
		shifted := cluster.KeyHash(eventType[:1], eventType[1:]+key)
		if cluster.KeyHash(eventType, key) == shifted {
			t.Fatalf("type %q with key %q hashes like another split of the same letters", eventType, key)
		}
		if p := cluster.Partition(eventType, key, 16); p < 0 || p >= 16 {
			t.Fatalf("got partition %d, want 0 to 15", p)
		}
	})
}

func TestPartitionsAreEvenlyFilled(t *testing.T) {
	counts := make([]int, 16)
	const keys = 160_000
	for i := range keys {
		counts[cluster.Partition("view", fmt.Sprint("video-", i), 16)]++
	}
	for p, n := range counts {
		if n < 9_500 || n > 10_500 {
			t.Errorf("partition %d has %d of %d keys, want about a sixteenth", p, n, keys)
		}
	}
}

func drawMembers(t *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9-]{1,40}`), 1, 20, rapid.ID[string]).Draw(t, "members")
}

func TestOwnerMovesOnlyWhatItMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		rest := members[1:]
		for p := range 64 {
			before, after := cluster.Owner(p, members), cluster.Owner(p, rest)
			if before != members[0] && before != after {
				t.Fatalf("partition %d moved from %s to %s when %s left", p, before, after, members[0])
			}
		}
	})
}

func TestOwnersAreBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		partitions := rapid.IntRange(1, 300).Draw(t, "partitions")
		owners := cluster.Owners(partitions, members)
		load := map[string]int{}
		for _, o := range owners {
			load[o]++
		}
		least := partitions / len(members)
		for _, m := range members {
			if load[m] < least || load[m] > least+1 {
				t.Fatalf("%s has %d of %d partitions among %d members, want %d or one more", m, load[m], partitions, len(members), least)
			}
			delete(load, m)
		}
		if len(load) > 0 {
			t.Fatalf("partitions belong to %v, who are no members", load)
		}
		shuffled := rapid.Permutation(members).Draw(t, "shuffled")
		if got := cluster.Owners(partitions, shuffled); !slices.Equal(got, owners) {
			t.Fatalf("the owners depend on the order of the members")
		}
	})
}

func TestOwnersMoveLittle(t *testing.T) {
	const rounds = 50
	for _, c := range []struct{ partitions, members int }{{16, 2}, {16, 4}, {64, 4}, {256, 4}, {256, 8}} {
		moved := 0
		for r := range rounds {
			members := make([]string, c.members+1)
			for i := range members {
				members[i] = fmt.Sprintf("writer-%d-%d", r, i)
			}
			before, after := cluster.Owners(c.partitions, members[1:]), cluster.Owners(c.partitions, members)
			for p := range before {
				if before[p] != after[p] {
					moved++
				}
			}
		}
		least := float64(c.partitions) / float64(c.members+1)
		if got := float64(moved) / rounds; got > 1.5*least {
			t.Errorf("%d partitions, %d members and one more: %.1f moved on average, the least possible is %.1f", c.partitions, c.members, got, least)
		}
	}
}

func TestOwnersWithoutMembers(t *testing.T) {
	if got := cluster.Owner(1, nil); got != "" {
		t.Errorf("got owner %q without members, want none", got)
	}
	if got := cluster.Owners(2, nil); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("got owners %q without members, want none", got)
	}
}
