package load_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func collect(t *testing.T, events iter.Seq2[event.Event, error]) ([]event.Event, error) {
	t.Helper()
	var all []event.Event
	for e, err := range events {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

func TestInputReadsEveryFormat(t *testing.T) {
	const csv = "date,delay,origin,destination,note\n2001-01-01 00:02,-3,LAS,PHL,x\n2001-01-01T00:02:30Z,,PHX,\"A, B\",\n"
	at := time.Date(2001, 1, 1, 0, 2, 0, 0, time.UTC).UnixMilli()
	want := []event.Event{
		{Type: "departure", Key: "LAS", TimeMs: at, Value: -3, HasValue: true, Weight: 1},
		{Type: "departure", Key: "PHX", TimeMs: at + 30_000, Weight: 1},
	}
	mapping, err := load.ParseMapping("type=departure,key=origin, value=delay,time=date")
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte(csv))
	w.Close()
	ndjson := `{"type":"departure","key":"LAS","time":"2001-01-01T00:02:00Z","value":-3}` + "\n\n" +
		fmt.Sprintf(`{"type":"departure","key":"PHX","time":%d,"weight":1}`, at+30_000)
	for name, in := range map[string]load.Input{
		"csv":       {Paths: []string{write(t, "a.csv", csv)}, Mapping: mapping},
		"csv.gz":    {Paths: []string{write(t, "a.csv.gz", zipped.String())}, Mapping: mapping},
		"by format": {Paths: []string{write(t, "a.txt", csv)}, Format: load.FormatCSV, Mapping: mapping},
		"ndjson":    {Paths: []string{write(t, "a.ndjson", ndjson)}},
		"stdin":     {Paths: []string{"-"}, Stdin: strings.NewReader(ndjson)},
		"by names":  {Paths: []string{write(t, "b.csv", fmt.Sprintf("key,type,time,value,weight\nLAS,departure,%d,-3,\nPHX,departure,%d,,1\n", at, at+30_000))}},
	} {
		got, err := collect(t, in.Events())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: events differ (-want +got):\n%s", name, diff)
		}
	}
}

func TestMappingJoinsColumns(t *testing.T) {
	mapping, err := load.ParseMapping("type={kind},key={origin}-{destination}!,id=f{row}")
	if err != nil {
		t.Fatal(err)
	}
	in := load.Input{Paths: []string{write(t, "a.csv", "kind,origin,destination,row\nroute,LAS,PHL,7\n")}, Mapping: mapping}
	got, err := collect(t, in.Events())
	want := []event.Event{{Type: "route", Key: "LAS-PHL!", ID: "f7", Weight: 1}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got %v, events differ (-want +got):\n%s", err, diff)
	}
}

func TestParseMappingRefusesNonsense(t *testing.T) {
	for _, text := range []string{"", "key", "key=", "kee=origin", "key=a,key=b"} {
		if _, err := load.ParseMapping(text); !errors.Is(err, load.ErrConfig) {
			t.Errorf("%q: got %v, want ErrConfig", text, err)
		}
	}
}

func TestInputNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		file, content, mapping string
		want                   error
		text                   string
	}{
		"no file":         {"", "", "", load.ErrInput, "no such file"},
		"unknown name":    {"a.bin", "", "", load.ErrConfig, "--format"},
		"no column":       {"a.csv", "a,b\n1,2\n", "type=view,key=c", load.ErrConfig, "the columns are a, b"},
		"no braces":       {"a.csv", "a,b\n1,2\n", "type=view,key={c}", load.ErrConfig, `no column "c"`},
		"no key":          {"a.csv", "type,b\n1,2\n", "", load.ErrConfig, "no column makes the key"},
		"empty":           {"a.csv", "", "", load.ErrInput, "header"},
		"ragged":          {"a.csv", "type,key\nview,v1\nview\n", "", load.ErrInput, "line 3"},
		"value":           {"a.csv", "type,key,value\nview,v1,1.5\n", "", load.ErrInput, "line 2: invalid event: value"},
		"weight":          {"a.csv", "type,key,weight\nview,v1,0\n", "", load.ErrInput, "weight is 0"},
		"time":            {"a.csv", "type,key,time\nview,v1,yesterday\n", "", load.ErrInput, "time"},
		"event":           {"a.csv", "type,key\nview,\n", "", load.ErrInput, "line 2: invalid event: key"},
		"no JSON":         {"a.ndjson", "{\"type\":\"view\",\"key\":\"v1\"}\n{", "", load.ErrInput, "line 2"},
		"unknown field":   {"a.ndjson", `{"type":"view","key":"v1","colour":"red"}`, "", load.ErrInput, "colour"},
		"two objects":     {"a.ndjson", `{"type":"view","key":"v1"}{}`, "", load.ErrInput, "something follows"},
		"fraction":        {"a.ndjson", `{"type":"view","key":"v1","value":1.5}`, "", load.ErrInput, "line 1"},
		"zero weight":     {"a.ndjson", `{"type":"view","key":"v1","weight":0}`, "", load.ErrInput, "weight is 0"},
		"line too long":   {"a.ndjson", `{"type":"` + strings.Repeat("x", 70_000), "", load.ErrInput, "line 1"},
		"not compressed":  {"a.csv.gz", "type,key\nview,v1\n", "", load.ErrInput, "gzip"},
		"not compressed2": {"a.csv.zst", "type,key\nview,v1\n", "", load.ErrInput, ""},
	} {
		in := load.Input{Paths: []string{"/does/not/exist.csv"}}
		if c.file != "" {
			in.Paths[0] = write(t, c.file, c.content)
		}
		if c.mapping != "" {
			var err error
			if in.Mapping, err = load.ParseMapping(c.mapping); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := collect(t, in.Events()); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v that says %q", name, err, c.want, c.text)
		}
	}
}

func sequence(events []event.Event, err error) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(event.Event{}, err)
		}
	}
}

func newReplay(t *testing.T, batch int, events iter.Seq2[event.Event, error]) *load.Replay {
	t.Helper()
	r, err := load.NewReplay(load.ReplayConfig{Batch: batch, Run: "test", Tally: true}, events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// manyEvents has duplicates, negative weights, values and keys of two types.
func manyEvents() []event.Event {
	var events []event.Event
	for i := range 500 {
		e := event.Event{Type: "view", Key: fmt.Sprint("k", i%7), ID: fmt.Sprint("id", i%450), Weight: int64(i%450%5 + 1), TimeMs: 1}
		if i%450%3 == 0 {
			e.Value, e.HasValue, e.Weight = int64(-i%450), true, -2
		}
		if i%2 == 0 && i < 450 {
			e.Type, e.ID = "like", ""
		}
		events = append(events, e)
	}
	return events
}

func TestReplayIsVerifiedThroughFaults(t *testing.T) {
	for name, fault := range map[string]func(int) string{
		"none":            func(int) string { return "" },
		"drop after":      func(n int) string { return map[bool]string{true: "drop after"}[n%3 == 1] },
		"reject":          func(n int) string { return map[bool]string{true: "reject"}[n%4 == 1] },
		"refuse for good": func(n int) string { return map[bool]string{true: "refuse for good"}[n%2 == 1] },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.set(func() { c.fault = fault })
			r := newReplay(t, 10, sequence(manyEvents(), nil))
			summary, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Connections: 3}, r)
			if err != nil || summary.Posted != 500 {
				t.Fatalf("got %+v, %v; want 500 events sent", summary, err)
			}
			result, err := verify(t, c, r, summary)
			if err != nil || result.Events != c.total() || result.Keys != 14 {
				t.Errorf("got %+v, %v; want %d verified over 14 keys", result, err, c.total())
			}
		})
	}
}

func TestReplayTellsUnknownOutcomes(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.fault = func(int) string { return "drop after" } })
	sender := c.sender()
	sender.DeliveryTimeout = 50 * time.Millisecond
	r := newReplay(t, 100, sequence(manyEvents()[:100], nil))
	summary, err := load.Run(t.Context(), load.Config{Sender: sender}, r)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := verify(t, c, r, summary); !errors.Is(err, load.ErrUnsure) || result.Unknown != 100 {
		t.Errorf("got %+v, %v; want 100 unknown events", result, err)
	}
}

func TestReplayEndsWithAnErrorOfItsInput(t *testing.T) {
	c := newCluster(t)
	broken := errors.New("broken")
	r := newReplay(t, 10, sequence(manyEvents()[:35], broken))
	if _, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, r); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the input", err)
	}
}

func TestNewReplayRefusesBadSettings(t *testing.T) {
	for name, cfg := range map[string]load.ReplayConfig{"no run": {}, "batch": {Run: "r", Batch: 20_000}} {
		if _, err := load.NewReplay(cfg, sequence(nil, nil)); !errors.Is(err, load.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
	r, err := load.NewReplay(load.ReplayConfig{Run: "r"}, sequence(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Expected(); err == nil {
		t.Error("got no error from a replay that keeps no account")
	}
}
