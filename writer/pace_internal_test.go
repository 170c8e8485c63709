package writer

import (
	"errors"
	"testing"
	"time"

	"github.com/quipudb/quipu/wire"
)

func TestPaceFollowsLatencyAndLag(t *testing.T) {
	settings := Flush{Interval: time.Second, MaxInterval: 15 * time.Second, Timeout: 15 * time.Second, MaxRows: 50_000}
	for _, c := range []struct {
		name      string
		took, lag time.Duration
		want      time.Duration
	}{
		{"quick", 20 * time.Millisecond, 0, time.Second},
		{"half", 500 * time.Millisecond, 0, time.Second},
		{"slow", 2 * time.Second, 0, 4 * time.Second},
		{"very slow", time.Minute, 0, 15 * time.Second},
		{"lagging", 20 * time.Millisecond, 5 * time.Second, 5 * time.Second},
		{"far behind", 20 * time.Millisecond, time.Hour, 15 * time.Second},
	} {
		p := newPace(settings, 50_000)
		for range 40 {
			p.flushed(c.took, c.lag)
		}
		if diff := p.current - c.want; diff.Abs() > 10*time.Millisecond {
			t.Errorf("%s: got an interval of %s, want %s", c.name, p.current, c.want)
		}
		for range 40 {
			p.flushed(5*time.Millisecond, 0)
		}
		if diff := p.current - time.Second; diff.Abs() > 10*time.Millisecond {
			t.Errorf("%s: got an interval of %s after it was over, want 1s", c.name, p.current)
		}
	}
}

func TestPaceGrowsByDoublingAtMost(t *testing.T) {
	p := newPace(Flush{Interval: time.Second, MaxInterval: 15 * time.Second}, 0)
	p.flushed(time.Hour, 0)
	if p.current != 2*time.Second {
		t.Errorf("got an interval of %s after one slow flush, want 2s", p.current)
	}
}

func TestFlushesShrinkWithTheSpeedOfTheShard(t *testing.T) {
	p := newPace(Flush{Timeout: 15 * time.Second, MaxRows: 50_000}, 50_000)
	p.applied(10_000, time.Second)
	if p.rows != 50_000 {
		t.Errorf("got %d rows a flush at 10,000 a second, want 50,000", p.rows)
	}
	for range 30 {
		p.applied(2000, time.Second)
	}
	if p.rows < 9900 || p.rows > 10_100 {
		t.Errorf("got %d rows a flush at 2,000 a second, want 10,000: what a third of 15 s takes", p.rows)
	}
	p.applied(1, time.Hour)
	for range 30 {
		p.applied(1000, time.Minute)
	}
	if p.rows != leastRows {
		t.Errorf("got %d rows a flush of a very slow shard, want %d", p.rows, leastRows)
	}
}

func TestFewRowsAreFlushedEarlyWhileTheShardIsQuick(t *testing.T) {
	p := newPace(Flush{Interval: time.Second, MaxInterval: 15 * time.Second}, 0)
	p.flushed(10*time.Millisecond, 0)
	for rows, want := range map[int]time.Duration{0: time.Second, 1: 250 * time.Millisecond, eagerRows: 250 * time.Millisecond, eagerRows + 1: time.Second} {
		if got := p.dueAfter(rows); got != want {
			t.Errorf("got %d rows due after %s, want %s", rows, got, want)
		}
	}
	for range 10 {
		p.flushed(200*time.Millisecond, 0)
	}
	if got := p.dueAfter(1); got != time.Second {
		t.Errorf("got a row due after %s while flushes take 200ms, want 1s", got)
	}
}

func TestBackoffIsBounded(t *testing.T) {
	b := newBackoff()
	notable := 0
	for i := range 100 {
		if d := b.next(time.Hour); d > b.most {
			t.Fatalf("got a wait of %s after %d failures, the bound is %s", d, i+1, b.most)
		}
		if b.notable() {
			notable++
		}
	}
	if notable < 2 || notable > 10 {
		t.Errorf("got %d notable failures of 100, want few", notable)
	}
	b.reset()
	if d := b.next(0); d > b.least {
		t.Errorf("got a first wait of %s, want at most %s", d, b.least)
	}
}

func TestJudge(t *testing.T) {
	request := &wire.ApplyRequest{Partition: 3, Epoch: 7, Expected: 10, Next: 20, Incarnation: "log", Checksum: 99}
	stored := wire.Checkpoint{Partition: 3, Epoch: 7, NextOffset: 20, Incarnation: "log", Checksum: 99}
	changed := func(change func(*wire.Checkpoint)) *wire.Checkpoint {
		c := stored
		change(&c)
		return &c
	}
	moved := func(c *wire.Checkpoint) error {
		return wire.NewProblem(wire.CodeOffsetMoved, "moved").WithCheckpoint(*c)
	}
	for _, c := range []struct {
		name  string
		err   error
		final bool
		want  string // type of the verdict
	}{
		{"ours", moved(&stored), true, "committed"},
		{"other offset", moved(changed(func(c *wire.Checkpoint) { c.NextOffset = 15 })), true, "rewound"},
		{"other epoch", moved(changed(func(c *wire.Checkpoint) { c.Epoch = 8 })), true, "rewound"},
		{"other log", moved(changed(func(c *wire.Checkpoint) { c.Incarnation = "other" })), true, "rewound"},
		{"other batch", moved(changed(func(c *wire.Checkpoint) { c.Checksum = 1 })), true, "rewound"},
		{"moved, untold", wire.NewProblem(wire.CodeOffsetMoved, "moved"), true, "fenced"},
		{"fenced", wire.NewProblem(wire.CodeFenced, "no").WithCheckpoint(stored), true, "fenced"},
		{"unapplicable", wire.NewProblem(wire.CodeUnapplicable, "no"), true, "unapplicable"},
		{"too large", wire.NewProblem(wire.CodeTooLarge, "no"), true, "unapplicable"},
		{"misrouted", wire.NewProblem(wire.CodeMisrouted, "no"), false, ""},
		{"deadline", wire.NewProblem(wire.CodeDeadline, "no"), false, ""},
		{"internal", wire.NewProblem(wire.CodeInternal, "no"), false, ""},
		{"bad request", wire.NewProblem(wire.CodeBadRequest, "no"), false, ""},
		{"no problem document", errors.New("connection refused"), false, ""},
	} {
		verdict, final := judge(request, c.err)
		got := ""
		switch verdict.(type) {
		case nil:
			if final {
				got = "committed"
			}
		case *rewoundError:
			got = "rewound"
		case *fencedError:
			got = "fenced"
		case *unapplicableError:
			got = "unapplicable"
		}
		if final != c.final || got != c.want {
			t.Errorf("%s: got %q, final %v, want %q, %v", c.name, got, final, c.want, c.final)
		}
	}
	if verdict, final := judge(&wire.ApplyRequest{Epoch: 7, Expected: 20, Next: 20, Incarnation: "log", Checksum: 99}, moved(&stored)); verdict == nil || !final {
		t.Error("a heartbeat that was refused is taken for committed")
	}
}
