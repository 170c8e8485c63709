package scenario_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// rolledUp is what `quipu rollup status --json` tells of a shard.
type rolledUp struct {
	Shard string
	Owner string
	Epoch uint64
	Marks []struct {
		Resolution     string
		CompleteBefore int64 `json:"complete_before_minute"`
	}
}

// quipu runs a command of the cluster.
func (r *rig) quipu(t *testing.T, args ...string) []byte {
	t.Helper()
	begun := time.Now()
	command := exec.CommandContext(t.Context(), testkit.Binary(t), append(args, "--config", filepath.Join(r.dir, "quipu.yaml"))...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v after %v\n%s%s", args, err, time.Since(begun), out, &errors)
	}
	return out
}

// TestRollupChangesNoAnswer has the roll-up go through a week of hours while events of that week and of now come in, hangs it and
// kills it in the middle of its work, has a command do some of it beside, and compares every cell and every key at the end (INV-5, INV-6).
func TestRollupChangesNoAnswer(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Settings = append(c.Settings, "rollup.interval=200ms", "rollup.chunk_rows=100", "rollup.pause=0s")
	})
	r.supervise(t)
	d := r.Description()
	// As if the cluster was a week older: nothing was counted yet, so nothing is missing in the coarse tables.
	week := time.Now().UTC().AddDate(0, 0, -7).Truncate(24 * time.Hour).Format(time.DateTime)
	for _, primary := range []string{"s1-a", "s2-a"} {
		if _, err := r.Database(primary).Root().ExecContext(t.Context(), "UPDATE quipu.rollup_watermarks SET complete_before = ?, computing_before = NULL", week); err != nil {
			t.Fatal(err)
		}
	}
	s := startStream(t, d.URLs["ingest"], seed, 3)
	watchReads(t, d.URLs["reader"], s.ledger)
	s.awaitFlow(t)
	today := time.Now().UTC().Truncate(24*time.Hour).Unix() / 60
	r.awaitStatus(t, "the first days", func(all []rolledUp) bool { return all[0].Marks[0].CompleteBefore > today-6*24*60 })
	// A leader that hangs until its session is over wakes up as a zombie.
	hangs := r.Process("rollup")
	must(t, hangs.Pause())
	r.quipu(t, "rollup", "run", "--until", time.Now().UTC().Add(-96*time.Hour).Format(time.RFC3339))
	must(t, hangs.Resume())
	for killed := range 2 {
		must(t, r.Process("rollup").Kill())
		r.quipu(t, "rollup", "run", "--until", time.Now().UTC().Add(-72*time.Hour).Format(time.RFC3339))
		testkit.Eventually(t, patience, func() error {
			if r.restarts("rollup") <= killed {
				return fmt.Errorf("the roll-up was not started again")
			}
			return nil
		})
	}
	r.awaitStatus(t, "all days", func(all []rolledUp) bool {
		for _, shard := range all {
			if shard.Marks[1].CompleteBefore < today {
				return false
			}
		}
		return true
	})
	s.awaitFlow(t) // what comes for the week now is late
	s.stop(t)
	s.ledger.verify(t, d)
	for _, primary := range []string{"s1-a", "s2-a"} {
		viewsAgree(t, r, primary)
	}
}

// awaitStatus waits until the roll-up came as far as it should. A busy machine takes its time; one mark or another has to move all the while.
func (r *rig) awaitStatus(t *testing.T, what string, holds func([]rolledUp) bool) {
	t.Helper()
	var all []rolledUp
	for begun, reached := time.Now(), false; !reached; {
		before := slices.Clone(all)
		testkit.Eventually(t, patience, func() error {
			all = nil
			if err := json.Unmarshal(r.quipu(t, "rollup", "status", "--json"), &all); err != nil {
				return err
			}
			if reached = len(all) == 2 && holds(all); !reached && cmp.Equal(before, all) {
				return fmt.Errorf("%s are not rolled up, and no mark moves: %+v", what, all)
			}
			return nil
		})
		if reached {
			t.Logf("%s are rolled up after %v", what, time.Since(begun).Round(time.Millisecond))
		}
	}
}

// viewsAgree compares the analysts' hours and days with their minutes.
func viewsAgree(t *testing.T, r *rig, database string) {
	t.Helper()
	sums := func(view string) (all []string) {
		rows, err := r.Database(database).Root().QueryContext(t.Context(), `SELECT CONCAT_WS(' ', event_type, counted_key, day, SUM(event_count), SUM(value_sum), SUM(value_count), MIN(value_min), MAX(value_max))
FROM (SELECT v.*, DATE(v.start) AS day FROM analytics.`+view+` v) d GROUP BY event_type, counted_key, day ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			all = append(all, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return all
	}
	minutes := sums("counts_per_minute")
	if len(minutes) == 0 {
		t.Errorf("%s holds nothing", database)
	}
	for _, view := range []string{"counts_per_hour", "counts_per_day"} {
		if diff := cmp.Diff(minutes, sums(view)); diff != "" {
			t.Errorf("%s: counts_per_minute and %s (-want +got):\n%s", database, view, diff)
		}
	}
}
