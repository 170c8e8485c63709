package recount_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/audit/recount"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is one partition: the batches that were appended, which of them are in objects, and which are left in the log.
type world struct {
	batches map[uint64][]recount.Event
	names   []rawfile.Name
	first   uint64 // of the log
	next    uint64
}

func (w *world) append(events ...recount.Event) {
	if w.batches == nil {
		w.batches, w.first, w.next = map[uint64][]recount.Event{}, 1, 1
	}
	for i := range events {
		e := &events[i]
		e.Offset = w.next
		if e.Type == "" {
			e.Type = "view"
		}
		if e.Weight == 0 {
			e.Weight = 1
		}
		if e.TimeMs == 0 {
			e.TimeMs = e.AppendMs
		}
	}
	w.batches[w.next] = events
	w.next++
}

func (w *world) archive(first, next uint64) {
	w.names = append(w.names, rawfile.Name{Date: rawfile.DateOf(w.batches[first][0].AppendMs), Incarnation: "aa", First: first, Next: next})
}

func (w *world) Names(context.Context, int) ([]rawfile.Name, error) { return w.names, nil }

func (w *world) Events(_ context.Context, name rawfile.Name, visit func(*recount.Event) error) error {
	for at := name.First; at < name.Next; at++ {
		for _, e := range w.batches[at] {
			if err := visit(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) Hold(context.Context) (*wire.LogHold, error) {
	return &wire.LogHold{Incarnation: "aa", Partitions: []wire.LogHeldPartition{{First: w.first, Next: w.next}}}, nil
}

func (w *world) Read(_ context.Context, _ int, from uint64, _ int, _ time.Duration) (eventlog.Chunk, error) {
	if from < w.first {
		return eventlog.Chunk{}, eventlog.ErrTrimmed
	}
	var b event.BatchBuilder
	for i, e := range w.batches[from] {
		fingerprint := uint64(0)
		if e.ID != "" {
			fingerprint = uint64(i + 1)
		}
		b.Add(&event.Event{Type: e.Type, Key: e.Key, ID: e.ID, TimeMs: e.TimeMs, Weight: e.Weight, Value: e.Value, HasValue: e.HasValue},
			cluster.KeyHash(e.Type, e.Key), fingerprint)
	}
	record := eventlog.Record{Offset: from, AppendTime: w.batches[from][0].AppendMs, Data: b.AppendTo(nil)}
	return eventlog.Chunk{Records: []eventlog.Record{record}, Next: from + 1, End: w.next, Incarnation: "aa"}, nil
}

// count recounts the day of noon.
func (w *world) count(t *testing.T, change func(*recount.Config, *recount.Range)) (*recount.Partition, error) {
	t.Helper()
	cfg := recount.Config{Objects: w, Log: w, Window: 10 * time.Minute}
	day := noon.Truncate(24 * time.Hour)
	q := &recount.Range{Type: "view", From: day, To: day.Add(24 * time.Hour)}
	if change != nil {
		change(&cfg, q)
	}
	hold, err := w.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return recount.New(cfg).Count(t.Context(), q, hold, 0)
}

func at(d time.Duration) int64 { return noon.Add(d).UnixMilli() }

// sums are the counts by key.
func sums(p *recount.Partition) map[string]string {
	all := map[string]string{}
	for key, total := range p.Totals {
		all[key] = fmt.Sprint(total.Count, " ", total.Sum.String(), " ", total.Min, " ", total.Max)
	}
	return all
}

// sample is a day with duplicates within and beyond the window, across batches, objects and the log's rest.
func sample() *world {
	w := &world{}
	w.append(recount.Event{Key: "a", ID: "1", AppendMs: at(0), Value: 5, HasValue: true}, recount.Event{Key: "a", ID: "1", AppendMs: at(0), Value: 5, HasValue: true})
	w.append(recount.Event{Key: "a", ID: "1", AppendMs: at(9 * time.Minute), Value: 5, HasValue: true}, recount.Event{Key: "b", ID: "1", AppendMs: at(9 * time.Minute), Weight: -3})
	w.append(recount.Event{Key: "a", ID: "1", AppendMs: at(18 * time.Minute), Value: 5, HasValue: true}) // the last sighting counts
	w.append(recount.Event{Key: "a", ID: "1", AppendMs: at(29 * time.Minute), Value: event.MaxValue, HasValue: true, Weight: event.MaxWeight})
	w.append(recount.Event{Key: "a", AppendMs: at(30 * time.Minute), Value: -7, HasValue: true}, recount.Event{Key: "a", AppendMs: at(30 * time.Minute)},
		recount.Event{Type: "like", Key: "a", AppendMs: at(30 * time.Minute)}, recount.Event{Key: "late", AppendMs: at(30 * time.Minute), TimeMs: at(-48 * time.Hour)})
	w.append(recount.Event{Key: "b", ID: "1", AppendMs: at(31 * time.Minute)}, recount.Event{Key: "a", ID: "1", AppendMs: at(31 * time.Minute)})
	return w
}

func TestEveryWayOfLyingGivesTheSameSums(t *testing.T) {
	product := new(big.Int).Mul(big.NewInt(event.MaxValue), big.NewInt(event.MaxWeight))
	want := map[string]string{
		"a": fmt.Sprint(1+event.MaxWeight+2, " ", product.Add(product, big.NewInt(5-7)).String(), " -7 ", event.MaxValue),
		"b": "-2 0 0 0",
	}
	for name, arrange := range map[string]func(*world){
		"all in the log":       func(*world) {},
		"all archived":         func(w *world) { w.archive(1, 3); w.archive(3, 7) },
		"archived and trimmed": func(w *world) { w.archive(1, 3); w.archive(3, 7); w.first = 7 },
		"the rest in the log":  func(w *world) { w.archive(1, 4); w.first = 3 },
		"objects overlap":      func(w *world) { w.archive(1, 4); w.archive(2, 6); w.archive(1, 3); w.archive(5, 7) },
		"the same twice":       func(w *world) { w.archive(1, 7); w.archive(1, 7) },
		"objects of a log of before": func(w *world) {
			w.names = append(w.names, rawfile.Name{Date: rawfile.DateOf(at(-90 * 24 * time.Hour)), Incarnation: "00", First: 1, Next: 9})
			w.archive(1, 7)
		},
	} {
		w := sample()
		arrange(w)
		got, err := w.count(t, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, sums(got)); diff != "" || got.Duplicates != 4 || got.Events != 12 {
			t.Errorf("%s: %d of %d events are duplicates (-want +got):\n%s", name, got.Duplicates, got.Events, diff)
		}
	}
	got, err := sample().count(t, func(_ *recount.Config, q *recount.Range) { q.Key = "b" })
	if diff := cmp.Diff(map[string]string{"b": "-2 0 0 0"}, sums(got)); err != nil || diff != "" {
		t.Errorf("one key: %v\n%s", err, diff)
	}
}

func TestWhatIsMissingIsNoSmallerSum(t *testing.T) {
	for name, arrange := range map[string]func(*world){
		"a gap between objects":       func(w *world) { w.archive(1, 3); w.archive(4, 7) },
		"a gap before the log":        func(w *world) { w.archive(1, 3); w.first = 4 },
		"nothing archived, trimmed":   func(w *world) { w.first = 2 },
		"archived from later on":      func(w *world) { w.archive(3, 7) },
		"archived from later, no log": func(w *world) { w.archive(3, 7); w.first = 7 },
	} {
		w := sample()
		arrange(w)
		if got, err := w.count(t, nil); !errors.Is(err, recount.ErrMissing) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	// What is older than the range, the window and what may come ahead does not matter.
	for name, arrange := range map[string]func(*world){
		"archived":   func(w *world) { w.archive(3, 7); w.first = 7 },
		"in the log": func(w *world) { w.first = 3 },
	} {
		w := sample()
		arrange(w)
		got, err := w.count(t, func(_ *recount.Config, q *recount.Range) { q.From, q.To = noon.AddDate(0, 0, 2), noon.AddDate(0, 0, 3) })
		if err != nil || len(got.Totals) != 0 {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestRecountIsBounded(t *testing.T) {
	if _, err := sample().count(t, func(c *recount.Config, _ *recount.Range) { c.MaxIDs = 1 }); !errors.Is(err, recount.ErrTooManyIDs) {
		t.Errorf("got %v", err)
	}
	if _, err := sample().count(t, func(c *recount.Config, _ *recount.Range) { c.MaxKeys = 1 }); !errors.Is(err, recount.ErrTooManyKeys) {
		t.Errorf("got %v", err)
	}
}

// answering is a reader that says what a test wants.
func answering(t *testing.T, waited bool, answered int, value func(key, function string) string) *recount.Reader {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Type, From, To, Wait string
			Queries              []struct{ Key, Function string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Type != "view" || in.From != "2026-11-22T00:00:00Z" || in.To != "2026-11-23T00:00:00Z" || in.Wait == "" {
			t.Errorf("got %+v, %v", in, err)
		}
		var results []string
		for _, q := range in.Queries {
			results = append(results, value(q.Key, q.Function))
		}
		fmt.Fprintf(w, `{"results": [%s], "waited": %t, "coverage": {"partitions": 2, "answered": %d}}`, strings.Join(results, ","), waited, answered)
	}))
	client := wire.NewClient(wire.ClientConfig{Timeout: 20 * time.Second})
	t.Cleanup(func() { client.Close(); server.Close() })
	return recount.NewReader(recount.ReaderConfig{URL: server.URL + "/", Client: client})
}

func TestCompare(t *testing.T) {
	day := noon.Truncate(24 * time.Hour)
	q := &recount.Range{Type: "view", From: day, To: day.Add(24 * time.Hour)}
	totals := map[string]*recount.Total{"none": {Count: 7}}
	for i := range 250 { // more than one question
		total := &recount.Total{Count: int64(i), Min: -1, Max: 9, Values: true}
		total.Sum.SetString("123456789012345678901234567890", 10)
		totals[fmt.Sprint("k", i)] = total
	}
	right := func(key, function string) string {
		value := map[string]string{"count": strings.TrimPrefix(key, "k"), "sum": "123456789012345678901234567890", "min": "-1", "max": "9"}[function]
		if key == "none" {
			value = map[string]string{"count": "7", "sum": "0", "min": "null", "max": "null"}[function]
		}
		return `{"value": ` + value + `}`
	}
	if got, err := answering(t, true, 2, right).Compare(t.Context(), q, totals); err != nil || len(got) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
	wrong := answering(t, true, 2, func(key, function string) string {
		switch {
		case function == "min" || function == "max":
			return `{"error": {"code": "unprocessable", "message": "weights may be negative"}}`
		case key == "k7" && function == "count":
			return `{"value": 8}`
		case key == "none" && function == "sum":
			return `{"value": null}`
		}
		return right(key, function)
	})
	got, err := wrong.Compare(t.Context(), q, totals)
	want := []recount.Difference{{Key: "k7", Function: "count", Recounted: "7", Counts: "8"}, {Key: "none", Function: "sum", Recounted: "0", Counts: "none"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, reader := range map[string]*recount.Reader{
		"not fresh":    answering(t, false, 2, right),
		"partial":      answering(t, true, 1, right),
		"unknown type": answering(t, true, 2, func(string, string) string { return `{"error": {"code": "unknown_type", "message": "no"}}` }),
	} {
		if _, err := reader.Compare(t.Context(), q, totals); err == nil {
			t.Errorf("%s: taken for an answer", name)
		}
	}
}
