package cluster_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/cluster"
)

func validTopology() cluster.Topology {
	return cluster.Topology{
		Shards: []cluster.Shard{
			{ID: "s1", Databases: []cluster.Database{
				{ID: "s1-a", Address: "h1:3306", Role: cluster.Primary}, {ID: "s1-b", Address: "h2:3306", Role: cluster.Replica},
			}},
			{ID: "s2", Databases: []cluster.Database{{ID: "s2-a", Address: "h3:3306", Role: cluster.Primary}}},
		},
		Partitions: []string{"s1", "s2", "s1", "s2"},
	}
}

func TestTopologyValidate(t *testing.T) {
	valid := validTopology()
	if err := valid.Validate(); err != nil {
		t.Fatalf("got %v for a valid topology", err)
	}
	for _, c := range []struct {
		name   string
		change func(*cluster.Topology)
		want   string
	}{
		{"no partitions", func(t *cluster.Topology) { t.Partitions = nil }, "0 partitions"},
		{"too many partitions", func(t *cluster.Topology) { t.Partitions = make([]string, cluster.MaxPartitions+1) }, "4097 partitions"},
		{"no shards", func(t *cluster.Topology) { t.Shards = nil }, "0 shards"},
		{"unknown shard", func(t *cluster.Topology) { t.Partitions[2] = "s3" }, "partition 2"},
		{"partition without shard", func(t *cluster.Topology) { t.Partitions[3] = "" }, "partition 3"},
		{"shard twice", func(t *cluster.Topology) { t.Shards[1].ID = "s1" }, `"s1"`},
		{"shard without id", func(t *cluster.Topology) { t.Shards[0].ID = "" }, "shard id"},
		{"database twice", func(t *cluster.Topology) { t.Shards[1].Databases[0].ID = "s1-b" }, `"s1-b"`},
		{"database without address", func(t *cluster.Topology) { t.Shards[0].Databases[1].Address = "" }, "s1-b has no address"},
		{"database of no role", func(t *cluster.Topology) { t.Shards[0].Databases[1].Role = "spare" }, `"spare"`},
		{"two primaries", func(t *cluster.Topology) { t.Shards[0].Databases[1].Role = cluster.Primary }, "2 primaries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := validTopology()
			c.change(&topology)
			err := topology.Validate()
			if !errors.Is(err, cluster.ErrTopology) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrTopology that says %s", err, c.want)
			}
		})
	}
}

// INV-3: in a valid topology every partition is in the list of exactly one shard.
func TestPartitionsHaveOneShard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var topology cluster.Topology
		for i := range rapid.IntRange(1, 8).Draw(t, "shards") {
			topology.Shards = append(topology.Shards, cluster.Shard{ID: fmt.Sprint("s", i)})
		}
		for range rapid.IntRange(1, 64).Draw(t, "partitions") {
			topology.Partitions = append(topology.Partitions, rapid.SampledFrom(topology.Shards).Draw(t, "shard").ID)
		}
		if err := topology.Validate(); err != nil {
			t.Fatal(err)
		}
		var all []int
		for _, s := range topology.Shards {
			all = append(all, topology.PartitionsOf(s.ID)...)
		}
		slices.Sort(all)
		for want, got := range all {
			if got != want {
				t.Fatalf("got partitions %v over all shards, want each once", all)
			}
		}
		if len(all) != len(topology.Partitions) {
			t.Fatalf("got %d partitions over all shards, want %d", len(all), len(topology.Partitions))
		}
	})
}

func TestShardLookups(t *testing.T) {
	topology := validTopology()
	s, ok := topology.Shard("s1")
	if !ok || s.ID != "s1" {
		t.Fatalf("got %v, %t, want s1", s, ok)
	}
	if d, ok := s.PrimaryDatabase(); !ok || d.ID != "s1-a" {
		t.Errorf("got primary %v, %t, want s1-a", d, ok)
	}
	s.Databases = s.Databases[1:]
	if d, ok := s.PrimaryDatabase(); ok {
		t.Errorf("got primary %v of a shard that has none", d)
	}
	if _, ok := topology.Shard("s9"); ok {
		t.Error("got a shard that is not there")
	}
}

func TestSnapshotRoutes(t *testing.T) {
	s := &cluster.Snapshot{
		Settings: cluster.Settings{Partitions: 4}, Topology: validTopology(),
		Members: map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: {
			{ID: "b", Role: cluster.RoleShardProxy, Shard: "s1"}, {ID: "a", Role: cluster.RoleShardProxy, Shard: "s1"}, {ID: "c", Role: cluster.RoleShardProxy, Shard: "s2"},
		}},
	}
	if got, want := s.PartitionOf("view", "v1"), cluster.Partition("view", "v1", 4); got != want {
		t.Errorf("got partition %d, want %d", got, want)
	}
	for partition, want := range map[int]string{0: "s1", 1: "s2", -1: "", 4: ""} {
		if got, ok := s.ShardOf(partition); got != want || ok != (want != "") {
			t.Errorf("shard of partition %d: got %q, %t, want %q", partition, got, ok, want)
		}
	}
	if got := s.ShardProxies("s1"); len(got) != 2 || got[0].ID != "b" || got[1].ID != "a" {
		t.Errorf("got proxies %v of s1, want b and a", got)
	}
	if got := s.MemberIDs(cluster.RoleShardProxy); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got ids %v, want them in order", got)
	}
}
