package archive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/wire"
)

// job is something that an archiver does.
type job func(context.Context, *archive.Archiver, wire.Leader) error

// crashes does a job once for each call that it makes, dying right before or right after that call, and then again as another process
// that knows nothing of the first. prepare makes something to do.
func (r *rig) crashes(prepare func() (func(*archive.Config), job)) {
	r.t.Helper()
	for n, late := 1, false; ; {
		change, do := prepare()
		servers.AwaitReplica(r.t)
		name := "no call"
		r.calls.faults.set(func(at int, what string) (before, after error) {
			if at < n {
				return nil, nil
			}
			if at > n || !late { // dead is dead
				if at == n {
					name = what
				}
				return errInjected, nil
			}
			name = what
			return nil, errInjected
		})
		err := do(r.t.Context(), r.archiver(change), r.lead("first"))
		r.calls.faults.set(nil)
		where := fmt.Sprintf("dead at call %d, %s, after it: %t", n, name, late)
		if err != nil && !errors.Is(err, errInjected) {
			r.t.Fatalf("%s: %v", where, err)
		}
		r.t.Log(where)
		r.check()
		servers.AwaitReplica(r.t)
		if err := do(r.t.Context(), r.archiver(change), r.lead("second")); err != nil {
			r.t.Fatalf("%s, and then: %v", where, err)
		}
		r.check()
		if err == nil {
			return // it ended before the call
		}
		if late = !late && changes(name); !late {
			n++
		}
	}
}

// changes tells whether it matters that a call was made though its answer is lost.
func changes(call string) bool {
	return !slices.Contains([]string{"archive", "archive:rows", "archive:manifest", "archive:references", "probe", "download", "list"}, call)
}

// INV-5: whatever call an archiver dies at, no answer changes, and the next one goes on.
func TestDeathBetweenAnyTwoCalls(t *testing.T) {
	r := newRig(t)
	day := int64(60)
	r.crashes(func() (func(*archive.Config), job) {
		day--
		r.fill(4, day)
		return func(c *archive.Config) {
			until(today() - (day-1)*minutesOfDay)(c)
			c.FileRows = 7 // several objects
		}, run
	})
	if intents := r.state().Intents; len(intents) > 0 {
		t.Errorf("%d intents are left", len(intents))
	}
}

// INV-6: the same for what came late.
func TestDeathAmidLateRows(t *testing.T) {
	r := newRig(t)
	r.fill(3, 3, 4)
	r.archived(1)
	r.crashes(func() (func(*archive.Config), job) {
		r.fill(2, 3, 4)
		return until(today() - minutesOfDay), run
	})
	if late := r.state().Late; len(late) > 0 {
		t.Errorf("got %+v late", late)
	}
}

// The same for merging, and for deleting what was replaced.
func TestDeathAmidMergeAndSweep(t *testing.T) {
	r := newRig(t)
	r.fill(3, 3)
	r.archived(1)
	r.crashes(func() (func(*archive.Config), job) {
		r.fill(2, 3)
		r.mustRun(r.archiver(until(today() - minutesOfDay)))
		return nil, func(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
			_, err := a.Compact(ctx, "s1", leader, 0, 0)
			return err
		}
	})
	r.crashes(func() (func(*archive.Config), job) {
		r.orphan("s1", today()-3*minutesOfDay)
		r.fill(2, 3)
		r.mustRun(r.archiver(until(today() - minutesOfDay)))
		if _, err := r.archiver(nil).Compact(t.Context(), "s1", r.lead("c"), 0, 0); err != nil {
			t.Fatal(err)
		}
		return sweeping, run
	})
	servers.AwaitReplica(t)
	r.mustRun(r.archiver(sweeping))
	if got, want := len(r.objects()), len(r.manifest("minute")); got != want {
		t.Errorf("got %d objects, want the %d of the manifest", got, want)
	}
}

// sweeping is a change of Config: two days pass after the start.
func sweeping(c *archive.Config) {
	looks := 0
	c.Now = func() time.Time {
		if looks++; looks == 1 {
			return time.Now()
		}
		return time.Now().Add(48 * time.Hour)
	}
	c.DropDelay, c.DeleteGrace = 100*24*time.Hour, time.Hour
}

// The same for bringing days back and releasing them.
func TestDeathAmidRestore(t *testing.T) {
	r := newRig(t)
	r.fill(3, 2, 3)
	r.archived(1)
	r.fill(1, 3)
	r.archived(1)
	from, to := today()-3*minutesOfDay, today()-minutesOfDay
	r.crashes(func() (func(*archive.Config), job) {
		return until(today() - minutesOfDay), func(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
			err := run(ctx, a, leader) // what is being released must be gone first
			if err == nil {
				_, err = a.Restore(ctx, "s1", leader, "minute", from, to)
			}
			if err == nil {
				err = a.Release(ctx, "s1", leader, "minute", from, to)
			}
			if err == nil {
				err = run(ctx, a, leader)
			}
			return err
		}
	})
}

// A leader that lost its lead is refused, whatever it does next.
func TestZombieIsFenced(t *testing.T) {
	r := newRig(t)
	r.archived(4)
	r.fill(4, 3)
	zombie, a := r.lead("zombie"), r.archiver(until(today()-2*minutesOfDay))
	for _, at := range []string{"archive:freeze", "archive:intend", "upload", "archive:commit"} {
		taken := false
		r.calls.faults.set(func(_ int, what string) (before, after error) {
			if what == at && !taken {
				taken = true
				r.lead("other")
			}
			return nil, nil
		})
		err := run(t.Context(), a, zombie)
		r.calls.faults.set(nil)
		if wire.CodeOf(err) != wire.CodeFenced {
			t.Errorf("fenced at %s: got %v, want %s", at, err, wire.CodeFenced)
		}
		r.check()
		zombie = r.lead("zombie")
	}
	if got := r.mark("minute").ColdBefore; got != today()-4*minutesOfDay {
		t.Errorf("minutes are cold before %d", got)
	}
	r.mustRun(r.archiver(until(today() - 2*minutesOfDay)))
	r.check()
}

// While cold storage is down nothing is frozen, and what is frozen stays where it is.
func TestColdStorageIsDown(t *testing.T) {
	r := newRig(t)
	r.archived(4)
	r.fill(4, 3)
	change := until(today() - 2*minutesOfDay)
	down := func(_ int, what string) (before, after error) {
		if slices.Contains([]string{"probe", "upload", "download", "list", "delete"}, what) {
			return fmt.Errorf("%w: the network", blob.ErrUnavailable), nil
		}
		return nil, nil
	}
	r.calls.faults.set(down)
	if err := run(t.Context(), r.archiver(change), r.lead("a")); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, blob.ErrUnavailable)
	}
	if got := r.mark("minute"); got.FrozenBefore != today()-4*minutesOfDay {
		t.Errorf("minutes are frozen before %d", got.FrozenBefore)
	}
	r.calls.faults.set(func(n int, what string) (before, after error) {
		if what == "probe" {
			return nil, nil
		}
		return down(n, what)
	})
	if err := run(t.Context(), r.archiver(change), r.lead("b")); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, blob.ErrUnavailable)
	}
	if got := r.mark("minute"); got.FrozenBefore == got.ColdBefore || got.ColdBefore != today()-4*minutesOfDay {
		t.Errorf("got %+v, want frozen and not cold", got)
	}
	r.check()
	r.calls.faults.set(nil)
	r.mustRun(r.archiver(change))
	r.check()
	if got := r.mark("minute"); got.ColdBefore != today()-2*minutesOfDay {
		t.Errorf("got %+v once cold storage is back", got)
	}
}
