package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
)

func TestLoadTopology(t *testing.T) {
	const databases = `
    databases:
      - {id: s1-a, address: "10.0.0.1:3306", role: primary, zone: a}
      - {id: s1-b, address: "10.0.0.2:3306", role: replica, zone: b}
`
	shards := []cluster.Shard{
		{ID: "s1", Databases: []cluster.Database{
			{ID: "s1-a", Address: "10.0.0.1:3306", Role: cluster.Primary, Zone: "a"}, {ID: "s1-b", Address: "10.0.0.2:3306", Role: cluster.Replica, Zone: "b"},
		}},
		{ID: "s2"},
	}
	tests := map[string]struct {
		yaml string
		want []string
	}{
		"spread evenly": {"partitions: 5\nshards:\n  - id: s1" + databases + "  - id: s2\n", []string{"s1", "s1", "s1", "s2", "s2"}},
		"given":         {"partitions: 4\nshards:\n  - id: s1\n    partitions: 0, 2-3" + databases + "  - id: s2\n    partitions: \"1\"\n", []string{"s1", "s2", "s1", "s1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := config.LoadTopology(write(t, test.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(cluster.Topology{Shards: shards, Partitions: test.want}, got); diff != "" {
				t.Errorf("topology differs (−want +got):\n%s", diff)
			}
		})
	}
}

func TestBadTopologies(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"no partitions":     {"shards: [{id: s1}]\n", "partitions: must be from 1 to 4096, is 0"},
		"no shards":         {"partitions: 4\n", "shards: no shard has partition 0"},
		"unknown key":       {"partitions: 4\nshards:\n  - id: s1\n    database: []\n", "4: shards[0].database: unknown setting; did you mean databases?"},
		"no range":          {"partitions: 4\nshards: [{id: s1, partitions: a-b}]\n", `shards[0].partitions: must be ranges within 0-3, is "a-b"`},
		"beyond":            {"partitions: 4\nshards: [{id: s1, partitions: 0-4}]\n", `shards[0].partitions: must be ranges within 0-3, is "0-4"`},
		"twice":             {"partitions: 4\nshards: [{id: s1, partitions: 0-3}, {id: s2, partitions: 3-3}]\n", "shards[1].partitions: partition 3 is given to s1 already"},
		"left over":         {"partitions: 4\nshards: [{id: s1, partitions: 0-2}]\n", "shards: no shard has partition 3"},
		"address":           {"partitions: 1\nshards: [{id: s1, databases: [{id: a, address: db1, role: primary}]}]\n", `shards[0].databases[0].address: must be host:port, is "db1"`},
		"two primaries":     {"partitions: 1\nshards: [{id: s1, databases: [{id: a, address: \"d:1\", role: primary}, {id: b, address: \"d:2\", role: primary}]}]\n", "shard s1 has 2 primaries"},
		"no role of theirs": {"partitions: 1\nshards: [{id: s1, databases: [{id: a, address: \"d:1\", role: leader}]}]\n", `database a has the role "leader"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.yaml)
			_, err := config.LoadTopology(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that names the file and says %q", err, test.want)
			}
		})
	}
}
