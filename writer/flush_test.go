package writer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

func claimOf(p int, owner string) wire.ClaimRequest {
	return wire.ClaimRequest{Partition: p, Owner: owner, MinEpoch: 1}
}

// TestLostReplyIsNotCountedTwice: a flush that was committed is recognised by the checkpoint it left, and nothing is rebuilt (INV-4).
func TestLostReplyIsNotCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, "w1")
		r.shard.fault = func(call int) (before, after error) {
			if call%2 == 1 {
				return nil, wire.NewProblem(wire.CodeDeadline, "reply lost")
			}
			return nil, nil
		}
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 10*time.Second)
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if got := w1.metric(t, "rewinds_total"); got != 0 {
			t.Errorf("got %v rewinds, want 0", got)
		}
		if w1.metric(t, "flush_retries_total") == 0 {
			t.Error("got no retries, so the test tested nothing")
		}
	})
}

// TestRewindRebuildsTheWindow: when the shard falls back, what is replayed must not be called a duplicate of itself, and what came
// again must still be (INV-1, INV-7).
func TestRewindRebuildsTheWindow(t *testing.T) {
	for _, epochToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("epoch too=%v", epochToo), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, "w1")
				w1 := r.start(t, "w1")
				defer w1.stop()
				r.feed("a", 10*time.Second)
				commits := 5
				if epochToo {
					commits = 1 << 20 // to before the claim
				}
				r.shard.rewind(0, commits)
				r.feed("b", 3*time.Second)
				if diff := r.settled(5*time.Second, nil); diff != "" {
					t.Error(diff)
				}
				if got := w1.metric(t, "rewinds_total"); got != 1 {
					t.Errorf("got %v rewinds, want 1", got)
				}
			})
		})
	}
}

func TestIdlePartitionsMoveTheirAsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 16, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		for range 20 {
			time.Sleep(3 * time.Second)
			for p := range 16 {
				if age := time.Now().UnixMilli() - r.shard.state(p).checkpoint.AsOf; age > 2100 {
					t.Fatalf("partition %d: got as-of %d ms old, want about a second", p, age)
				}
			}
		}
		perSecond := float64(len(r.shard.applied())) / 60 / 16
		if perSecond > 1.5 {
			t.Errorf("got %.1f heartbeats a second and partition, want about 1", perSecond)
		}
	})
}

// TestAsOfNeverPromisesTooMuch: every batch appended strictly before as-of is counted by the Apply that says so.
func TestAsOfNeverPromisesTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, "w1")
		r.cfg.Read.MaxBytes, r.cfg.Flush.MaxRows = 2000, 2
		r.shard.delay = func(call int) time.Duration { return time.Duration(call%7) * 300 * time.Millisecond }
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 20*time.Second)
		if diff := r.settled(time.Minute, nil); diff != "" {
			t.Fatal(diff)
		}
		if wrong := r.shard.promises(r.log); wrong != "" {
			t.Error(wrong)
		}
	})
}

// TestWindowFromHoldsTheWindow: the window can be rebuilt from window_from, and that moves.
func TestWindowFromHoldsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		for range 40 {
			r.feed("x", time.Second)
			time.Sleep(time.Minute)
		}
		moved := false
		for _, call := range r.shard.applied() {
			moved = moved || call.request.WindowFrom > 1
		}
		if wrong := r.shard.promises(r.log); wrong != "" {
			t.Error(wrong)
		}
		if !moved {
			t.Error("window from never moved")
		}
	})
}

func TestIntervalLengthensWhileFlushesAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 20*time.Second)
		quick := len(r.shard.applied())
		r.shard.setDelay(3 * time.Second)
		r.feed("b", 60*time.Second)
		if got := w1.metric(t, "flush_interval_seconds"); got < 5.5 {
			t.Errorf("got an interval of %v s while a flush takes 3 s, want about 6", got)
		}
		r.shard.setDelay(0)
		slow := len(r.shard.applied())
		if slow-quick > 14 {
			t.Errorf("got %d flushes in a minute of slow ones, want few", slow-quick)
		}
		r.feed("c", 60*time.Second)
		if got := w1.metric(t, "flush_interval_seconds"); got > 1.1 {
			t.Errorf("got an interval of %v s after flushes became quick again, want 1", got)
		}
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAFlushGathersWhileItWaitsForOthers: what is appended until a flush can be sent goes with it.
func TestAFlushGathersWhileItWaitsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, takes = 4, 2 * time.Second
		r := newRig(t, partitions, "w1")
		r.cfg.Flush.PerShard = 1
		r.shard.setDelay(takes)
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", time.Minute)
		if diff := r.settled(time.Minute, nil); diff != "" {
			t.Fatal(diff)
		}
		if r.shard.most > 1 {
			t.Errorf("got %d flushes of the shard at once, want 1", r.shard.most)
		}
		flushed := 0
		for _, call := range r.shard.applied() {
			if len(call.request.Rows) == 0 {
				continue
			}
			flushed++
			began := call.at.Add(-takes)
			if age := began.Sub(time.UnixMilli(call.request.AsOf)); age > time.Second {
				t.Errorf("a flush of partition %d began %s after what it holds was read", call.request.Partition, age)
			}
		}
		if flushed < 20 {
			t.Errorf("got %d flushes with rows, want one after the other", flushed)
		}
	})
}

// TestSilenceEndsALongInterval: when no more events come there is nothing to gain from waiting.
func TestSilenceEndsALongInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		r.shard.setDelay(8 * time.Second)
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 60*time.Second)
		if got := w1.metric(t, "flush_interval_seconds"); got < 14 {
			t.Fatalf("got an interval of %v s while a flush takes 8 s, want 15", got)
		}
		if diff := r.settled(17*time.Second, nil); diff != "" { // one flush under way and one more
			t.Error(diff)
		}
	})
}

// TestAShardTooSlowForALargeFlushGetsSmallerOnes: rows that don't fit in an attempt's time would never be committed.
func TestAShardTooSlowForALargeFlushGetsSmallerOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		for n := range 8 {
			events := make([]event.Event, 1000)
			for i := range events {
				events[i] = viewOf(fmt.Sprint("key", n, "-", i), fmt.Sprint(i))
			}
			r.log.append(0, batch(events...))
		}
		r.shard.perRow = 8 * time.Millisecond // an attempt may take 15 s: 1,875 rows
		w1 := r.start(t, "w1")
		defer w1.stop()
		if diff := r.settled(20*time.Minute, nil); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFlushesOfAShardAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 16, "w1")
		r.cfg.Flush.PerShard = 2
		r.shard.setDelay(100 * time.Millisecond)
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 5*time.Second)
		if diff := r.settled(10*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if r.shard.most != 2 {
			t.Errorf("got up to %d flushes of the shard at once, want 2", r.shard.most)
		}
	})
}

// TestMemoryIsBoundedWhileAShardIsAway: a partition reads no further than its rows allow, and catches up afterwards (INV-9).
func TestMemoryIsBoundedWhileAShardIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		r.cfg.Flush.MaxRows, r.cfg.Read.MaxBytes = 50, 2000
		w1 := r.start(t, "w1")
		defer w1.stop()
		time.Sleep(2 * time.Second)
		r.shard.setFault(func(int) (before, after error) { return wire.NewProblem(wire.CodeUnavailable, "away"), nil })
		for n := range 200 {
			events := make([]event.Event, 10)
			for i := range events {
				events[i] = viewOf(fmt.Sprint("key", n, i), fmt.Sprint("id", n, i))
			}
			r.log.append(0, batch(events...))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		if got := w1.metric(t, "cells"); got > 60 {
			t.Errorf("got %v rows in memory, want at most 50 and one batch", got)
		}
		if got := w1.metric(t, "batches_total"); got > 13 {
			t.Errorf("got %v batches read, want no more than two maps hold", got)
		}
		r.shard.setFault(nil)
		if diff := r.settled(time.Minute, nil); diff != "" {
			t.Error(diff)
		}
	})
}

// A shard that sends a flush away gets the rest that it asked for from all partitions, however much they have, and nothing is lost.
func TestThrottledShardGetsItsRest(t *testing.T) {
	const (
		rest      = 3 * time.Second
		departing = 50 * time.Millisecond // a flush that had its slot before departs at the end of a read, 40 ms later at most
	)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 8, "w1")
		sentAway, tooEarly, last := 0, 0, time.Time{}
		r.shard.fault = func(call int) (before, after error) {
			if since := time.Since(last); since > departing && since < rest {
				tooEarly++
			}
			if call%10 != 9 {
				return nil, nil
			}
			sentAway, last = sentAway+1, time.Now()
			return wire.NewProblem(wire.CodeThrottled, "slowly").WithRetryAfter(rest), nil
		}
		w1 := r.start(t, "w1")
		r.feed("a", 60*time.Second)
		if diff := r.settled(time.Minute, nil); diff != "" {
			t.Error(diff)
		}
		got := w1.metric(t, "flushes_throttled_total")
		w1.stop()
		if sentAway < 5 || got < 5 || tooEarly > 0 {
			t.Errorf("%d flushes were sent away, the metric says %v; %d came before the rest was over", sentAway, got, tooEarly)
		}
	})
}
