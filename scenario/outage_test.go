package scenario_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
)

const zooKeeperOutage = 30 * time.Second

// epochs are the fencing tokens of all partitions, and who claimed them: each change of hands raises one.
func epochs(t *testing.T, primaries []*sql.DB) map[int]string {
	t.Helper()
	all := map[int]string{}
	for _, primary := range primaries {
		rows, err := primary.QueryContext(t.Context(), "SELECT partition_id, CONCAT(owner, ' ', epoch) FROM checkpoints WHERE owned")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var partition int
			var epoch string
			if err := rows.Scan(&partition, &epoch); err != nil {
				t.Fatal(err)
			}
			all[partition] = epoch
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestZooKeeperIsNotNeededForAWhile stops ZooKeeper for 30 s, as a machine that hangs and as one that is gone: events are acknowledged,
// counted and read as before, and no writer gives up a partition (INV-10, INV-1).
func TestZooKeeperIsNotNeededForAWhile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		stop, wake func(*testing.T, *rig)
		keeps      bool // sessions, and with them leases, outlive the outage
	}{
		{
			name: "frozen",
			stop: func(t *testing.T, r *rig) { must(t, r.Process("zookeeper").Pause()) },
			wake: func(t *testing.T, r *rig) { must(t, r.Process("zookeeper").Resume()) },
		},
		{
			name:  "gone",
			stop:  func(t *testing.T, r *rig) { must(t, r.Process("zookeeper").Kill()) },
			wake:  func(t *testing.T, r *rig) { must(t, r.StartAgain(t.Context(), "zookeeper")) },
			keeps: true, // a server that starts gives every session its whole time
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			seed := drawSeed(t)
			r := newRig(t, func(c *local.ClusterConfig) { c.Shards, c.Replicas, c.Writers = 1, local.NoReplicas, 2 })
			d := r.Description()
			s := startStream(t, d.URLs["ingest"], seed, 1)
			s.awaitFlow(t)
			databases := openPrimaries(t, d)
			awaitOwners(t, d, databases, 8, "writer-2") // nobody can hand a partition over without ZooKeeper
			before := epochs(t, databases)

			test.stop(t, r)
			begun := time.Now()
			rounds := 0
			for time.Since(begun) < zooKeeperOutage {
				s.awaitFlow(t)
				awaitCounted(t, d.URLs["reader"])
				rounds++
			}
			if diff := cmp.Diff(before, epochs(t, databases)); diff != "" {
				t.Errorf("partitions changed hands while ZooKeeper was %s:\n%s", test.name, diff)
			}
			t.Logf("events were acknowledged, counted and read %d times in %v without ZooKeeper", rounds, time.Since(begun).Round(time.Second))

			test.wake(t, r)
			begun = time.Now()
			s.awaitFlow(t)
			awaitCounted(t, d.URLs["reader"])
			t.Logf("with ZooKeeper again everything was counted after %v", time.Since(begun).Round(time.Millisecond))
			s.stop(t)
			s.ledger.verify(t, d)
			if diff := cmp.Diff(before, epochs(t, databases)); diff != "" && test.keeps {
				t.Errorf("partitions changed hands when ZooKeeper was back:\n%s", diff)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
