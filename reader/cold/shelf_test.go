package cold_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

// shelf is a model of cold storage: objects in memory.
type shelf struct {
	mu      sync.Mutex // guards all below
	objects map[string][]shelved
	fail    map[string]error // by object
	size    int64            // what a lookup spends
	lookups []string         // object and keys, in the order of the lookups
	onRead  func(ctx context.Context) error
}

type shelved struct {
	kind, key string
	cold.Row
}

func newShelf() *shelf {
	return &shelf{objects: map[string][]shelved{}, fail: map[string]error{}, size: 100}
}

func (s *shelf) put(object string, rows ...shelved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[object] = append(s.objects[object], rows...)
}

func (s *shelf) set(change func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *shelf) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lookups)
}

func (s *shelf) Lookup(ctx context.Context, l *cold.Lookup) (map[string][]cold.Row, error) {
	s.mu.Lock()
	s.lookups = append(s.lookups, l.Object.Object)
	rows, size, err, onRead := s.objects[l.Object.Object], s.size, s.fail[l.Object.Object], s.onRead
	s.mu.Unlock()
	if onRead != nil {
		if err := onRead(ctx); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if err := l.Spend(size); err != nil {
		return nil, err
	}
	found := map[string][]cold.Row{}
	for _, r := range rows {
		if r.kind == l.Type && slices.Contains(l.Keys, r.key) {
			found[r.key] = append(found[r.key], r.Row)
		}
	}
	return found, nil
}

// row is so many views of a key, each with the value 7.
func row(key string, partition int, start, weight int64) shelved {
	a := event.NewAggregate()
	a.AddEvent(weight, 7, true)
	return shelved{kind: "view", key: key, Row: cold.Row{Partition: partition, Start: start, Aggregate: a}}
}

func newStorage(t testing.TB, files cold.Files, cacheBytes int64) (*cold.Storage, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	s, err := cold.New(cold.Config{Files: files, Parallel: 4, CacheBytes: cacheBytes, Registerer: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s, registry
}

// metric returns the sum of a metric's values over its labels.
func metric(t testing.TB, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

const day = 24 * 60

func object(name string, partitions ...int) wire.ColdObject {
	return wire.ColdObject{Object: name, Bytes: 1000, Partitions: partitions, From: 0, To: day}
}

func part(resolution string, from, to int64, partitions []int, objects ...wire.ColdObject) wire.ColdPart {
	return wire.ColdPart{Shard: "s1", Resolution: resolution, From: from, To: to, Partitions: partitions, Objects: objects}
}

// by returns the start of steps of so many minutes; 0 is one total.
func by(minutes int64) func(int64) int64 {
	return func(minute int64) int64 {
		if minutes == 0 {
			return 0
		}
		return minute / minutes * minutes
	}
}

func question(unit int64, keys []string, parts ...wire.ColdPart) *cold.Question {
	q := &cold.Question{Type: "view", Start: by(unit), Parts: parts, Budget: cold.NewBudget(1 << 20)}
	for _, key := range keys {
		q.Keys = append(q.Keys, cold.Key{Name: key})
	}
	return q
}

func collect(t testing.TB, s *cold.Storage, q *cold.Question) *cold.Answer {
	t.Helper()
	a, err := s.Collect(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// counts are the points of the key at a place, by start.
func counts(a *cold.Answer, at int) map[int64]int64 {
	out := map[int64]int64{}
	for start, p := range a.Points[at] {
		out[start] = p.Count
	}
	return out
}
