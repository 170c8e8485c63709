package load

import (
	"fmt"
	"iter"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

// maxTallied bounds how many different events a tally remembers: about 40 bytes each.
const maxTallied = 50_000_000

// tally sums up what was acknowledged, each distinct event once.
type tally struct {
	mu      sync.Mutex // guards what follows
	cells   map[cellKey]*cell
	counted map[xxh3.Uint128]struct{} // events that were acknowledged
	unsure  map[xxh3.Uint128]unsure   // events that may have been accepted
	dropped bool
}

type cellKey struct{ eventType, key string }

type cell struct{ event.Aggregate }

type unsure struct {
	cell   *cell
	weight int64
}

func newTally() *tally {
	return &tally{cells: map[cellKey]*cell{}, counted: map[xxh3.Uint128]struct{}{}, unsure: map[xxh3.Uint128]unsure{}}
}

func (t *tally) settle(events []event.Event, report client.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	losses := report.Losses
	for i := range events {
		if len(losses) > 0 && losses[0].Index == i {
			t.loseLocked(&events[i], losses[0].Uncertain)
			losses = losses[1:]
			continue
		}
		t.countLocked(&events[i])
	}
}

func (t *tally) countLocked(e *event.Event) {
	id := identity(e)
	if _, repeated := t.counted[id]; repeated {
		return
	}
	if len(t.counted) >= maxTallied {
		t.dropped = true
		return
	}
	t.counted[id] = struct{}{}
	t.cellLocked(e).AddEvent(e.Weight, e.Value, e.HasValue)
}

func (t *tally) loseLocked(e *event.Event, uncertain bool) {
	if uncertain && len(t.unsure) < maxLosses {
		t.unsure[identity(e)] = unsure{t.cellLocked(e), e.Weight}
	} else if uncertain {
		t.dropped = true
	}
}

func (t *tally) cellLocked(e *event.Event) *cell {
	c, ok := t.cells[cellKey{e.Type, e.Key}]
	if !ok {
		c = &cell{event.NewAggregate()}
		t.cells[cellKey{e.Type, e.Key}] = c
	}
	return c
}

// identity is a hash of what makes an event the same as another one.
func identity(e *event.Event) xxh3.Uint128 {
	var stack [512]byte
	text := append(stack[:0], byte(len(e.Type)), byte(len(e.ID)))
	text = append(append(text, e.Type...), e.ID...)
	return xxh3.Hash128(append(text, e.Key...))
}

func (t *tally) expected() (iter.Seq[Expectation], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return nil, fmt.Errorf("keep account of more than %d events: %w", maxTallied, errTooManyLosses)
	}
	unknown := map[*cell]*Expectation{}
	for id, u := range t.unsure {
		if _, counted := t.counted[id]; counted {
			continue
		}
		if unknown[u.cell] == nil {
			unknown[u.cell] = &Expectation{}
		}
		e := unknown[u.cell]
		e.Unknown++
		e.UnknownLeast += min(0, u.weight)
		e.UnknownMax += max(0, u.weight)
	}
	return func(yield func(Expectation) bool) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for k, c := range t.cells {
			e := Expectation{}
			if unknown[c] != nil {
				e = *unknown[c]
			}
			e.Type, e.Key, e.Count, e.Sum, e.HasValues = k.eventType, k.key, c.Count, c.Sum, c.HasValues
			if !yield(e) {
				return
			}
		}
	}, nil
}
