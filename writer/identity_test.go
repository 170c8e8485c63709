package writer_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestContradictionsStopThePartition: when log and checkpoint don't belong together nothing is counted, and the other partition goes on.
func TestContradictionsStopThePartition(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(r *rig)
	}{
		{"log recreated", func(r *rig) { r.log.incarnation = "log-2" }},
		{"log cut", func(r *rig) { r.log.records[0] = r.log.records[0][:2] }},
		{"log rewritten under the same name", func(r *rig) {
			for i := range r.log.records[0] {
				r.log.records[0][i].Checksum++
			}
		}},
		{"uncounted batches trimmed", func(r *rig) {
			r.log.append(0, batch(viewOf("a", "x")))
			_, next := r.bounds(0)
			r.log.append(0, batch(viewOf("a", "y")))
			r.log.trim(0, next)
		}},
		{"window trimmed", func(r *rig) {
			_, next := r.bounds(0)
			r.log.trim(0, next-1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 2, "w1")
				w1 := r.start(t, "w1")
				r.feed("a", 3*time.Second)
				w1.stop()
				before := r.shard.state(0).checkpoint
				c.spoil(r)
				w2 := r.start(t, "w1")
				defer w2.stop()
				time.Sleep(130 * time.Second)
				if got := w2.metric(t, "partition_state", "partition", "0", "state", "stopped"); got != 1 {
					t.Errorf("got state stopped = %v, want 1", got)
				}
				if got := r.shard.state(0).checkpoint.NextOffset; got != before.NextOffset {
					t.Errorf("got the checkpoint moved from %d to %d", before.NextOffset, got)
				}
				if r.log.incarnation != "log-1" {
					return // the other partition's log was recreated, too
				}
				if got := w2.metric(t, "partition_state", "partition", "1", "state", "counting"); got != 1 {
					t.Errorf("got the other partition counting = %v, want 1", got)
				}
			})
		})
	}
}

// TestStoppedPartitionLooksAgain: once the contradiction is gone the partition goes on by itself.
func TestStoppedPartitionLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		w1 := r.start(t, "w1")
		defer w1.stop()
		r.feed("a", 2*time.Second)
		r.log.setIncarnation("log-2") // noticed by the next read
		time.Sleep(3 * time.Second)
		if got := w1.metric(t, "partition_state", "state", "stopped"); got != 1 {
			t.Fatalf("got state stopped = %v, want 1", got)
		}
		r.log.setIncarnation("log-1")
		r.feed("b", 2*time.Second)
		if diff := r.settled(40*time.Second, nil); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTrimmedBeyondTheWindowIsFine: what is gone from the log is older than the window, although window_from says otherwise.
func TestTrimmedBeyondTheWindowIsFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		r.feed("a", time.Second)
		time.Sleep(time.Hour)
		r.feed("b", time.Second)
		w1 := r.start(t, "w1")
		defer w1.stop()
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Fatal(diff)
		}
		w1.stop()
		// The first five batches are an hour older than the others. Nothing but a hand could trim one more than window_from allows.
		r.log.trim(0, 5)
		r.shard.setWindowFrom(0, 1)
		time.Sleep(20 * time.Minute)
		w2 := r.start(t, "w1")
		defer w2.stop()
		time.Sleep(10 * time.Second)
		if got := w2.metric(t, "partition_state", "state", "counting"); got != 1 {
			t.Errorf("got state counting = %v, want 1", got)
		}
	})
}

// TestLogTrimmedUpToTheCheckpointIsRead: a checkpoint at the first offset kept has no batch before it to compare.
func TestLogTrimmedUpToTheCheckpointIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, "w1")
		w1 := r.start(t, "w1")
		r.feed("a", time.Second)
		time.Sleep(time.Hour)
		w1.stop()
		counted := r.shard.state(0)
		_, next := r.bounds(0)
		r.log.trim(0, next)
		w2 := r.start(t, "w1")
		defer w2.stop()
		r.feed("b", time.Second)
		time.Sleep(3 * time.Second)
		after := r.shard.state(0)
		if after.checkpoint.NextOffset != next+5 {
			t.Errorf("got the checkpoint at %d, want %d", after.checkpoint.NextOffset, next+5)
		}
		if counted.checkpoint.NextOffset != next {
			t.Errorf("got the checkpoint at %d before, want %d", counted.checkpoint.NextOffset, next)
		}
	})
}
