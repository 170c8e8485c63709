package latency_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/load/latency"
)

func TestPercentilesAreCloseToExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(1)<<rapid.IntRange(1, 41).Draw(t, "bits")).Draw(t, "ns"))
		}), 1, 300).Draw(t, "durations")
		var h latency.Histogram
		for _, d := range durations {
			h.Add(d)
		}
		slices.Sort(durations)
		s := h.Snapshot()
		for _, p := range []float64{0, 50, 90, 99, 99.9, 100} {
			exact := durations[min(len(durations)-1, int(p/100*float64(len(durations))))].Truncate(time.Microsecond)
			if got := s.Percentile(p); got < exact || got > exact+exact/60+time.Microsecond {
				t.Fatalf("p%v: got %v, want %v or up to 1.6%% more", p, got, exact)
			}
		}
		if got, want := s.Max(), durations[len(durations)-1].Truncate(time.Microsecond); got != want {
			t.Fatalf("got maximum %v, want %v", got, want)
		}
	})
}

func TestHistogramAtTheEdges(t *testing.T) {
	var h latency.Histogram
	if got := h.Snapshot().Percentile(99); got != 0 {
		t.Errorf("got %v of nothing, want 0", got)
	}
	h.Add(-time.Second)
	h.Add(100 * time.Hour)
	s := h.Snapshot()
	if s.Count() != 2 || s.Percentile(0) != 0 || s.Percentile(100) < time.Hour {
		t.Errorf("got %d counted, %v to %v; want 0 to over an hour", s.Count(), s.Percentile(0), s.Percentile(100))
	}
}

func TestSinceHoldsWhatCameBetween(t *testing.T) {
	var h latency.Histogram
	h.Add(time.Millisecond)
	before := h.Snapshot()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				h.Add(time.Second + time.Duration(rand.IntN(1000)))
			}
		})
	}
	group.Wait()
	d := h.Snapshot().Since(before)
	if got := d.Percentile(0); d.Count() != 4000 || got < time.Second || got > time.Second+20*time.Millisecond {
		t.Errorf("got %d durations from %v, want 4000 from 1s", d.Count(), got)
	}
}
