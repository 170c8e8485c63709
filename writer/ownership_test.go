package writer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// feed appends a batch with new ids and one repeated to every partition, every 200 ms for a while.
func (r *rig) feed(name string, d time.Duration) {
	for n := 0; n < int(d/(200*time.Millisecond)); n++ {
		for p := range r.partitions {
			r.log.append(p, batch(viewOf(r.keyIn(p, n%3), fmt.Sprint(name, n)), viewOf(r.keyIn(p, 0), "again")))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func TestWritersShareThePartitionsAndHandThemOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 3*time.Second)
		if got := r.leases.held("w1"); got != 8 {
			t.Fatalf("got %d leases held by the only writer, want 8", got)
		}
		w2 := r.start(t, "w2")
		defer w2.stop()
		r.view.set("w1", "w2")
		r.feed("b", 5*time.Second)
		if got := r.leases.held("w1"); got != 4 {
			t.Errorf("got %d leases held by the first writer, want 4", got)
		}
		if got := r.leases.held("w2"); got != 4 {
			t.Errorf("got %d leases held by the second writer, want 4", got)
		}
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if got := w1.metric(t, "partitions") + w2.metric(t, "partitions"); got != 8 {
			t.Errorf("got %v partitions worked on, want 8", got)
		}
		if r.shard.overlap {
			t.Error("a partition was flushed by two writers at once during the hand-over")
		}
	})
}

// TestTakesOverFromADeadWriter: 15 s are allowed after the session of the dead one has ended (INV-1).
func TestTakesOverFromADeadWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8, "w1", "w2")
		w1, w2 := r.start(t, "w1"), r.start(t, "w2")
		defer w1.stop()
		r.feed("a", 4*time.Second)
		w2.kill()
		r.view.set("w1")
		died := time.Now()
		r.feed("b", 3*time.Second)
		if diff := r.settled(15*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if took := time.Since(died); took > 15*time.Second {
			t.Errorf("got everything counted %s after the death, want at most 15s", took)
		}
	})
}

// TestZombieIsFenced: a writer whose lease went to another without its notice goes on flushing until the epoch stops it (INV-4).
func TestZombieIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 2*time.Second)
		r.leases.setAway(true) // w1 hears nothing of leases any more
		r.leases.expire("w1")
		for p := range 4 {
			r.leases.give(p, "w2")
			if _, err := r.shard.Claim(t.Context(), claimOf(p, "w2")); err != nil {
				t.Fatal(err)
			}
		}
		r.feed("b", 3*time.Second)
		for p := range 4 {
			if got := r.shard.state(p).checkpoint; got.Epoch != 2 || got.Owner != "w2" {
				t.Errorf("partition %d: got epoch %d of %s after the take-over, want 2 of w2", p, got.Epoch, got.Owner)
			}
		}
		if got := w1.metric(t, "partitions"); got != 0 {
			t.Errorf("got %v partitions still worked on by the fenced writer, want 0", got)
		}
		r.leases.setAway(false)
		w2 := r.start(t, "w2")
		defer w2.stop()
		r.view.set("w2")
		if diff := r.settled(15*time.Second, nil); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDisconnectKeepsCounting: no lease is given up because the coordinator can't be reached (INV-10).
func TestDisconnectKeepsCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", time.Second)
		r.leases.setAway(true)
		r.feed("b", 30*time.Second)
		if diff := r.settled(3*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if got := w1.metric(t, "claims_total"); got != 4 {
			t.Errorf("got %v claims, want 4: one a partition", got)
		}
		if w1.metric(t, "lease_errors_total") == 0 {
			t.Error("got no errors about leases, so the test tested nothing")
		}
	})
}

func TestALeaseHeldByAnotherStopsThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", time.Second)
		r.leases.give(0, "other")
		time.Sleep(6 * time.Second)
		if got := w1.metric(t, "partitions"); got != 1 {
			t.Errorf("got %v partitions worked on, want 1", got)
		}
		r.leases.expire("other")
		r.feed("b", time.Second)
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Error(diff)
		}
	})
}

func TestShutdownFlushesAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, "w1")
		r.cfg.Flush.Interval, r.cfg.Flush.MaxInterval = time.Hour, time.Hour
		w1 := r.start(t, "w1")
		r.feed("a", time.Second)
		time.Sleep(time.Second)
		w1.stop()
		if diff := r.settled(0, nil); diff != "" {
			t.Error(diff)
		}
		if got := r.leases.held("w1"); got != 0 {
			t.Errorf("got %d leases held after the shutdown, want 0", got)
		}
	})
}

func TestShutdownDoesNotWaitForAShardThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, "w1")
		w1 := r.start(t, "w1")
		r.feed("a", time.Second)
		began := time.Now()
		w1.kill()
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("got a shutdown after %s, want at most the 10s that a last flush has", took)
		}
	})
}
