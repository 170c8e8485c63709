package scenario_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// verify waits until everything acknowledged is counted and compares all of it: every cell in the primaries' tables, every cell and
// every key as the reader tells it.
func (l *ledger) verify(t *testing.T, d local.Description) {
	t.Helper()
	want := l.verifyKeys(t, d)
	compareTold(t, "the reader, by minute,", want, askCells(t, d.URLs["reader"], want, true))
}

// verifyKeys is verify without asking for each cell. It returns the cells.
func (l *ledger) verifyKeys(t *testing.T, d local.Description) map[cell]*total {
	t.Helper()
	awaitCounted(t, d.URLs["reader"])
	l.mu.Lock()
	want := l.cells
	t.Logf("%d distinct events acknowledged in %d cells; %d sent again after that, %d requests retried", l.accepted, len(want), l.repeats, l.retries)
	l.mu.Unlock()
	if len(want) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	compare(t, "the primaries", want, readPrimaries(t, d))
	keys := l.keys()
	compareTold(t, "the reader, over all time,", keys, askCells(t, d.URLs["reader"], keys, false))
	return want
}

// readPrimaries reads every cell of every shard.
func readPrimaries(t *testing.T, d local.Description) map[cell]*total {
	t.Helper()
	cells := map[cell]*total{}
	for _, primary := range openPrimaries(t, d) {
		readCells(t, primary, cells)
	}
	return cells
}

// compare reports cells that differ, the first of them in full.
func compare(t *testing.T, who string, want, got map[cell]*total) {
	t.Helper()
	different := differences(want, got)
	for _, difference := range different[:min(len(different), 5)] {
		t.Errorf("%s: %s", who, difference)
	}
	if len(different) > 0 {
		t.Errorf("%s: %d cells differ of %d (INV-1)", who, len(different), len(want))
	}
}

func differences(want, got map[cell]*total) (different []string) {
	for c, w := range want {
		g := got[c]
		if g == nil {
			g = &total{}
		}
		ignoreBounds(c, w, g)
		if diff := cmp.Diff(*w, *g); diff != "" {
			different = append(different, fmt.Sprintf("%v (-acknowledged +counted):\n%s", c, diff))
		}
	}
	for c, g := range got {
		if want[c] == nil {
			different = append(different, fmt.Sprintf("%v was never acknowledged and has %+v", c, *g))
		}
	}
	return different
}

// ignoreBounds forgets minimum and maximum where the type offers none.
func ignoreBounds(c cell, totals ...*total) {
	for _, t := range totals {
		if c.Type == "like" {
			t.Min, t.Max = 0, 0
		}
	}
}

// readCells reads the table of minutes. A cell on two shards would break INV-3.
func readCells(t *testing.T, db *sql.DB, into map[cell]*total) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT t.name, k.name, TIMESTAMPDIFF(MINUTE, '1970-01-01', m.start),
			m.event_count, m.value_count, m.value_sum, m.value_min, m.value_max
		FROM minute_counts m JOIN counted_keys k ON k.id = m.key_id JOIN event_types t ON t.id = m.event_type_id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c cell
		var row total
		var valueCount, sum, least, most sql.NullInt64
		if err := rows.Scan(&c.Type, &c.Key, &c.Minute, &row.Count, &valueCount, &sum, &least, &most); err != nil {
			t.Fatal(err)
		}
		row.HasValues, row.ValueCount, row.Sum, row.Min, row.Max = valueCount.Valid, valueCount.Int64, sum.Int64, least.Int64, most.Int64
		if into[c] != nil {
			t.Errorf("%v is counted in two places (INV-3)", c)
		}
		into[c] = &row
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

type question struct {
	Type     string `json:"type"`
	Key      string `json:"key"`
	Function string `json:"function"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

type batchAnswer struct {
	Results []struct {
		Value json.RawMessage `json:"value"`
		Error json.RawMessage `json:"error"`
	} `json:"results"`
	AsOf   time.Time `json:"as_of"`
	Stale  bool      `json:"stale"`
	Waited *bool     `json:"waited"`
}

// ask puts a batch of questions, that wait for what was sent if wait is not empty, again while the cluster can't answer.
func ask(t *testing.T, reader, wait string, questions []question) batchAnswer {
	t.Helper()
	request := map[string]any{"queries": questions}
	if wait != "" {
		request["wait"] = wait
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	var answer batchAnswer
	testkit.Eventually(t, patience, func() error {
		response, err := http.Post(reader+"/v1/stats:batch", "application/json", bytes.NewReader(body))
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
		answer = batchAnswer{}
		if err := json.Unmarshal(text, &answer); err != nil {
			return err
		}
		if answer.Waited != nil && !*answer.Waited {
			return fmt.Errorf("as of %v: not fresh yet", answer.AsOf)
		}
		for i, r := range answer.Results {
			if r.Error != nil {
				return fmt.Errorf("%+v: %s", questions[i], r.Error)
			}
		}
		return nil
	})
	return answer
}

// awaitCounted waits until everything accepted before the call is counted, in every partition.
func awaitCounted(t *testing.T, reader string) {
	t.Helper()
	// One key of each partition: more than a hundred keys meet all sixteen.
	var questions []question
	for i := range 200 {
		questions = append(questions, question{Type: "view", Key: fmt.Sprint("no such key ", i), Function: "count"})
	}
	ask(t, reader, "20s", questions)
}

// told is what the reader says of a cell: each function's value, null where there is none.
type told map[string]*float64

// tell is what the reader must say. Sums of the scenarios are small enough for a float64.
func (t *total) tell(eventType string) told {
	number := func(n int64) *float64 { f := float64(n); return &f }
	says := told{"count": number(t.Count), "sum": number(t.Sum), "avg": nil}
	if t.ValueCount != 0 {
		average := float64(t.Sum) / float64(t.ValueCount)
		says["avg"] = &average
	}
	if eventType == "like" { // its weights may be negative: no minimum and maximum
		return says
	}
	says["min"], says["max"] = nil, nil
	if t.HasValues {
		says["min"], says["max"] = number(t.Min), number(t.Max)
	}
	return says
}

func compareTold(t *testing.T, who string, want map[cell]*total, got map[cell]told) {
	t.Helper()
	different := 0
	for c, w := range want {
		if diff := cmp.Diff(w.tell(c.Type), got[c], cmpopts.EquateApprox(1e-12, 0)); diff != "" {
			if different++; different <= 5 {
				t.Errorf("%s: %v (-acknowledged +told):\n%s", who, c, diff)
			}
		}
	}
	if different > 0 {
		t.Errorf("%s: %d of %d differ (INV-1)", who, different, len(want))
	}
}

// mostQuestions is how many are put at a time.
const mostQuestions = 1000

// askCells asks for every cell, or for all time of each key, what its type offers.
func askCells(t *testing.T, reader string, want map[cell]*total, byMinute bool) map[cell]told {
	t.Helper()
	got := map[cell]told{}
	var questions []question
	var cells []cell
	for c, w := range want {
		got[c] = told{}
		for function := range w.tell(c.Type) {
			q := question{Type: c.Type, Key: c.Key, Function: function}
			if byMinute {
				q.From = time.Unix(c.Minute*60, 0).UTC().Format(time.RFC3339)
				q.To = time.Unix(c.Minute*60+60, 0).UTC().Format(time.RFC3339)
			}
			questions, cells = append(questions, q), append(cells, c)
		}
	}
	for len(questions) > 0 {
		n := min(len(questions), mostQuestions)
		answers := ask(t, reader, "20s", questions[:n]) // a replica that was away may be behind what was counted
		for i, r := range answers.Results {
			var value *float64
			if err := json.Unmarshal(r.Value, &value); err != nil {
				t.Fatalf("%+v: %v", questions[i], err)
			}
			got[cells[i]][questions[i].Function] = value
		}
		questions, cells = questions[n:], cells[n:]
	}
	return got
}

// analystCount asks in SQL, as an analyst on the replicas, what was counted of a key.
func analystCount(t *testing.T, d local.Description, eventType, key string) (count int64, owners []string) {
	t.Helper()
	for _, server := range d.Databases {
		if server.Role != "replica" {
			continue
		}
		var n sql.NullInt64
		err := open(t, d, server.ID, local.AccountAnalyst, local.SchemaAnalytics).QueryRowContext(t.Context(),
			"SELECT SUM(event_count) FROM counts_per_minute WHERE event_type = ? AND counted_key = ?", eventType, key).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n.Valid {
			count += n.Int64
			owners = append(owners, strings.TrimSuffix(server.ID, "-b"))
		}
	}
	return count, owners
}
