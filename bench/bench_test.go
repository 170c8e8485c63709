package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "ingest,reads", "-set", "a.b=c", "-set", "d.e=f"})
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		quick: true, only: []string{"ingest", "reads"}, sets: []string{"a.b=c", "d.e=f"},
		program: "bin/quipu", out: "bench/results.json", dir: "bench/data", connections: 32,
	}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("options differ (-want +got):\n%s", diff)
	}
	for _, args := range [][]string{{"-only", "ingest,speed"}, {"extra"}, {"-fast"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: got no error", args)
		}
	}
}

func TestResultsTellWhatWasMet(t *testing.T) {
	r := &results{Figures: map[string]figure{}}
	r.add(figure{Name: "high", Value: 12_345_678, Unit: "events/s", Target: atLeast(400_000)})
	r.add(figure{Name: "low", Value: 31, Unit: "ms", Target: atLeast(30), AtMost: true})
	r.value("plain", 0.5, "s", "so it is")
	path := filepath.Join(t.TempDir(), "results.json")
	if err := r.write(path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Figures map[string]struct {
			Value  float64
			Target *float64
			Met    *bool
		}
	}
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if f := got.Figures; *f["high"].Met != true || *f["low"].Met != false || f["plain"].Met != nil || f["plain"].Value != 0.5 {
		t.Errorf("got %s", content)
	}
	var table bytes.Buffer
	r.print(&table)
	for _, want := range []string{"12,345,678", "≥ 400,000", "≤ 30", "missed", "so it is"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("got %s, want it to say %q", table.String(), want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123: "0.0123", 12.34: "12.3", 999.4: "999", 1000: "1,000", -12345.6: "-12,346", 1e9: "1,000,000,000"} {
		if got := number(v); got != want {
			t.Errorf("got %s for %v, want %s", got, v, want)
		}
	}
}

func TestRoleOf(t *testing.T) {
	for name, want := range map[string]string{
		"writer-2": "writer", "shard-proxy-s1": "shard-proxy", "s1-a": "primary", "s2-b": "replica", "zookeeper": "zookeeper", "ingest": "ingest",
	} {
		if got := roleOf(name); got != want {
			t.Errorf("got %s for %s, want %s", got, name, want)
		}
	}
}

func TestCPUTimeGrows(t *testing.T) {
	before := cpuTime("self")
	for deadline := time.Now().Add(10 * time.Second); cpuTime("self") == before; {
		if time.Now().After(deadline) {
			t.Fatal("the CPU time of this process does not grow")
		}
	}
	if got := cpuTime("0"); got != 0 {
		t.Errorf("got %v for no process, want 0", got)
	}
}

func TestDescribeMachine(t *testing.T) {
	m, err := describeMachine(t.TempDir())
	if err != nil || m.Cores == 0 || m.MemoryMiB == 0 || m.FsyncP50Ms < 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestSamples(t *testing.T) {
	s := samples{
		`ids{partition="0"}`: 3, `ids{partition="1"}`: 4, "idsx": 9,
		`quipu_writer_partition_state{partition="0",state="counting"}`: 1, `quipu_writer_partition_state{partition="1",state="counting"}`: 0,
	}
	if got := s.sum("ids"); got != 7 {
		t.Errorf("got %v, want 7", got)
	}
	if got := s.counting(); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}

func TestEveryPartitionIsProbedAndLiesInAShard(t *testing.T) {
	p := newProbes(&bench{}, "probe")
	defer p.client.Close()
	for at, key := range p.keys {
		if key == "" {
			t.Errorf("partition %d has no probe", at)
		}
	}
	if shardOf(0) != "s1" || shardOf(7) != "s1" || shardOf(8) != "s2" || shardOf(15) != "s2" {
		t.Error("partitions are not dealt out as the launcher does")
	}
}

func TestProbesAreTakenOnce(t *testing.T) {
	p := newProbes(&bench{}, "probe")
	defer p.client.Close()
	begin := time.Now()
	p.sent[3] = []time.Time{begin, begin.Add(time.Millisecond)}
	answer := func(value string) []byte {
		results := make([]string, partitions)
		for i := range results {
			results[i] = `{"value":0}`
		}
		results[3] = `{"value":` + value + `}`
		return []byte(`{"results":[` + strings.Join(results, ",") + `]}`)
	}
	for _, step := range []struct {
		value string
		count uint64
	}{{"0", 0}, {"1", 1}, {"1", 1}, {"2", 2}} {
		if _, err := p.take(answer(step.value), begin.Add(10*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if got := p.fresh.Snapshot().Count(); got != step.count {
			t.Errorf("after the answer %s: got %d times, want %d", step.value, got, step.count)
		}
	}
	p.ended = true
	if done, err := p.take(answer("2"), begin); err != nil || !done {
		t.Errorf("got %v, %v; want the end", done, err)
	}
	if _, err := p.take(answer("null"), begin); err == nil {
		t.Error("got no error for a probe that can't be asked for")
	}
}
