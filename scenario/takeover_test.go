package scenario_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// second is another writer beside the cluster's own, which nobody supervises.
func second(t *testing.T, r *rig) *local.Role {
	t.Helper()
	port, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.dir, "roles", "second")
	role := local.NewRole(local.RoleConfig{
		Name: "second", Program: testkit.Binary(t), Dir: dir, Port: port.Number,
		Args: []string{
			"writer", "--config", filepath.Join(r.dir, "roles", "writer", "quipu.yaml"), "--set", "cluster.member_id=second",
			"--data-dir", dir, "--set", "writer.listen=" + local.LoopbackAddress(port.Number), "--set", "writer.flush_interval=200ms",
		},
		LogFile: filepath.Join(r.dir, "logs", "second.log"), DieWithParent: true,
	})
	t.Cleanup(func() {
		if err := role.Kill(); err != nil {
			t.Error(err)
		}
		_ = port.Release()
	})
	return role
}

// awaitOwners waits until so many partitions are the cluster's own writer's and the rest another's, all of them being counted.
func awaitOwners(t *testing.T, d local.Description, databases []*sql.DB, first int, other string) time.Duration {
	t.Helper()
	begun := time.Now()
	testkit.Eventually(t, patience, func() error {
		owned := map[string]int{}
		all := epochs(t, databases)
		for _, epoch := range all {
			owner, _, _ := strings.Cut(epoch, " ")
			owned[owner]++
		}
		if owned["writer"] != first || owned[other] != len(all)-first {
			return fmt.Errorf("partitions are owned by %v, want %d by the first writer", owned, first)
		}
		return nil
	})
	awaitCounted(t, d.URLs["reader"])
	return time.Since(begun).Round(10 * time.Millisecond)
}

// TestWritersTakeOver has a writer join, stop and die while events flow: its partitions go over to the other one, and every event is
// counted once (INV-1, INV-4).
func TestWritersTakeOver(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) { c.Shards, c.Replicas = 1, local.NoReplicas })
	d := r.Description()
	databases := openPrimaries(t, d)
	s := startStream(t, d.URLs["ingest"], seed, 1)
	s.awaitFlow(t)
	awaitOwners(t, d, databases, 16, "second")

	other := second(t, r)
	must(t, other.Start(t.Context()))
	t.Logf("a writer joined: its half was its own after %v", awaitOwners(t, d, databases, 8, "second"))
	s.awaitFlow(t)

	must(t, other.Stop(t.Context()))
	t.Logf("it stopped: the other had all after %v", awaitOwners(t, d, databases, 16, "second"))
	s.awaitFlow(t)

	must(t, other.Start(t.Context()))
	awaitOwners(t, d, databases, 8, "second")
	must(t, other.Kill())
	t.Logf("it died: the other had all after %v, the session's end included", awaitOwners(t, d, databases, 16, "second"))
	s.awaitFlow(t)

	s.stop(t)
	s.ledger.verify(t, d)
}
