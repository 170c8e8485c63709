package writer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlotsAreHadInTheOrderOfAsking(t *testing.T) {
	s := newShardSlots(2)
	a, b, c, d := s.ask("s1"), s.ask("s1"), s.ask("s1"), s.ask("s1")
	other := s.ask("s2")
	if !a.isHad() || !b.isHad() || !other.isHad() {
		t.Fatal("a free slot was not had at once")
	}
	if c.isHad() || d.isHad() {
		t.Fatal("a shard has more slots than it was given")
	}
	b.giveBack()
	if !c.isHad() || d.isHad() {
		t.Fatal("a slot that was given back did not go to who waits longest")
	}
	a.giveBack()
	c.giveBack()
	d.giveBack()
	for range 2 {
		if !s.ask("s1").isHad() {
			t.Fatal("a slot that was given back is lost")
		}
	}
}

func TestWhoStopsWaitingForASlotLeavesTheQueue(t *testing.T) {
	s := newShardSlots(1)
	a := s.ask("s1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ask("s1").await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v from a full shard, want %v", err, context.Canceled)
	}
	s.ask("s1").giveBack() // without having had it
	a.giveBack()
	if err := s.ask("s1").await(t.Context()); err != nil {
		t.Errorf("got error %v after the slot was given back", err)
	}
}

func TestSlotsBoundWhatIsUnderWay(t *testing.T) {
	const size = 3
	s := newShardSlots(size)
	var under, most atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				slot := s.ask("s1")
				if err := slot.await(t.Context()); err != nil {
					t.Error(err)
				}
				n := under.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				under.Add(-1)
				slot.giveBack()
			}
		})
	}
	wg.Wait()
	if got := most.Load(); got > size {
		t.Errorf("got %d at once, want at most %d", got, size)
	}
}

// A shard that asked for a rest gets it from all partitions, and afterwards those who wait longest come first.
func TestRestHoldsSlotsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShardSlots(1)
		first := s.ask("s1")
		s.rest("s1", 3*time.Second)
		first.giveBack()
		a, b, other := s.ask("s1"), s.ask("s1"), s.ask("s2")
		if a.isHad() || b.isHad() || !other.isHad() {
			t.Fatal("slots of the resting shard alone must be held back")
		}
		s.rest("s1", time.Second) // a shorter one changes nothing
		time.Sleep(2900 * time.Millisecond)
		if a.isHad() {
			t.Fatal("the rest ended early")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if !a.isHad() || b.isHad() {
			t.Fatal("after the rest, who waits longest comes first")
		}
		a.giveBack()
		if !b.isHad() {
			t.Fatal("a slot that was given back is lost")
		}
		s.rest("s1", time.Hour)
		b.giveBack()
		c := s.ask("s1")
		time.Sleep(longestRest + time.Millisecond)
		synctest.Wait()
		if !c.isHad() {
			t.Fatal("a rest has no bound")
		}
	})
}
