package scenario_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// TestRawEventsRecountTheCluster has raw events archived while events and duplicates of them flow and the archiver is killed, lets the log trim what is
// archived, and counts again from cold storage: every key must be what the reader says, and a count that was tampered with must not pass.
func TestRawEventsRecountTheCluster(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	cold := "archive.url=" + filepath.Join(t.TempDir(), "cold")
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Settings = append(c.Settings, cold, "archive.raw_after=1s", "archive.interval=100ms", "ingest.retention=0s", "ingest.trim_interval=100ms", "ingest.segment_size=1MiB")
	})
	r.supervise(t)
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	for killed := range 2 {
		s.awaitFlow(t)
		r.awaitRaw(t, cold, func(all []rawPartition) error {
			for _, p := range all {
				if p.Next > uint64(killed)*10 { // a second object in the second round
					return nil
				}
			}
			return fmt.Errorf("nothing is archived: %+v", all)
		})
		must(t, r.Process("rollup").Kill())
		testkit.Eventually(t, patience, func() error {
			if r.restarts("rollup") <= killed {
				return fmt.Errorf("the archiver was not started again")
			}
			return nil
		})
	}
	s.awaitFlow(t)
	s.stop(t)
	s.ledger.verify(t, d)
	r.awaitArchived(t, cold)

	from, to := time.Now().UTC().AddDate(0, 0, -9).Truncate(time.Minute), time.Now().UTC().AddDate(0, 0, 1).Truncate(time.Minute)
	recount := func(eventType string) (string, error) {
		command := exec.CommandContext(t.Context(), testkit.Binary(t), "archive", "recount", "--type", eventType,
			"--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "--set", cold, "--config", filepath.Join(r.dir, "quipu.yaml"))
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		err := command.Run()
		return out.String(), err
	}
	for _, eventType := range []string{"view", "like"} {
		keys := 0
		for k := range s.ledger.keys() {
			if k.Type == eventType {
				keys++
			}
		}
		out, err := recount(eventType)
		if err != nil || !strings.Contains(out, fmt.Sprintf("keys compared: %d,", keys)) || strings.Contains(out, " 0 of them duplicates") {
			t.Errorf("%s: %d keys were acknowledged, duplicates among them; got %v:\n%s", eventType, keys, err, out)
		}
		t.Logf("%s: %s", eventType, strings.ReplaceAll(out, "\n", "; "))
	}
	tampered, err := r.Database("s1-a").Root().ExecContext(t.Context(),
		"UPDATE quipu.minute_counts SET event_count = event_count + 1 WHERE event_type_id = (SELECT id FROM quipu.event_types WHERE name = 'view') ORDER BY start DESC LIMIT 1") // so new that no hour holds it yet
	must(t, err)
	if n, _ := tampered.RowsAffected(); n != 1 {
		t.Fatalf("%d rows were tampered with", n)
	}
	must(t, local.AwaitReplica(t.Context(), r.Database("s1-a"), r.Database("s1-b")))
	if out, err := recount("view"); err == nil || !strings.Contains(out, "differences: 1\n") {
		t.Errorf("a count that was tampered with passed: %v\n%s", err, out)
	}
}

// rawPartition is what `quipu archive raw status --json` tells of a partition.
type rawPartition struct {
	Partition int
	Next      uint64 `json:"archived_before"`
	LogNext   uint64 `json:"log_before"`
	Told      uint64 `json:"told_before"`
}

func (r *rig) awaitRaw(t *testing.T, cold string, holds func([]rawPartition) error) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		var all []rawPartition
		if err := json.Unmarshal(r.quipu(t, "archive", "raw", "status", "--json", "--set", cold), &all); err != nil {
			return err
		}
		return holds(all)
	})
}

// awaitArchived waits until all of the log is in cold storage, and the log knows.
func (r *rig) awaitArchived(t *testing.T, cold string) {
	t.Helper()
	r.awaitRaw(t, cold, func(all []rawPartition) error {
		for _, p := range all {
			if p.LogNext > 1 && (p.Next != p.LogNext || p.Told != p.LogNext) {
				return fmt.Errorf("partition %d is archived before %d and told before %d, the log ends at %d", p.Partition, p.Next, p.Told, p.LogNext)
			}
		}
		return nil
	})
}
