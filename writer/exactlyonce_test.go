package writer_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"pgregory.net/rapid"
)

// TestExactlyOnceThroughWhateverHappens runs writers against a log and a shard that fail in every way they may (INV-1, INV-4, INV-7): flushes
// refused, committed with their reply lost, slow; checkpoints set back; writers stopped, paused and replaced; leases
// unreachable; the log away. In the end the counts are what the log adds up to by definition.
func TestExactlyOnceThroughWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		steps := rapid.IntRange(5, 60).Draw(rt, "steps")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			s := newStorm(t, seed)
			failure = s.run(t, steps)
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// storm drives a rig at random.
type storm struct {
	*rig
	random  *rand.Rand
	writers map[string]running
	ids     int
}

func newStorm(t *testing.T, seed uint64) *storm {
	s := &storm{rig: newRig(t, 3, "w1"), random: rand.New(rand.NewPCG(seed, 7)), writers: map[string]running{}}
	s.cfg.Flush.MaxRows = 1 + s.random.IntN(40)
	s.cfg.Flush.Timeout = 2 * time.Second
	s.cfg.Read.MaxBytes = 1 + s.random.IntN(3000)
	chance := s.random.IntN(30)
	faults := rand.New(rand.NewPCG(seed, 8))
	s.shard.fault = func(int) (before, after error) {
		switch n := faults.IntN(100); {
		case n < chance:
			return nil, wire.NewProblem(wire.CodeDeadline, "reply lost")
		case n < 2*chance:
			return errors.New("connection refused"), nil
		}
		return nil, nil
	}
	s.shard.linger = func(int) time.Duration {
		if faults.IntN(25) == 0 {
			return time.Duration(1+faults.IntN(5000)) * time.Millisecond
		}
		return 0
	}
	s.shard.delay = func(int) time.Duration {
		if faults.IntN(20) == 0 {
			return time.Duration(faults.IntN(3000)) * time.Millisecond
		}
		return time.Duration(faults.IntN(30)) * time.Millisecond
	}
	return s
}

func (s *storm) run(t *testing.T, steps int) string {
	s.writers["w1"] = s.start(t, "w1")
	for range steps {
		s.step(t)
		time.Sleep(time.Duration(s.random.IntN(1500)) * time.Millisecond)
		if s.random.IntN(15) == 0 {
			// Beyond half a window, so that ids expire and some are refreshed.
			time.Sleep(time.Duration(s.random.IntN(400)) * time.Second)
		}
	}
	s.calm(t)
	defer func() {
		for _, w := range s.writers {
			w.stop()
		}
	}()
	if diff := s.settled(10*time.Minute, nil); diff != "" {
		return diff
	}
	return s.shard.promises(s.log)
}

func (s *storm) step(t *testing.T) {
	switch s.random.IntN(12) {
	case 0:
		s.shard.rewind(s.random.IntN(s.partitions), 1+s.random.IntN(4))
	case 1:
		s.replace(t)
	case 2:
		s.join(t)
	case 3:
		s.leases.setAway(s.random.IntN(2) == 0)
	case 4:
		// A session that ends unnoticed makes a zombie of its writer.
		if id := s.any(); id != "" {
			s.leases.expire(id)
		}
	case 5:
		away := s.random.IntN(2) == 0
		s.log.mu.Lock()
		s.log.fail = nil
		if away {
			s.log.fail = func(n int) error {
				if n%3 == 0 {
					return errLogAway
				}
				return nil
			}
		}
		s.log.mu.Unlock()
	default:
		for range 1 + s.random.IntN(8) {
			s.produce()
		}
	}
}

// produce appends a batch in which some ids were sent before.
func (s *storm) produce() {
	p := s.random.IntN(s.partitions)
	events := make([]event.Event, s.random.IntN(30))
	for i := range events {
		e := viewOf(s.keyIn(p, s.random.IntN(4)), "")
		switch s.random.IntN(4) {
		case 0:
			e.ID = fmt.Sprint("e", s.random.IntN(s.ids+1)) // perhaps seen before
		case 1, 2:
			s.ids++
			e.ID = fmt.Sprint("e", s.ids)
		}
		e.TimeMs = int64(s.random.IntN(5)) * 60_000
		e.Weight = int64(1 + s.random.IntN(3))
		if s.random.IntN(3) == 0 {
			e.Weight = -e.Weight
		}
		if e.HasValue = s.random.IntN(2) == 0; e.HasValue {
			e.Value = int64(s.random.IntN(2000) - 1000)
		}
		events[i] = e
	}
	data := batch(events...)
	if s.random.IntN(25) == 0 {
		data[len(data)/2] ^= 0x40 // damaged beyond its own checksum
	}
	s.log.append(p, data)
}

// replace ends a writer and starts it anew.
func (s *storm) replace(t *testing.T) {
	if id := s.any(); id != "" {
		s.end(id)
		s.writers[id] = s.start(t, id)
	}
	s.announce()
}

// running returns the ids of the writers that run, ascending.
func (s *storm) running() []string { return slices.Sorted(maps.Keys(s.writers)) }

// any returns one of them, "" if there is none.
func (s *storm) any() string {
	if ids := s.running(); len(ids) > 0 {
		return ids[s.random.IntN(len(ids))]
	}
	return ""
}

func (s *storm) join(t *testing.T) {
	id := fmt.Sprint("w", 2+s.random.IntN(2))
	if _, ok := s.writers[id]; ok {
		s.end(id)
	} else {
		s.writers[id] = s.start(t, id)
	}
	s.announce()
}

// end stops or kills a writer; its session goes with it.
func (s *storm) end(id string) {
	if s.random.IntN(3) == 0 {
		s.writers[id].stop()
		s.leases.expire(id)
	} else {
		s.writers[id].kill()
	}
	delete(s.writers, id)
}

func (s *storm) announce() {
	s.view.set(s.running()...)
}

// calm ends all faults.
func (s *storm) calm(t *testing.T) {
	s.leases.setAway(false)
	s.log.mu.Lock()
	s.log.fail = nil
	s.log.mu.Unlock()
	s.shard.mu.Lock()
	s.shard.fault, s.shard.delay, s.shard.linger = nil, nil, nil
	s.shard.mu.Unlock()
	if len(s.writers) == 0 {
		s.writers["w1"] = s.start(t, "w1")
	}
	s.announce()
}
