package lifetime_test

import (
	"cmp"
	"slices"

	"github.com/quipudb/quipu/event"
)

// cellsOf is what was counted of a key, by minute.
type cellsOf map[int64]event.Aggregate

type typedKey struct{ kind, key string }

// model adds events up in the plainest way.
type model struct {
	cells map[typedKey]cellsOf
	seen  map[string]bool // identities of events
}

func newModel() *model { return &model{cells: map[typedKey]cellsOf{}, seen: map[string]bool{}} }

func (m *model) add(e *event.Event) {
	if e.ID != "" {
		identity := e.Type + "\x00" + e.Key + "\x00" + e.ID
		if m.seen[identity] {
			return
		}
		m.seen[identity] = true
	}
	at := typedKey{e.Type, e.Key}
	if m.cells[at] == nil {
		m.cells[at] = cellsOf{}
	}
	minute := event.MinuteOf(e.TimeMs)
	a, ok := m.cells[at][minute]
	if !ok {
		a = event.NewAggregate()
	}
	a.AddEvent(e.Weight, e.Value, e.HasValue)
	m.cells[at][minute] = a
}

// series are the aggregates of a key over [from, to), by step; step 0 gives one, at from.
func (m *model) series(kind, key string, from, to, step int64) map[int64]event.Aggregate {
	out := map[int64]event.Aggregate{}
	for minute, a := range m.cells[typedKey{kind, key}] {
		if minute < from || minute >= to {
			continue
		}
		start := from
		if step > 0 {
			start = minute - minute%step
		}
		sum, ok := out[start]
		if !ok {
			sum = event.NewAggregate()
		}
		sum.Merge(a)
		out[start] = sum
	}
	return out
}

type ranked struct {
	key   string
	count int64
}

// ranking is every key of a type that counts more than nothing in [from, to), by count, then key.
func (m *model) ranking(kind string, from, to int64) []ranked {
	var out []ranked
	for at := range m.cells {
		if at.kind != kind {
			continue
		}
		if sum, ok := m.series(kind, at.key, from, to, 0)[from]; ok && sum.Count > 0 {
			out = append(out, ranked{at.key, sum.Count})
		}
	}
	slices.SortFunc(out, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.key, b.key)) })
	return out
}
