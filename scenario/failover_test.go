package scenario_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// automatic lets a rig's cluster replace primaries by itself, which rigs otherwise leave to the tests.
const automatic = "failover.automatic=true"

// TestTwoShardsFailOverWhileTheyArchive loses the primaries of both shards at once, whose replicas lag, while hours are added up and days go to cold storage,
// and lets the cluster replace them: roll-up, manifest and caches come through it, and every answer is as before (INV-1, INV-4, INV-5).
func TestTwoShardsFailOverWhileTheyArchive(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Shards, c.Replicas = 2, 1
		c.Settings = append(c.Settings, automatic, "rollup.interval=200ms", "rollup.pause=0s", "retention.minutes=2d", "archive.interval=200ms",
			"archive.settle=0s", "archive.late_interval=1s", "archive.max_files_per_day=2", "archive.drop_delay=20s", "archive.delete_grace=1m")
	})
	d := r.Description()
	// As if the cluster was a week older: nothing was counted yet, so nothing is missing in the coarse tables.
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for _, primary := range []string{"s1-a", "s2-a"} {
		_, err := r.Database(primary).Root().ExecContext(t.Context(), "UPDATE quipu.rollup_watermarks SET complete_before = ?, computing_before = NULL",
			today.AddDate(0, 0, -7).Format(time.DateTime))
		must(t, err)
	}
	s := startStream(t, d.URLs["ingest"], seed, 3)
	r.awaitCold(t)
	reads := watchAnswers(t, d.URLs["reader"], s.ledger)
	for _, replica := range []string{"s1-b", "s2-b"} {
		r.root(t, replica, "STOP SLAVE SQL_THREAD")
	}
	for begun := time.Now(); time.Since(begun) < 5*time.Second; {
		s.awaitFlow(t)
		awaitCounted(t, d.URLs["reader"])
	}
	behind := map[string]int{"s1-b": r.offsets(t, "s1-b"), "s2-b": r.offsets(t, "s2-b")}
	killed := time.Now()
	for _, primary := range []string{"s1-a", "s2-a"} {
		must(t, r.Process(primary).Kill())
	}
	r.awaitCounting(t, behind)
	t.Logf("both shards count again %.1f s after kill -9 of their primaries", time.Since(killed).Seconds())
	s.awaitFlow(t) // late events of archived days among them
	awaitCounted(t, d.URLs["reader"])
	r.quipu(t, "rollup", "run", "--until", today.Format(time.RFC3339))
	s.awaitFlow(t)
	s.stop(t)
	reads.report(t, 0)
	awaitCounted(t, d.URLs["reader"])
	cells, keys := s.ledger.cells, s.ledger.keys()
	compareTold(t, "the reader, by minute,", cells, askCells(t, d.URLs["reader"], cells, true))
	compareTold(t, "the reader, over all time,", keys, askCells(t, d.URLs["reader"], keys, false))
	if r.compareSeries(t, cells, today.AddDate(0, 0, -7)) == 0 {
		t.Error("no answer needed cold storage")
	}
	r.quipu(t, "archive", "run", "--until", today.AddDate(0, 0, -1).Format(time.RFC3339), "--resolution", "minute,hour")
	compareTold(t, "the reader, with more in cold storage,", cells, askCells(t, d.URLs["reader"], cells, true))
	r.quipu(t, "archive", "verify")
}

// TestFrozenPrimaryIsReplaced freezes a primary whose connections stand: it answers nobody, and wakes up as a zombie when another one has its role. It
// is fenced, compared and follows, or has diverged; nothing is lost or counted twice (INV-1).
func TestFrozenPrimaryIsReplaced(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Shards, c.Replicas = 1, 2
		c.Settings = append(c.Settings, automatic)
	})
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	reads := watchAnswers(t, d.URLs["reader"], s.ledger)
	behind := map[string]int{"s1-b": r.offsets(t, "s1-b"), "s1-c": r.offsets(t, "s1-c")}
	frozen := time.Now()
	must(t, r.Process("s1-a").Pause())
	r.awaitPlace(t, "s1-a", "detached")
	for id := range behind {
		behind[id] = r.offsets(t, id)
	}
	r.awaitCounting(t, behind)
	t.Logf("counting went on %.1f s after the primary froze", time.Since(frozen).Seconds())
	must(t, r.Process("s1-a").Resume())
	testkit.Eventually(t, patience, func() error {
		if place := r.placeOf(t, "s1-a"); place == "detached" {
			return fmt.Errorf("s1-a woke up and is %s still", place)
		}
		return nil
	})
	if place := r.placeOf(t, "s1-a"); place == "diverged" {
		t.Log("it had a commit in flight")
		r.quipu(t, "replica", "rebuild", "--shard", "s1", "--database", "s1-a")
	}
	r.awaitPlace(t, "s1-a", "replica")
	s.awaitFlow(t)
	s.stop(t)
	reads.report(t, 2)
	s.ledger.verify(t, r.Description())
	last := 0
	testkit.Eventually(t, patience, func() error {
		offsets := map[int]bool{}
		for _, id := range []string{"s1-a", "s1-b", "s1-c"} {
			last = r.offsets(t, id)
			offsets[last] = true
		}
		if len(offsets) != 1 {
			return fmt.Errorf("the databases are at %v batches", offsets)
		}
		return nil
	})
	for _, id := range []string{"s1-a", "s1-b", "s1-c"} {
		cells := map[cell]*total{}
		readCells(t, open(t, d, id, local.AccountRead, local.SchemaCounts), cells)
		compare(t, id, s.ledger.cells, cells)
	}
}

// awaitCounting waits until one database of each shard has counted more than it had.
func (r *rig) awaitCounting(t *testing.T, had map[string]int) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		counting := map[string]bool{}
		for id, before := range had {
			counting[id[:2]] = counting[id[:2]] || r.offsets(t, id) > before
		}
		for shard, does := range counting {
			if !does {
				return fmt.Errorf("shard %s does not count", shard)
			}
		}
		return nil
	})
}
