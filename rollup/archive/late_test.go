package archive_test

import (
	"testing"
	"time"

	"github.com/quipudb/quipu/rollup/archive"
)

// INV-6: what comes late for a cold day counts at once, follows it to cold storage, and is merged there.
func TestLateRowsFollow(t *testing.T) {
	r := newRig(t)
	r.fill(6, 1, 2, 3)
	now := created
	change := func(c *archive.Config) {
		c.Retention = archive.Retention{Minutes: 48 * time.Hour}
		c.Now = func() time.Time { return now }
		c.LateInterval, c.MaxFilesPerDay, c.DropDelay = time.Hour, 3, time.Minute
	}
	a := r.archiver(change)
	r.mustRun(a)
	files := len(r.manifest("minute"))
	for round := range 4 {
		r.fill(3, 3, 2)
		r.count(viewed("video-new", 3, int64(round), -1))
		r.check()
		r.mustRun(a) // too soon to seal
		if got := len(r.state().Late); got == 0 {
			t.Fatal("late rows are gone before their time")
		}
		now = now.Add(2 * time.Hour)
		r.mustRun(a)
		r.check()
		if got := r.state().Late; len(got) != 0 {
			t.Fatalf("round %d: got %+v still late", round, got)
		}
	}
	if got := len(r.manifest("minute")); got >= files+8 {
		t.Errorf("got %d objects after 4 late ones for each of 2 days, want some merged", got)
	}
	r.check()
}

// A few late files become one on command, and an empty command changes nothing.
func TestCompact(t *testing.T) {
	r := newRig(t)
	r.fill(6, 2, 3)
	r.archived(1)
	for range 3 {
		r.fill(2, 2, 3)
		r.mustRun(r.archiver(until(today())))
	}
	if got := len(r.manifest("minute")); got != 2*4 {
		t.Fatalf("got %d objects, want 4 for each of 2 days", got)
	}
	a := r.archiver(nil)
	day := today() - 3*minutesOfDay
	if merged, err := a.Compact(t.Context(), "s1", r.lead("c"), day, day+minutesOfDay); err != nil || merged != 1 {
		t.Fatalf("got %d, %v; want the one day that was asked for", merged, err)
	}
	r.check()
	for _, want := range []int{1, 0} {
		if merged, err := a.Compact(t.Context(), "s1", r.lead("c"), 0, 0); err != nil || merged != want {
			t.Fatalf("got %d, %v; want %d", merged, err, want)
		}
		r.check()
	}
	if got := len(r.manifest("minute")); got != 2 {
		t.Errorf("got %d objects, want one for each of 2 days", got)
	}
}

// INV-5, INV-6: days that were brought back answer from the shard, late events included, and are as before once they are released.
func TestRestoreAndRelease(t *testing.T) {
	r := newRig(t)
	r.fill(30, 1, 2, 3, 4)
	r.archived(1)
	r.fill(5, 3)
	r.mustRun(r.archiver(until(today() - minutesOfDay))) // two objects of day 3
	a := r.archiver(until(today() - minutesOfDay))
	from, to := today()-3*minutesOfDay, today()-minutesOfDay
	rows, err := a.Restore(t.Context(), "s1", r.lead("c"), "minute", from, to)
	if err != nil || rows != 2*30*3 {
		t.Fatalf("got %d rows, %v; want %d", rows, err, 2*30*3)
	}
	r.check()
	r.fill(5, 3, 4)
	r.check()
	r.mustRun(a)
	r.check()
	if got := r.state().Late; len(got) != 1 || got[0].Day != from {
		t.Errorf("got %+v late, want what came for the restored day", got)
	}
	if again, err := a.Restore(t.Context(), "s1", r.lead("c"), "minute", from, to); err != nil || again != 0 {
		t.Errorf("restored again: got %d rows, %v", again, err)
	}
	if err := a.Release(t.Context(), "s1", r.lead("c"), "minute", from, to); err != nil {
		t.Fatal(err)
	}
	r.check()
	r.mustRun(r.archiver(until(today() - minutesOfDay)))
	r.check()
	state := r.state()
	if len(state.Restored) > 0 || len(state.Late) > 0 {
		t.Errorf("got %+v restored and %+v late after the release", state.Restored, state.Late)
	}
}
