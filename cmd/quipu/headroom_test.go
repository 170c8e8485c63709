package main

import (
	"context"
	"errors"
	"testing"
)

func TestGCPercentFollowsWhatLives(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live uint64
		want int
	}{{0, 100}, {10 * mib, 100}, {100 * mib, 100}, {200 * mib, 50}, {1000 * mib, 10}, {100_000 * mib, 5}} {
		if got := gcPercent(100*mib, test.live); got != test.want {
			t.Errorf("got %d%% with %d MiB, want %d%%", got, test.live/mib, test.want)
		}
	}
}

func TestWithHeadroomRuns(t *testing.T) {
	want := errors.New("the end")
	if err := withHeadroom(1<<20, func(context.Context) error { return want })(t.Context()); !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}
