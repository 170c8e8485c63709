package main

import (
	"context"
	"errors"
	"testing"
)

func TestGCPercentFollowsWhatLives(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		headroom headroom
		live     uint64
		want     int
	}{
		{writerHeadroom, 0, 100},
		{headroom{100 * mib, 5, 100}, 10 * mib, 100},
		{headroom{100 * mib, 5, 100}, 100 * mib, 100},
		{headroom{100 * mib, 5, 100}, 200 * mib, 50},
		{headroom{100 * mib, 5, 100}, 1000 * mib, 10},
		{headroom{100 * mib, 5, 100}, 100_000 * mib, 5},
		{defaultHeadroom, 0, 1600},
		{defaultHeadroom, 8 * mib, 800},
		{defaultHeadroom, 64 * mib, 100},
		{defaultHeadroom, 500 * mib, 100},
	} {
		if got := test.headroom.percent(test.live); got != test.want {
			t.Errorf("%+v: got %d%% with %d MiB, want %d%%", test.headroom, got, test.live/mib, test.want)
		}
	}
}

func TestWithHeadroomRuns(t *testing.T) {
	want := errors.New("the end")
	if err := withHeadroom(defaultHeadroom, func(context.Context) error { return want })(t.Context()); !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}
