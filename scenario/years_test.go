package scenario_test

import (
	"bufio"
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

// TestYearsAreRolledUpAndArchived loads real flights and years of hourly counts, rolls all up, archives it, drops it from the shards, and
// brings some of it back: the totals of every key, and series of some, are the same before and after (INV-5). In make soak these are all three
// million flights and three years.
func TestYearsAreRolledUpAndArchived(t *testing.T) {
	seed := drawSeed(t)
	const fiveYears = 5 * 366 * 24 * time.Hour
	r := newRig(t, func(c *local.ClusterConfig) {
		c.EventTypes = append(c.EventTypes, event.Type{Name: "reading", Unit: "W", AcceptLate: fiveYears})
		c.Settings = append(c.Settings, "rollup.pause=0s", "archive.interval=5s", "archive.drop_delay=2m")
		if soak {
			c.BufferPoolBytes = 512 << 20
		}
	})
	r.supervise(t)
	verify := []string{"--verify", "--catch-up", "20m"}
	load := append([]string{"load", "flights", "--register"}, verify...)
	if soak {
		load = append(load, "--all")
	}
	r.quipu(t, load...)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, -hourlyDays)
	readings := writeReadings(t, seed, first, today)
	r.quipu(t, append([]string{"load", readings}, verify...)...)

	primaries := openPrimaries(t, r.Description())
	keys := everyKey(t, primaries)
	series := someSeries(keys, first)
	before, seriesBefore := r.totals(t, keys), r.series(t, series)
	same := func(after string) {
		t.Helper()
		if diff := gocmp.Diff(before, r.totals(t, keys)); diff != "" {
			t.Errorf("totals after %s (-before +after):\n%s", after, diff)
		}
		if diff := gocmp.Diff(seriesBefore, r.series(t, series)); diff != "" {
			t.Errorf("series after %s (-before +after):\n%s", after, diff)
		}
	}
	rows := count(t, primaries, "minute_counts")
	r.quipu(t, "rollup", "run", "--until", today.Format(time.RFC3339))
	same("the roll-up")
	began := time.Now()
	r.quipu(t, "archive", "run", "--until", today.AddDate(0, 0, -1).Format(time.RFC3339), "--resolution", "minute,hour")
	t.Logf("%d minute rows of %d keys; archived minutes and hours in %s", rows, len(keys), time.Since(began).Round(time.Second))
	same("archiving")
	r.quipu(t, "archive", "verify")
	if soak { // the rows are kept for longer than the longest read
		testkit.Eventually(t, 5*patience, func() error {
			if left := count(t, primaries, "minute_counts"); left > rows/10 {
				return fmt.Errorf("%d of %d minute rows are in the shards still", left, rows)
			}
			return nil
		})
		same("dropping what was archived")
	}
	week := []string{"--resolution", "minute", "--from", first.Format(time.DateOnly), "--to", first.AddDate(0, 0, 7).Format(time.DateOnly)}
	r.quipu(t, append([]string{"archive", "restore"}, week...)...)
	same("bringing a week back")
	r.quipu(t, append([]string{"archive", "restore", "--release"}, week...)...)
	same("releasing that week")
	t.Logf("%d totals and %d series are the same throughout", len(before), len(series))
}

// count counts the rows of a table in all shards.
func count(t *testing.T, primaries []*sql.DB, table string) (sum int) {
	t.Helper()
	for _, primary := range primaries {
		var n int
		must(t, primary.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n))
		sum += n
	}
	return sum
}

// writeReadings writes an event an hour of each of some keys.
func writeReadings(t *testing.T, seed uint64, from, to time.Time) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "readings.ndjson")
	f, err := os.Create(file)
	must(t, err)
	w := bufio.NewWriter(f)
	random := rand.New(rand.NewPCG(seed, 3))
	for at := from; at.Before(to); at = at.Add(time.Hour) {
		for key := range hourlyKeys {
			minute := at.Add(time.Duration(random.IntN(60)) * time.Minute)
			fmt.Fprintf(w, `{"type":"reading","key":"meter %d","id":"%d-%d","time":%d,"value":%d}`+"\n", key, key, at.Unix(), minute.UnixMilli(), random.IntN(5000)-100)
		}
	}
	must(t, w.Flush())
	must(t, f.Close())
	return file
}

// everyKey lists the keys that were counted, with their types.
func everyKey(t *testing.T, primaries []*sql.DB) []cell {
	t.Helper()
	found := map[cell]bool{}
	for _, primary := range primaries {
		rows, err := primary.QueryContext(t.Context(), `SELECT DISTINCT t.name, k.name FROM minute_counts m
			JOIN counted_keys k ON k.id = m.key_id JOIN event_types t ON t.id = m.event_type_id`)
		must(t, err)
		for rows.Next() {
			var c cell
			must(t, rows.Scan(&c.Type, &c.Key))
			found[c] = true
		}
		must(t, rows.Err())
		must(t, rows.Close())
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b cell) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Key, b.Key)) })
}

// totals are all functions of all keys over all time.
func (r *rig) totals(t *testing.T, keys []cell) map[string]string {
	t.Helper()
	out := map[string]string{}
	for chunk := range slices.Chunk(keys, 200) {
		var questions []question
		for _, c := range chunk {
			for _, function := range []string{"count", "sum", "min", "max"} {
				questions = append(questions, question{Type: c.Type, Key: c.Key, Function: function})
			}
		}
		for i, result := range ask(t, r.url("reader"), "20s", questions).Results {
			q := questions[i]
			out[q.Type+" "+q.Key+" "+q.Function] = string(result.Value)
		}
	}
	return out
}

// someSeries are queries for series of some keys: minutes of a day, hours of some days, days of all.
func someSeries(keys []cell, first time.Time) []map[string]string {
	var out []map[string]string
	for i := 0; i < len(keys); i += max(1, len(keys)/20) {
		from := first.AddDate(0, 0, i%hourlyDays)
		for step, days := range map[string]int{"minute": 1, "hour": 7, "day": hourlyDays} {
			if step == "day" {
				from = first
			}
			out = append(out, map[string]string{
				"type": keys[i].Type, "key": keys[i].Key, "function": "sum", "step": step,
				"from": from.Format(time.RFC3339), "to": from.AddDate(0, 0, days).Format(time.RFC3339),
			})
		}
	}
	return out
}

// series are the points of each query.
func (r *rig) series(t *testing.T, queries []map[string]string) []string {
	t.Helper()
	var out []string
	for chunk := range slices.Chunk(queries, 20) {
		body, err := json.Marshal(map[string]any{"queries": chunk})
		must(t, err)
		var answer struct {
			Results []struct {
				Points json.RawMessage `json:"points"`
				Error  json.RawMessage `json:"error"`
			} `json:"results"`
		}
		testkit.Eventually(t, patience, func() error {
			response, err := http.Post(r.url("reader")+"/v1/stats:batch", "application/json", bytes.NewReader(body))
			if err != nil {
				return err
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				return err
			}
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d: %s", response.StatusCode, text)
			}
			return json.Unmarshal(text, &answer)
		})
		for i, result := range answer.Results {
			if result.Error != nil {
				t.Fatalf("%v: %s", chunk[i], result.Error)
			}
			out = append(out, string(result.Points))
		}
	}
	return out
}
