package load

import (
	"errors"
	"iter"
	"strconv"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

var errTooManyLosses = errors.New("too many events were lost to keep account of them")

// Settle implements Source: it remembers what was lost.
func (g *Generator) Settle(p *Parcel, report client.Report) {
	if len(report.Losses) == 0 {
		return
	}
	first, _ := g.block(p.number)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.losses)+len(report.Losses) > maxLosses {
		g.dropped = true
		return
	}
	for _, loss := range report.Losses {
		g.losses[first+uint64(loss.Index)] = lostness{uncertain: loss.Uncertain}
	}
}

// Distinct returns how many different events were acknowledged.
func (g *Generator) Distinct() (int64, error) {
	t, err := g.tally()
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, n := range t.counts {
		sum += n
	}
	return sum, nil
}

// Expected implements Ledger.
func (g *Generator) Expected() (iter.Seq[Expectation], error) {
	t, err := g.tally()
	if err != nil {
		return nil, err
	}
	return func(yield func(Expectation) bool) {
		for rank, count := range t.counts {
			unknown := t.unknown[rank]
			if count == 0 && unknown == 0 {
				continue
			}
			if !yield(Expectation{
				Type: g.cfg.Type, Key: g.key(rank), Count: count, Sum: event.SumOf(t.sums[rank]),
				HasValues: g.cfg.MaxValue > 0, Unknown: unknown, UnknownMax: unknown,
			}) {
				return
			}
		}
	}, nil
}

// Keys yields the type and key of everything that the generator may send, for a baseline.
func (g *Generator) Keys() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rank := range g.cfg.Keys {
			if !yield(g.cfg.Type, g.key(rank)) {
				return
			}
		}
	}
}

func (g *Generator) key(rank int) string { return g.cfg.Prefix + strconv.Itoa(rank) }

// generatedTally sums the stream up by rank.
type generatedTally struct {
	counts, sums []int64
	unknown      map[int]int64
}

// tally generates the whole stream once more, as far as it was sent, and leaves out what was lost.
func (g *Generator) tally() (*generatedTally, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dropped {
		return nil, errTooManyLosses
	}
	t := &generatedTally{counts: make([]int64, g.cfg.Keys), sums: make([]int64, g.cfg.Keys), unknown: map[int]int64{}}
	end := g.sentLocked()
	if g.cfg.WithoutIDs {
		g.tallyAllLocked(t, end)
		return t, nil
	}
	recovered := map[uint64]bool{} // lost, but one that repeats it was accepted
	for n := range end {
		e := g.event(n)
		if len(g.losses) > 0 {
			if _, lost := g.losses[n]; lost {
				continue
			}
			if _, lost := g.losses[e.id]; lost && !recovered[e.id] {
				recovered[e.id] = true
				t.add(e)
				continue
			}
		}
		if e.id == n {
			t.add(e)
		}
	}
	g.tallyUnknownLocked(t, recovered)
	return t, nil
}

// tallyUnknownLocked counts the lost events of which neither outcome is known, nor that of an event that repeats them.
func (g *Generator) tallyUnknownLocked(t *generatedTally, recovered map[uint64]bool) {
	told := map[uint64]bool{}
	for n, loss := range g.losses {
		e := g.event(n)
		if _, lost := g.losses[e.id]; loss.uncertain && lost && !recovered[e.id] && !told[e.id] {
			told[e.id] = true
			t.unknown[e.rank]++
		}
	}
}

// tallyAllLocked counts a stream whose events are all different.
func (g *Generator) tallyAllLocked(t *generatedTally, end uint64) {
	for n := range end {
		e := g.event(n)
		if loss, lost := g.losses[n]; !lost {
			t.add(e)
		} else if loss.uncertain {
			t.unknown[e.rank]++
		}
	}
}

// sentLocked returns the number of events that were sent: every block that was begun has been settled.
func (g *Generator) sentLocked() uint64 {
	sent := g.next.Load() * uint64(g.cfg.Batch)
	if g.cfg.Count > 0 {
		sent = min(sent, g.cfg.Count)
	}
	return sent
}

func (t *generatedTally) add(e generated) {
	t.counts[e.rank]++
	t.sums[e.rank] += e.value
}
