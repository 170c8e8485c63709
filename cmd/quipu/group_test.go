package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func quietGroup() *group { return newGroup(slog.New(slog.DiscardHandler)) }

// until returns a part that runs until it is told to stop, notes that, and returns err.
func until(notes *[]string, name string, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		*notes = append(*notes, name)
		return err
	}
}

func TestPartsStopInReverseOrder(t *testing.T) {
	var notes []string
	g := quietGroup()
	for _, name := range []string{"ZooKeeper", "HTTP", "role"} {
		g.start(name, time.Minute, until(&notes, name, nil))
	}
	g.stopsFirst("HTTP")
	g.start("registration", time.Minute, until(&notes, "registration", context.Canceled))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.run(ctx); err != nil {
		t.Errorf("got %v from a stop that was asked for, want none", err)
	}
	if diff := cmp.Diff([]string{"registration", "HTTP", "role", "ZooKeeper"}, notes); diff != "" {
		t.Errorf("order differs (−want +got):\n%s", diff)
	}
}

func TestAPartThatEndsStopsAll(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"with an error": {broken, "role: broken"},
		"without one":   {nil, "role ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			var notes []string
			g := quietGroup()
			g.start("ZooKeeper", time.Minute, until(&notes, "ZooKeeper", nil))
			g.start("role", time.Minute, func(context.Context) error { return test.err })
			err := g.run(t.Context())
			if err == nil || err.Error() != test.want || !errors.Is(err, test.err) && test.err != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if len(notes) != 1 {
				t.Error("the other part was not stopped")
			}
		})
	}
}

func TestErrorsOfAStopAreTold(t *testing.T) {
	var notes []string
	g := quietGroup()
	g.start("first", time.Minute, until(&notes, "first", errors.New("lost a file")))
	g.start("second", time.Minute, until(&notes, "second", errors.New("lost another")))
	err := g.stop()
	if err == nil || err.Error() != "stop second: lost another\nstop first: lost a file" {
		t.Errorf("got %v, want both errors", err)
	}
}

func TestEveryStageHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notes []string
		release := make(chan struct{})
		g := quietGroup()
		g.start("first", time.Minute, until(&notes, "first", nil))
		g.start("stuck", 3*time.Second, func(context.Context) error { <-release; return nil })
		began := time.Now()
		err := g.stop()
		if err == nil || !strings.Contains(err.Error(), "stop stuck: not done after 3s") {
			t.Errorf("got %v, want it to name the part and its grace", err)
		}
		if took := time.Since(began); took != 3*time.Second || len(notes) != 1 {
			t.Errorf("stopping took %v and ended %v, want 3s and the other part", took, notes)
		}
		close(release)
	})
}

func TestAwaitEndsWithItsPartsOrItsContext(t *testing.T) {
	var notes []string
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	t.Run("part", func(t *testing.T) {
		g := quietGroup()
		g.start("directory", time.Minute, func(context.Context) error { return errors.New("another cluster") })
		err := g.await(t.Context(), "the state", forever)
		if err == nil || err.Error() != "directory: another cluster" {
			t.Errorf("got %v, want the part's error", err)
		}
		if err := g.fail(t.Context(), err); err == nil || err.Error() != "directory: another cluster" {
			t.Errorf("got %v from fail, want the part's error once", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		g := quietGroup()
		g.start("directory", time.Minute, until(&notes, "directory", nil))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := g.await(ctx, "the state", forever)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		if err := g.fail(ctx, err); err != nil {
			t.Errorf("got %v from a start that was interrupted, want none", err)
		}
	})
}
