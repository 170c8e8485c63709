//go:build soak

package scenario_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
)

// TestExactlyOnceThroughPauses freezes processes for up to ten seconds, several at a time, and kills some of them in that state: sessions
// end, leases move, calls run out of time on one side and are carried out on the other when it wakes up. INV-1, INV-4.
func TestExactlyOnceThroughPauses(t *testing.T) {
	seed := drawSeed(t)
	random := rand.New(rand.NewPCG(seed, 1<<32))
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Writers = 2
		c.Settings = append(c.Settings, "cluster.session_timeout=4s", "writer.flush_timeout=3s")
	})
	r.supervise(t)
	s := startStream(t, r.url("ingest"), seed, 4)
	watchReads(t, r.url("reader"), s.ledger)
	for range killsOfEach / 2 {
		pauseAll(t, r, random)
		s.awaitFlow(t)
	}
	s.stop(t)
	s.ledger.verify(t, r.Description())
	provesItself(t, r, s.ledger)
}

// pauseAll pauses every process once, and some that matter most again, each for a while of its own.
func pauseAll(t *testing.T, r *rig, random *rand.Rand) {
	t.Helper()
	names := []string{
		"ingest", "writer", "writer-2", "writer", "writer-2", "cluster-proxy", "shard-proxy-s1", "shard-proxy-s2", "s1-a", "s1-a", "s2-a", "s1-b", "zookeeper",
	}
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var paused sync.WaitGroup
	for _, name := range names {
		process, length, dies := r.Process(name), time.Duration(500+random.IntN(9500))*time.Millisecond, random.IntN(4) == 0
		t.Logf("%s freezes for %v, and dies then: %t", name, length, dies)
		paused.Go(func() {
			_ = process.Pause() // it may have ended meanwhile
			time.Sleep(length)
			if dies {
				_ = process.Kill()
				return
			}
			_ = process.Resume()
		})
		time.Sleep(time.Duration(random.IntN(3500)) * time.Millisecond)
	}
	paused.Wait()
}
