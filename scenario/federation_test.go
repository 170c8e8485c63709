package scenario_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// TestArchivingChangesNoAnswer lets the roll-up role archive all but the last days of a week into which events keep coming, merges and
// restores objects by command beside it, and compares every cell, every key and series by each step while that goes on (INV-5, INV-6).
func TestArchivingChangesNoAnswer(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Settings = append(c.Settings, "rollup.interval=200ms", "rollup.pause=0s", "retention.minutes=2d", "archive.interval=200ms",
			"archive.settle=0s", "archive.late_interval=1s", "archive.max_files_per_day=2", "archive.drop_delay=20s", "archive.delete_grace=1m")
	})
	r.supervise(t)
	d := r.Description()
	// As if the cluster was a week older: nothing was counted yet, so nothing is missing in the coarse tables.
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for _, primary := range []string{"s1-a", "s2-a"} {
		_, err := r.Database(primary).Root().ExecContext(t.Context(), "UPDATE quipu.rollup_watermarks SET complete_before = ?, computing_before = NULL",
			today.AddDate(0, 0, -7).Format(time.DateTime))
		must(t, err)
	}
	s := startStream(t, d.URLs["ingest"], seed, 3)
	watchReads(t, d.URLs["reader"], s.ledger)
	r.awaitCold(t)
	s.awaitFlow(t) // what comes for the days in cold storage now is late
	r.quipu(t, "archive", "compact")
	s.stop(t)
	awaitCounted(t, d.URLs["reader"])

	churned := r.churn(t, today)
	cells, keys, cold := s.ledger.cells, s.ledger.keys(), 0
	for going := true; going && !t.Failed(); {
		select {
		case err := <-churned:
			must(t, err)
			going = false
		default:
		}
		compareTold(t, "the reader, by minute,", cells, askCells(t, d.URLs["reader"], cells, true))
		compareTold(t, "the reader, over all time,", keys, askCells(t, d.URLs["reader"], keys, false))
		cold += r.compareSeries(t, cells, today.AddDate(0, 0, -7))
	}
	if cold == 0 {
		t.Error("no answer needed cold storage")
	}
	compareTold(t, "the reader, at the end,", cells, askCells(t, d.URLs["reader"], cells, true))
	r.quipu(t, "archive", "verify")
}

// awaitCold waits until answers need objects in cold storage, several of one day among them: the first, and what came late.
func (r *rig) awaitCold(t *testing.T) {
	t.Helper()
	today := time.Now().UTC().Truncate(24*time.Hour).Unix() / 60
	r.awaitStatus(t, "the days to archive", func(all []rolledUp) bool {
		return !slices.ContainsFunc(all, func(shard rolledUp) bool { return shard.Marks[1].CompleteBefore < today-3*24*60 })
	})
	testkit.Eventually(t, patience, func() error {
		answer, err := r.stats(url.Values{"type": {"view"}, "key": {"key-00"}, "step": {"minute"}, "from": {dayString(-4)}, "to": {dayString(-3)}})
		if err != nil {
			return err
		}
		for _, source := range answer.Sources {
			if source.Role == "cold" && source.Objects > 1 {
				return nil
			}
		}
		return fmt.Errorf("not in cold storage yet, or nothing late is: %+v", answer.Sources)
	})
}

func dayString(days int) string {
	return time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, days).Format(time.RFC3339)
}

// churn moves days to cold storage, merges their objects, brings some back for a while and gives them up again, some times. It tells how that ended.
func (r *rig) churn(t *testing.T, today time.Time) <-chan error {
	t.Helper()
	day := func(days int) string { return today.AddDate(0, 0, days).Format(time.DateOnly) }
	ended, done := make(chan error, 1), make(chan struct{})
	t.Cleanup(func() { <-done }) // the test's context, which ends the commands, has ended then
	program, config := testkit.Binary(t), filepath.Join(r.dir, "quipu.yaml")
	go func() {
		defer close(done)
		for range 2 {
			for _, command := range [][]string{
				{"archive", "run", "--until", today.AddDate(0, 0, -1).Format(time.RFC3339), "--resolution", "minute,hour"},
				{"archive", "compact"},
				{"archive", "restore", "--resolution", "minute", "--from", day(-4), "--to", day(-2)},
				{"archive", "restore", "--release", "--resolution", "minute", "--from", day(-4), "--to", day(-2)},
			} {
				if out, err := exec.CommandContext(t.Context(), program, append(command, "--config", config)...).CombinedOutput(); err != nil {
					ended <- fmt.Errorf("%v: %w\n%s", command, err, out)
					return
				}
			}
		}
		ended <- nil
	}()
	return ended
}

type seriesAnswer struct {
	Points []struct {
		Start time.Time `json:"start"`
		Value int64     `json:"value"`
	} `json:"points"`
	Coverage struct {
		Missing []any `json:"missing"`
	} `json:"coverage"`
	Sources []struct {
		Role    string `json:"role"`
		Objects int    `json:"objects"`
	} `json:"sources"`
}

func (r *rig) stats(query url.Values) (*seriesAnswer, error) {
	response, err := http.Get(r.url("reader") + "/v1/stats?" + query.Encode())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("status %d: %s", response.StatusCode, text), err)
	}
	out := &seriesAnswer{}
	return out, json.Unmarshal(text, out)
}

// compareSeries compares the counts of some keys by each step with those of their cells. It returns how many answers needed cold storage.
func (r *rig) compareSeries(t *testing.T, cells map[cell]*total, from time.Time) (cold int) {
	t.Helper()
	byKey := map[cell]map[int64]int64{} // by minute
	for c, n := range cells {
		key := cell{Type: c.Type, Key: c.Key}
		if byKey[key] == nil {
			byKey[key] = map[int64]int64{}
		}
		byKey[key][c.Minute] += n.Count
	}
	keys := slices.SortedFunc(maps.Keys(byKey), func(a, b cell) int { return strings.Compare(a.Type+a.Key, b.Type+b.Key) })
	for i := 0; i < len(keys); i += 7 {
		for step, minutes := range map[string]int64{"minute": 1, "hour": 60, "day": 24 * 60} {
			first := from.Unix() / 60
			want := map[int64]int64{}
			for minute, n := range byKey[keys[i]] {
				if minute >= first && minute < first+7*24*60 {
					want[minute/minutes*minutes] += n
				}
			}
			query := url.Values{"type": {keys[i].Type}, "key": {keys[i].Key}, "step": {step}, "from": {from.Format(time.RFC3339)}, "to": {from.AddDate(0, 0, 7).Format(time.RFC3339)}}
			answer, err := r.stats(query)
			must(t, err)
			for _, source := range answer.Sources {
				if source.Role == "cold" {
					cold++
				}
			}
			got := map[int64]int64{}
			for _, p := range answer.Points {
				if p.Value != 0 || want[p.Start.Unix()/60] != 0 {
					got[p.Start.Unix()/60] = p.Value
				}
			}
			maps.DeleteFunc(want, func(start, n int64) bool { _, told := got[start]; return n == 0 && !told })
			if diff := cmp.Diff(want, got); diff != "" || len(answer.Coverage.Missing) > 0 {
				t.Errorf("%v by the %s (-acknowledged +told), missing %v:\n%s", keys[i], step, answer.Coverage.Missing, diff)
			}
		}
	}
	return cold
}
