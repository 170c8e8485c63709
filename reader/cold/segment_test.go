package cold_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestSegmentsAreReadOnce(t *testing.T) {
	files := newShelf()
	files.put("o", row("a", 1, 3, 5))
	s, registry := newStorage(t, files, 1<<20)
	p := part("minute", 0, day, []int{1}, object("o", 1))
	for range 3 {
		a := collect(t, s, question(1, []string{"a", "nothing"}, p)) // that there is nothing is remembered too
		if diff := cmp.Diff(map[int64]int64{3: 5}, counts(a, 0)); diff != "" {
			t.Errorf("points differ (-want +got):\n%s", diff)
		}
	}
	if files.asked() != 1 {
		t.Errorf("got %d lookups, want 1", files.asked())
	}
	if bytes := metric(t, registry, "quipu_reader_cold_cached_segment_bytes"); bytes < 500 || bytes > 1000 {
		t.Errorf("got %v bytes of segments, want about 600", bytes)
	}
	// Another range of the same object, and a late object beside it: only that is read.
	files.put("late", row("a", 1, 3, 10))
	p.From, p.To, p.Objects = 2, 5, append(p.Objects, object("late", 1))
	if diff := cmp.Diff(map[int64]int64{3: 15}, counts(collect(t, s, question(1, []string{"a"}, p)), 0)); diff != "" {
		t.Errorf("points with the late object differ (-want +got):\n%s", diff)
	}
	if files.asked() != 2 {
		t.Errorf("got %d lookups, want 2", files.asked())
	}
}

func TestCacheIsBounded(t *testing.T) { // INV-9
	files := newShelf()
	for i := range 50 {
		files.put(fmt.Sprint("o", i), row("a", 1, 0, 1))
	}
	s, registry := newStorage(t, files, 4000)
	for range 2 {
		for i := range 50 {
			a := collect(t, s, question(0, []string{"a"}, part("minute", 0, day, []int{1}, object(fmt.Sprint("o", i), 1))))
			if a.Points[0][0].Count != 1 {
				t.Fatalf("object %d: got %v", i, counts(a, 0))
			}
		}
	}
	if bytes := metric(t, registry, "quipu_reader_cold_cached_segment_bytes"); bytes < 3000 || bytes > 4000 {
		t.Errorf("got %v bytes of segments, want nearly 4000", bytes)
	}
	if evicted := metric(t, registry, "quipu_reader_cold_evicted_segments_total"); evicted < 80 || files.asked() != 100 {
		t.Errorf("got %v evicted after %d lookups, want about 90 after 100", evicted, files.asked())
	}
}

func TestConcurrentQuestionsShareReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, release := newShelf(), make(chan struct{})
		files.put("o", row("a", 1, 0, 5))
		files.onRead = func(context.Context) error { <-release; return nil }
		s, registry := newStorage(t, files, 0) // no memory: what is shared is the read itself
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				a := collect(t, s, question(0, []string{"a"}, part("minute", 0, day, []int{1}, object("o", 1))))
				if got := counts(a, 0); got[0] != 5 {
					t.Errorf("got %v, want 5", got)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if files.asked() != 1 || metric(t, registry, "quipu_reader_cold_segments_total") != 5 {
			t.Errorf("got %d lookups, want 1 for 5 questions", files.asked())
		}
	})
}

// Who waits for the read of a question that is given up reads for itself.
func TestWaitingOutlivesWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newShelf()
		files.put("o", row("a", 1, 0, 5))
		files.onRead = func(ctx context.Context) error {
			if files.asked() == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		s, _ := newStorage(t, files, 1<<20)
		q := question(0, []string{"a"}, part("minute", 0, day, []int{1}, object("o", 1)))
		given, giveUp := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			a, err := s.Collect(given, q)
			if err != nil || len(a.Failures) != 1 || !errors.Is(a.Failures[0].Err, context.Canceled) {
				t.Errorf("got %+v, %v, want a failure for the end of the context", a, err)
			}
		})
		synctest.Wait()
		for range 3 {
			group.Go(func() {
				if a := collect(t, s, q); len(a.Failures) > 0 || counts(a, 0)[0] != 5 {
					t.Errorf("got %v and failures %v, want 5", counts(a, 0), a.Failures)
				}
			})
		}
		synctest.Wait()
		giveUp()
		group.Wait()
		if files.asked() != 2 {
			t.Errorf("got %d lookups, want 2", files.asked())
		}
	})
}

// Reads in flight are bounded over all questions.
func TestReadsAreBounded(t *testing.T) { // INV-9
	synctest.Test(t, func(t *testing.T) {
		files, release := newShelf(), make(chan struct{})
		files.onRead = func(context.Context) error { <-release; return nil }
		s, registry := newStorage(t, files, 1<<20)
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				p := part("minute", 0, day, []int{1})
				for n := range 10 {
					p.Objects = append(p.Objects, object(fmt.Sprint("o", i, "-", n), 1))
				}
				if a, err := s.Collect(t.Context(), question(0, []string{"a"}, p)); err != nil || len(a.Failures) > 0 {
					t.Errorf("got %v, failures %v", err, a.Failures)
				}
			})
		}
		synctest.Wait()
		if files.asked() != 4 || metric(t, registry, "quipu_reader_cold_reads_in_flight") != 4 {
			t.Errorf("got %d reads under way, want 4", files.asked())
		}
		close(release)
		group.Wait()
		if files.asked() != 100 {
			t.Errorf("got %d lookups, want 100", files.asked())
		}
	})
}
