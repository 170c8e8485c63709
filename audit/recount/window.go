package recount

import (
	"errors"
	"fmt"
	"time"

	"github.com/zeebo/xxh3"
)

// A window tells which events of a partition are duplicates, by the definition and nothing else: the same type, key and id came at most W before,
// by append time, and each sighting counts anew. Append times are compared in steps of W ÷ 600, rounded up to a millisecond, as the cluster does
// by definition; what lies between W and two steps more is decided by where the steps begin.
//
// Events are known by 128 bits of hash. Sightings are kept in generations of a quarter of W, of which those that can't matter are dropped.
type window struct {
	step    int64 // milliseconds
	span    int64 // W in steps
	limit   int
	kept    int
	newest  int64 // generation
	current int64 // step; never goes back
	seen    map[int64]map[xxh3.Uint128]int64
	buffer  []byte
}

// ErrTooManyIDs says that the window held more ids than allowed.
var ErrTooManyIDs = errors.New("too many event ids within the de-duplication window")

const generationsPerWindow = 4

func newWindow(w time.Duration, limit int) *window {
	ms := max(w.Milliseconds(), 1)
	step := (ms + 599) / 600
	return &window{step: step, span: (ms + step - 1) / step, limit: limit, newest: -1, seen: map[int64]map[xxh3.Uint128]int64{}}
}

// duplicate records a sighting and tells whether the event is a duplicate. Append times must not decrease.
func (w *window) duplicate(e *Event) (bool, error) {
	w.current = max(w.current, e.AppendMs/w.step)
	if e.ID == "" {
		return false, nil
	}
	w.turn()
	id := w.identity(e)
	duplicate := false
	for generation, sightings := range w.seen {
		last, ok := sightings[id]
		if !ok {
			continue
		}
		duplicate = w.current-last <= w.span
		if generation != w.newest {
			delete(sightings, id)
			w.kept--
		}
		break
	}
	if _, ok := w.seen[w.newest][id]; !ok {
		if w.kept++; w.kept > w.limit {
			return false, fmt.Errorf("%w: more than %d", ErrTooManyIDs, w.limit)
		}
	}
	w.seen[w.newest][id] = w.current
	return duplicate, nil
}

// turn begins a generation, if it is time, and drops those that are over.
func (w *window) turn() {
	length := max(w.span/generationsPerWindow, 1)
	now := w.current / length
	if now == w.newest {
		return
	}
	w.newest = now
	w.seen[now] = map[xxh3.Uint128]int64{}
	for generation, sightings := range w.seen {
		if (generation+1)*length-1 < w.current-w.span {
			w.kept -= len(sightings)
			delete(w.seen, generation)
		}
	}
}

func (w *window) identity(e *Event) xxh3.Uint128 {
	w.buffer = append(w.buffer[:0], byte(len(e.Type)), byte(len(e.Key)))
	w.buffer = append(w.buffer, e.Type...)
	w.buffer = append(w.buffer, e.Key...)
	w.buffer = append(w.buffer, e.ID...)
	return xxh3.Hash128(w.buffer)
}
