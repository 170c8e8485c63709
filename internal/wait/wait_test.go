package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/internal/wait"
)

func TestFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		d, ends time.Duration // ends is when ctx ends, below zero: before the call
		took    time.Duration
		want    error
	}{
		{"the whole time", time.Minute, time.Hour, time.Minute, nil},
		{"an end before", time.Hour, time.Minute, time.Minute, context.DeadlineExceeded},
		{"no time", 0, time.Hour, 0, nil},
		{"less than none", -time.Second, time.Hour, 0, nil},
		{"ended already", time.Hour, -1, 0, context.DeadlineExceeded},
		{"ended already, no time", 0, -1, 0, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.ends)
				defer cancel()
				begun := time.Now()
				if err := wait.For(ctx, test.d); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if took := time.Since(begun); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
			})
		})
	}
}
