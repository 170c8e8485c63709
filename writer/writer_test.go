package writer_test

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestCountsWhatTheLogHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, "w1")
		for p := range 4 {
			r.log.append(p, batch(viewOf(r.keyIn(p, 0), "a"), viewOf(r.keyIn(p, 1), "b"), viewOf(r.keyIn(p, 0), "a"), viewOf(r.keyIn(p, 0), "")))
		}
		w := r.start(t, "w1")
		defer w.stop()
		time.Sleep(2 * time.Second)
		r.log.append(0, batch(viewOf(r.keyIn(0, 0), "a"), viewOf(r.keyIn(0, 0), "c")))
		if diff := r.settled(5*time.Second, nil); diff != "" {
			t.Error(diff)
		}
		if r.shard.overlap {
			t.Error("two flushes of one partition were under way at once")
		}
	})
}
