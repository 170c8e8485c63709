package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/quipudb/quipu/backup"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
)

func TestBackupIsTakenFromAReplica(t *testing.T) {
	t.Parallel()
	topology := &cluster.Topology{Shards: []cluster.Shard{
		{ID: "s1", Databases: []cluster.Database{{ID: "s1-a", Role: cluster.Primary}, {ID: "s1-b", Role: cluster.Replica}, {ID: "s1-c", Role: cluster.Replica}}},
		{ID: "s2", Databases: []cluster.Database{{ID: "s2-a", Role: cluster.Primary}}},
	}}
	for _, test := range []struct{ shard, database, want string }{
		{"s1", "", "s1-b"}, {"s1", "s1-a", "s1-a"}, {"s1", "s1-c", "s1-c"}, {"s2", "", "s2-a"},
	} {
		if got, err := chooseDatabase(topology, &backupOptions{shard: test.shard, database: test.database}); err != nil || got.ID != test.want {
			t.Errorf("%+v: got %s, %v", test, got.ID, err)
		}
	}
	for _, o := range []backupOptions{{shard: "s3"}, {shard: "s1", database: "s2-a"}} {
		if _, err := chooseDatabase(topology, &o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestRestoreIsRefusedWhenTheLogDoesNotReachBack(t *testing.T) {
	t.Parallel()
	found := &backup.Stored{Description: &backup.Description{Checkpoints: []backup.Checkpoint{{Partition: 0, NextOffset: 20, WindowFrom: 10, Incarnation: "log"}}}}
	hold := &wire.LogHold{Incarnation: "log", Partitions: []wire.LogHeldPartition{{First: 10, Next: 30}}}
	if err := reachError(found, hold); err != nil {
		t.Error(err)
	}
	hold.Partitions[0].First = 11
	if err := reachError(found, hold); !errors.Is(err, errReach) || !strings.Contains(err.Error(), "partition 0 needs the log from offset 10 on") {
		t.Errorf("got %v", err)
	}
}

func TestBackupCommandsSayWhatTheyLack(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"flag --shard is needed":                         {"backup", "create"},
		"flag --into is needed":                          {"backup", "restore", "--shard", "s1"},
		"flag --keep must not be negative":               {"backup", "create", "--shard", "s1", "--keep", "-1"},
		"there is no cold storage: archive.url is empty": {"backup", "verify", "--shard", "s1"},
	} {
		if got := quipu(t, nil, args...); got.code != exitUsage || !strings.Contains(got.errors, want) {
			t.Errorf("%v: got %d %q, want it to say %q", args, got.code, got.errors, want)
		}
	}
}
