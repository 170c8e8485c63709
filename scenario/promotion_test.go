package scenario_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

// TestStaleReplicaIsPromoted loses a primary for good while its replica lags behind it by seconds of counts, and makes that replica the primary while
// events flow: the log is replayed from its older checkpoints, and nothing is lost or counted twice (INV-1, INV-4).
func TestStaleReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) { c.Shards, c.Replicas = 1, 1 })
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	watchReads(t, d.URLs["reader"], s.ledger)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	replica := r.Database("s1-b").Root()
	execute := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := replica.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	execute("STOP SLAVE SQL_THREAD")
	for range 3 { // so much is counted that the replica will not have
		s.awaitFlow(t)
		awaitCounted(t, d.URLs["reader"])
	}
	offsets := func(id string) (sum int) {
		t.Helper()
		must(t, r.Database(id).Root().QueryRowContext(t.Context(), "SELECT SUM(next_offset) FROM quipu.checkpoints").Scan(&sum))
		return sum
	}
	if primary, behind := offsets("s1-a"), offsets("s1-b"); behind >= primary {
		t.Fatalf("the replica is at %d batches, the primary at %d: it does not lag", behind, primary)
	}
	must(t, r.Process("s1-a").Kill())
	s.awaitFlow(t)
	execute("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1")
	promote(t, d.ZooKeeper, "s1-b")
	s.awaitFlow(t)
	s.stop(t)

	d.Databases = slices.DeleteFunc(slices.Clone(d.Databases), func(server local.DescribedServer) bool { return server.ID != "s1-b" })
	d.Databases[0].Role = "primary"
	s.ledger.verify(t, d)
}

// promote makes a database the only one of its shard, the primary.
func promote(t *testing.T, servers, id string) {
	t.Helper()
	zk := zookeeper.New(zookeeper.Config{Servers: []string{servers}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	ended := make(chan error, 1)
	go func() { ended <- zk.Run(ctx) }()
	defer func() {
		cancel()
		must(t, <-ended)
	}()
	testkit.Eventually(t, patience, func() error {
		topology, version, err := zk.Topology(ctx)
		if err != nil {
			return err
		}
		shard := &topology.Shards[0]
		shard.Databases = slices.DeleteFunc(shard.Databases, func(database cluster.Database) bool { return database.ID != id })
		shard.Databases[0].Role = cluster.Primary
		return zk.SetTopology(ctx, topology, version)
	})
}
