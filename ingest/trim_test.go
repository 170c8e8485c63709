package ingest_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

// checkpoints answers with what a test sets, and counts how often it was asked.
type checkpoints struct {
	mu     sync.Mutex
	answer wire.CheckpointsAnswer
	err    error
	asked  int
}

func (c *checkpoints) Checkpoints(context.Context) (wire.CheckpointsAnswer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.answer, c.err
}

func (c *checkpoints) set(answer wire.CheckpointsAnswer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer, c.err = answer, err
}

// rounds waits for two more rounds of trimming: the second one started after everything set before.
func (c *checkpoints) rounds(t *testing.T) {
	t.Helper()
	read := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.asked }
	from := read()
	eventually(t, func() bool { return read() >= from+3 })
}

func (r *rig) firsts() []uint64 {
	r.t.Helper()
	var out []uint64
	for p := range testPartitions {
		b, err := r.log.Bounds(r.t.Context(), p)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, b.First)
	}
	return out
}

// fillSegments appends batches of about 1 KiB to partition 0, one a request, into segments of a few of them each.
func fillSegments(t *testing.T, c *checkpoints, retention time.Duration) *rig {
	t.Helper()
	r := start(t, options{
		log: embedded.Config{SegmentBytes: 8 << 10},
		config: func(cfg *ingest.Config) {
			cfg.Checkpoints, cfg.TrimInterval, cfg.Retention = c, time.Millisecond, retention
		},
	})
	key := keyIn(0)
	for i := range 60 {
		events := make([]string, 10)
		for n := range events {
			events[n] = view(key, strings.Repeat("i", 90)+strconv.Itoa(i*10+n))
		}
		if a := r.post("[" + strings.Join(events, ",") + "]"); a.Accepted != 10 {
			t.Fatalf("got %+v", a)
		}
	}
	return r
}

// TestTrimKeepsWhatAnyDatabaseNeeds walks through what may and what may not be trimmed (design: what is not counted yet, or still needed
// for a window or a lagging replica's promotion, is never trimmed).
func TestTrimKeepsWhatAnyDatabaseNeeds(t *testing.T) {
	c := &checkpoints{err: errors.New("nobody answers")}
	r := fillSegments(t, c, -1)
	at := func(database string, windowFrom, next uint64) wire.Checkpoint {
		return wire.Checkpoint{Partition: 0, Database: database, WindowFrom: windowFrom, NextOffset: next, Incarnation: r.log.Incarnation()}
	}
	untouched := []uint64{1, 1, 1, 1}
	other := at("s1-a", 50, 61)
	other.Incarnation = "another"
	for _, step := range []struct {
		name   string
		answer wire.CheckpointsAnswer
		err    error
	}{
		{"nobody answers", wire.CheckpointsAnswer{}, errors.New("away")},
		{"no checkpoints", wire.CheckpointsAnswer{}, nil},
		{"a database is missing", wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{at("s1-a", 50, 61)}, Missing: []string{"s1-b"}}, nil},
		{"a replica has counted nothing", wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{at("s1-a", 50, 61), at("s1-b", 0, 0)}}, nil},
		{"a replica is at the start", wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{at("s1-a", 50, 61), at("s1-b", 1, 61)}}, nil},
		{"a checkpoint of another log", wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{other}}, nil},
		{"another partition", wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{{Partition: 99, WindowFrom: 50, NextOffset: 61}}}, nil},
	} {
		c.set(step.answer, step.err)
		c.rounds(t)
		if diff := cmp.Diff(untouched, r.firsts()); diff != "" {
			t.Fatalf("%s: trimmed all the same (-want +got):\n%s", step.name, diff)
		}
	}
	c.set(wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{at("s1-a", 55, 61), at("s1-b", 30, 40)}}, nil)
	eventually(t, func() bool { return r.firsts()[0] > 10 })
	if got := r.firsts(); got[0] > 30 || got[1] != 1 {
		t.Errorf("got first offsets %v, want partition 0 trimmed below 30 at most, and no other", got)
	}
	if got := len(r.events()); got < 310 {
		t.Errorf("got %d events left, want those of 31 batches at least", got)
	}
}

func TestRetentionHoldsTrimmingBack(t *testing.T) {
	c := &checkpoints{}
	r := fillSegments(t, c, time.Hour)
	c.set(wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{{Partition: 0, WindowFrom: 61, NextOffset: 61, Incarnation: r.log.Incarnation()}}}, nil)
	c.rounds(t)
	if diff := cmp.Diff([]uint64{1, 1, 1, 1}, r.firsts()); diff != "" {
		t.Errorf("first offsets differ (-want +got):\n%s", diff)
	}
}

// TestRetentionYieldsToTheBound: what every database has counted is kept for its age only as long as there is room: it never makes the log refuse
// events. The oldest go first.
func TestRetentionYieldsToTheBound(t *testing.T) {
	c := &checkpoints{}
	r := start(t, options{
		log: embedded.Config{MaxBytes: 200 << 10, SegmentBytes: 8 << 10},
		config: func(cfg *ingest.Config) {
			cfg.Checkpoints, cfg.TrimInterval, cfg.Retention = c, time.Millisecond, time.Hour
		},
	})
	counted := wire.CheckpointsAnswer{}
	for p := range testPartitions {
		counted.Checkpoints = append(counted.Checkpoints, wire.Checkpoint{Partition: p, WindowFrom: 1 << 40, NextOffset: 1 << 40, Incarnation: r.log.Incarnation()})
	}
	c.set(counted, nil)
	body := view(keyIn(0), "a") + "\n" + view(keyIn(1)+strings.Repeat("k", 200), "b")
	for i := range 3000 {
		if a := r.post(body); a.Accepted != 2 {
			t.Fatalf("post %d: got %d %+v, want that retention makes room", i, a.status, a.problem)
		}
		if i%100 == 0 {
			c.rounds(t)
		}
	}
	used, limit := r.log.Bytes()
	if used < limit/4 {
		t.Errorf("got %d of %d bytes, want no more trimmed than need be", used, limit)
	}
}

func TestMetrics(t *testing.T) {
	r := start(t, options{})
	r.post(`[` + view("a", "1") + `,{"type":"view","key":"b"},{"type":"nope","key":"b"}]`)
	r.post(`[`)
	got := map[string]float64{}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "," + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	p := strconv.Itoa(partitionOf("view", "a"))
	for name, want := range map[string]float64{
		"quipu_ingest_accepted_events_total": 2, "quipu_ingest_rejected_events_total,unknown_type": 1, "quipu_ingest_refused_requests_total,bad_request": 1,
		"quipu_ingest_window_ids": 1, "quipu_ingest_in_flight_bytes": 0, "quipu_ingest_log_next_offset," + p: 2,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"quipu_eventlog_bytes", "quipu_eventlog_append_seconds,ok", "quipu_ingest_append_seconds,ok", "quipu_ingest_batch_events"} {
		if got[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
}
