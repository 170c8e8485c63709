package rawarchive

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := newPace(1000, false)
		for range 10 {
			if err := p.wait(t.Context(), 500); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("5,000 events at 1,000 a second took %s", took)
		}
		begun = time.Now()
		for _, p := range []*pace{newPace(0, false), newPace(1000, true)} {
			if err := p.wait(t.Context(), 1_000_000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("without a bound, or while the log fills up, it took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := newPace(1, false).wait(ctx, 3600); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
