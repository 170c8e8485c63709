package writer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/writer"
)

// TestFullWindowWaitsInsteadOfForgetting: at the bound of the windows' memory a partition stops, still knows what it knew, and goes on when
// ids of another have expired (INV-7, INV-9).
func TestFullWindowWaitsInsteadOfForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, "w1")
		r.cfg.Dedup.MaxBytes = 100_000
		w1 := r.start(t, "w1")
		defer w1.stop()
		fill := func(p, n int, name string) {
			events := make([]event.Event, n)
			for i := range events {
				events[i] = viewOf(r.keyIn(p, 0), fmt.Sprint(name, i))
			}
			r.log.append(p, batch(events...))
		}
		fill(0, 4000, "early")
		time.Sleep(5 * time.Minute)
		fill(1, 2000, "late")
		fill(1, 2000, "more")
		time.Sleep(time.Minute)
		if got := w1.metric(t, "partition_state", "partition", "1", "state", "window_full"); got != 1 {
			t.Fatalf("got state window_full = %v, want 1", got)
		}
		if got := w1.metric(t, "windows_bytes"); got > 100_000 {
			t.Errorf("got %v bytes of windows, the bound is 100000", got)
		}
		fill(0, 10, "early")
		time.Sleep(5 * time.Minute)
		fill(0, 10, "other") // moves the first partition's window beyond its early ids
		time.Sleep(6 * time.Minute)
		fill(0, 10, "other")
		fill(1, 50, "more")
		if diff := r.settled(time.Minute, nil); diff != "" {
			t.Error(diff)
		}
	})
}

// TestIdleWindowMakesRoom: the ids of a partition to which nothing comes any more expire all the same. Ingest counts them out after the
// window, so that what it then admits for other partitions must find room.
func TestIdleWindowMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, "w1")
		r.cfg.Dedup.MaxBytes = 100_000
		w1 := r.start(t, "w1")
		defer w1.stop()
		for p, name := range []string{"early", "late"} {
			events := make([]event.Event, 4000)
			for i := range events {
				events[i] = viewOf(r.keyIn(p, 0), fmt.Sprint(name, i))
			}
			r.log.append(p, batch(events...))
			if diff := r.settled(time.Minute, nil); diff != "" {
				t.Fatal(diff)
			}
			r.log.append(p, batch(events[:100]...)) // duplicates still
			time.Sleep(9 * time.Minute)
			r.log.append(p, batch(events[50:150]...)) // seen again, so the window of these ends later
			if diff := r.settled(time.Minute, nil); diff != "" {
				t.Fatal(diff)
			}
			time.Sleep(14 * time.Minute) // a sweep takes a quarter of the window
			if got := w1.metric(t, "windows_bytes"); got != 0 {
				t.Errorf("got %v bytes of windows when all ids have expired, want 0", got)
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	r := &rig{log: newMemLog(), shard: newMemShard(1), leases: &memLeases{}, view: newView(1)}
	good := func() writer.Config {
		return writer.Config{
			ID: "w1", Log: r.log, Proxy: r.shard, Leases: r.leases.of("w1"), Cluster: r.view.Cluster, Changed: r.view.Changed, DeadLetterDir: "dead",
		}
	}
	if _, err := writer.New(good()); err != nil {
		t.Errorf("got error %v for a good configuration", err)
	}
	for name, spoil := range map[string]func(*writer.Config){
		"no id":              func(c *writer.Config) { c.ID = "" },
		"no log":             func(c *writer.Config) { c.Log = nil },
		"no dead letters":    func(c *writer.Config) { c.DeadLetterDir = "" },
		"negative window":    func(c *writer.Config) { c.Dedup.Window = -time.Second },
		"negative bytes":     func(c *writer.Config) { c.Dedup.MaxBytes = -1 },
		"interval above max": func(c *writer.Config) { c.Flush.Interval = time.Minute },
		"too many rows":      func(c *writer.Config) { c.Flush.MaxRows = writer.MaxFlushRows + 1 },
		"negative slots":     func(c *writer.Config) { c.Flush.PerShard = -1 },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := writer.New(cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
