package scenario_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
)

// TestLostShardIsRestored loses both databases of a shard for good, files and all, while events flow: backup and replay of the log bring it back, and
// nothing is lost or counted twice (INV-1, INV-4). Epochs, key ids and windows of the running roles are those of the lost databases.
func TestLostShardIsRestored(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, nil)
	cold := "archive.url=file://" + filepath.Join(t.TempDir(), "cold")
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	watchReads(t, d.URLs["reader"], s.ledger)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	r.quipu(t, "backup", "create", "--shard", "s1", "--keep", "2", "--set", cold)
	r.quipu(t, "backup", "verify", "--shard", "s1", "--set", cold)
	for range 3 { // so much is counted, and so many keys get ids, that the backup does not have
		s.awaitFlow(t)
		awaitCounted(t, d.URLs["reader"])
	}
	data := func(id string) string { return filepath.Join(r.dir, "databases", id, "data") }
	databases := []string{"s1-a", "s1-b"}
	for _, id := range databases {
		must(t, r.Process(id).Kill())
	}
	for _, id := range databases {
		must(t, os.RemoveAll(data(id)))
	}
	s.awaitFlow(t)
	t.Logf("%s", r.quipu(t, "backup", "list", "--set", cold))
	t.Logf("%s", r.quipu(t, "backup", "restore", "--shard", "s1", "--into", data("s1-a"), "--into", data("s1-b"), "--set", cold))
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	primary, replica := r.Database("s1-a"), r.Database("s1-b")
	must(t, primary.Start(ctx))
	s.awaitFlow(t) // nobody waits for the replica
	must(t, replica.Start(ctx))
	must(t, local.Replicate(ctx, primary, replica, r.Passwords()[local.AccountReplicate]))
	s.awaitFlow(t)
	s.stop(t)
	s.ledger.verify(t, d)

	must(t, local.AwaitReplica(ctx, primary, replica))
	want, got := map[cell]*total{}, map[cell]*total{}
	readCells(t, open(t, d, "s1-a", local.AccountRead, local.SchemaCounts), want)
	readCells(t, open(t, d, "s1-b", local.AccountRead, local.SchemaCounts), got)
	compare(t, "the replica", want, got)
	if len(want) == 0 {
		t.Error("the shard holds nothing")
	}
}

// TestShardIsRestoredWhileNothingRuns restores a shard of a cluster that is down, as after the loss of a disk: nobody can be asked whether the log
// reaches back, and what came after the backup, acknowledged and not counted yet in part, is counted once the cluster is up again.
func TestShardIsRestoredWhileNothingRuns(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) { c.Shards, c.Replicas = 1, 1 })
	cold := "archive.url=" + filepath.Join(t.TempDir(), "cold")
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	r.quipu(t, "backup", "create", "--shard", "s1", "--database", "s1-a", "--set", cold)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	must(t, r.Process("writer").Kill())
	s.awaitFlow(t)
	s.stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*startPatience)
	defer cancel()
	must(t, r.Stop(ctx))
	restore := []string{"backup", "restore", "--shard", "s1", "--force", "--set", cold}
	for _, id := range []string{"s1-a", "s1-b"} {
		data := filepath.Join(r.dir, "databases", id, "data")
		must(t, os.RemoveAll(data))
		restore = append(restore, "--into", data)
	}
	r.quipu(t, restore...)
	must(t, r.Start(ctx))
	s.ledger.verify(t, r.Description())
	var replicas int
	must(t, r.Database("s1-b").Root().QueryRowContext(ctx, "SELECT COUNT(*) FROM quipu.minute_counts").Scan(&replicas))
	if replicas == 0 {
		t.Error("the replica holds nothing")
	}
}
