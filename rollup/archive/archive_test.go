package archive_test

import (
	"testing"
	"time"

	"github.com/quipudb/quipu/rollup/archive"
)

// INV-5: minutes, hours and days turn cold, and everything together is what was counted.
func TestOldRowsTurnCold(t *testing.T) {
	r := newRig(t)
	r.fill(20, 1, 2, 3, 40, 400)
	r.mustRun(r.archiver(until(today()-2*minutesOfDay, "minute", "hour", "day")))
	r.check()
	for _, resolution := range []string{"minute", "hour", "day"} {
		if got := r.mark(resolution); got.ColdBefore != today()-2*minutesOfDay || got.FrozenBefore != got.ColdBefore {
			t.Errorf("got %+v, want %d", got, today()-2*minutesOfDay)
		}
	}
	if got := len(r.manifest("minute")); got != 3 {
		t.Errorf("got %d objects of minutes, want one a day", got)
	}
	r.mustRun(r.archiver(until(today())))
	r.check()
	if got := len(r.manifest("minute")); got != 5 {
		t.Errorf("got %d objects of minutes, want one a day", got)
	}
}

// The retention alone decides where nobody asks for more: whole days of minutes, and nothing that is kept for ever.
func TestRetentionDecides(t *testing.T) {
	r := newRig(t)
	r.fill(3, 1, 2, 3, 4)
	now := created
	retain := func(c *archive.Config) {
		c.Retention = archive.Retention{Minutes: 48 * time.Hour}
		c.Now, c.Interval, c.Settle, c.DeleteGrace = func() time.Time { return now }, time.Second, time.Minute, 24*time.Hour
	}
	a := r.archiver(retain)
	if !r.due(a, &now) {
		t.Fatal("nothing is due")
	}
	r.mustRun(a)
	r.check()
	if got, want := r.mark("minute").ColdBefore, floorDay(now.Add(-48*time.Hour)); got != want {
		t.Errorf("minutes are cold before %d, want %d", got, want)
	}
	if got := r.mark("hour").FrozenBefore; got != 0 {
		t.Errorf("hours are frozen before %d, want for ever kept", got)
	}
	now = now.Add(time.Minute)
	if a.Due(t.Context(), "s1") {
		t.Error("there is something due still")
	}
}

func floorDay(t time.Time) int64 { return t.Unix() / 60 / minutesOfDay * minutesOfDay }

// due looks until the rows have settled.
func (r *rig) due(a *archive.Archiver, now *time.Time) bool {
	for range 10 {
		if a.Due(r.t.Context(), "s1") {
			return true
		}
		*now = now.Add(time.Minute)
	}
	return false
}

// More rows than fit memory wait on disk, and few objects come of them.
func TestManyRowsOfManyDays(t *testing.T) {
	r := newRig(t)
	r.fill(40, 1, 2, 3, 4)
	r.mustRun(r.archiver(func(c *archive.Config) {
		until(today())(c)
		c.FileRows, c.PartitionGroup = 50, 2
	}))
	r.check()
	rows := 40 * 3
	if got, least, most := len(r.manifest("minute")), 4*rows/50, 4*(rows/50+2); got < least || got > most {
		t.Errorf("got %d objects of at most 50 rows for %d rows in 2 groups on each of 4 days, want %d to %d", got, rows, least, most)
	}
}
