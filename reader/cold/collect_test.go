package cold_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

func TestRowsCountOnceInTheirPart(t *testing.T) {
	files := newShelf()
	files.put("main", row("a", 1, 0, 1), row("a", 1, 59, 2), row("a", 1, 60, 4), row("a", 1, 120, 8), row("b", 2, 60, 16), row("c", 3, 60, 32))
	files.put("late", row("a", 1, 60, 64))
	s, _ := newStorage(t, files, 1<<20)
	both := func(from, to int64) wire.ColdPart {
		return part("minute", from, to, []int{1, 2}, object("main", 1, 2, 3), object("late", 1))
	}
	for name, test := range map[string]struct {
		unit  int64
		parts []wire.ColdPart
		want  []map[int64]int64 // of a, b, c
	}{
		"a total":               {0, []wire.ColdPart{both(0, 121)}, []map[int64]int64{{0: 79}, {0: 16}, {}}},
		"hours":                 {60, []wire.ColdPart{both(0, 180)}, []map[int64]int64{{0: 3, 60: 68, 120: 8}, {60: 16}, {}}},
		"minutes":               {1, []wire.ColdPart{both(59, 61)}, []map[int64]int64{{59: 2, 60: 68}, {60: 16}, {}}},
		"two parts, one object": {0, []wire.ColdPart{both(0, 30), both(60, 61)}, []map[int64]int64{{0: 69}, {0: 16}, {}}},
		"a moved partition":     {0, []wire.ColdPart{part("minute", 0, day, []int{2}, object("main", 2, 1))}, []map[int64]int64{{}, {0: 16}, {}}},
		"a part without rows":   {0, []wire.ColdPart{part("minute", 0, day, []int{1, 2, 3})}, []map[int64]int64{{}, {}, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, known := range []bool{false, true} {
				q := question(test.unit, []string{"a", "b", "c"}, test.parts...)
				for i := range q.Keys {
					q.Keys[i].Partition, q.Keys[i].Known = i+1, known
				}
				a := collect(t, s, q)
				got := []map[int64]int64{counts(a, 0), counts(a, 1), counts(a, 2)}
				if diff := cmp.Diff(test.want, got); diff != "" || len(a.Failures) > 0 {
					t.Errorf("points differ (-want +got), partitions known: %v:\n%s%v", known, diff, a.Failures)
				}
			}
		})
	}
}

// However rows are spread over partitions, objects and parts, each counts once, in its point, and with what it adds up to.
func TestPointsEqualAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		files, keys := newShelf(), []string{"a", "b", "c"}
		s, _ := newStorage(t, files, int64(rapid.SampledFrom([]int{0, 2000, 1 << 20}).Draw(rt, "cache")))
		unit := rapid.SampledFrom([]int64{0, 1, 60, day}).Draw(rt, "step")
		cuts := []int64{0, 30, 90, 120, 4 * 60, 3 * day}
		want := make([]map[int64]int64, len(keys))
		var parts []wire.ColdPart
		for i := range cuts[1:] {
			if rapid.Bool().Draw(rt, "hot") {
				continue
			}
			p := part("minute", cuts[i], cuts[i+1], []int{0, 1, 2})
			for n := range rapid.IntRange(0, 3).Draw(rt, "objects") {
				name := fmt.Sprint("o", i, n)
				for range rapid.IntRange(0, 8).Draw(rt, "rows") {
					at, start := rapid.IntRange(0, 2).Draw(rt, "key"), rapid.Int64Range(0, 5*60).Draw(rt, "start")
					files.put(name, row(keys[at], at, start, start+1))
					if start >= p.From && start < p.To {
						if want[at] == nil {
							want[at] = map[int64]int64{}
						}
						want[at][by(unit)(start)] += start + 1
					}
				}
				o := object(name, 0, 1, 2)
				o.To = 4 * day
				p.Objects = append(p.Objects, o)
			}
			parts = append(parts, p)
		}
		for range 2 {
			q := question(unit, keys, parts...)
			for i := range q.Keys {
				q.Keys[i].Partition, q.Keys[i].Known = i, rapid.Bool().Draw(rt, "known")
			}
			a := collect(t, s, q)
			for i := range keys {
				if diff := cmp.Diff(want[i], counts(a, i)); diff != "" && len(want[i])+len(a.Points[i]) > 0 {
					rt.Fatalf("points of %s differ (-want +got):\n%s", keys[i], diff)
				}
				for start, p := range a.Points[i] {
					if sum, _ := p.Sum.Int64(); sum != 7*p.Count || p.ValueCount != p.Count || p.Min != 7 || p.Max != 7 {
						rt.Fatalf("point %d of %s is %+v", start, keys[i], p)
					}
				}
			}
		}
	})
}

func TestPartsThatMakeNoSense(t *testing.T) {
	s, _ := newStorage(t, newShelf(), 0)
	for name, test := range map[string]struct {
		unit  int64
		parts []wire.ColdPart
		want  string
	}{
		"overlap":                {0, []wire.ColdPart{part("minute", 0, 61, []int{1}), part("hour", 60, 120, []int{2, 1})}, "in two parts"},
		"half an hour":           {0, []wire.ColdPart{part("hour", 0, 90, []int{1})}, "can't be read by the hour"},
		"empty":                  {0, []wire.ColdPart{part("hour", 60, 60, []int{1})}, "can't be read by the hour"},
		"an unknown resolution":  {0, []wire.ColdPart{part("week", 0, day, []int{1})}, "can't be read by the week"},
		"rows longer than steps": {60, []wire.ColdPart{part("day", 0, day, []int{1})}, "longer than a step"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Collect(t.Context(), question(test.unit, []string{"a"}, test.parts...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestALostObjectIsNoZero(t *testing.T) {
	files := newShelf()
	files.put("first", row("a", 1, 0, 1), row("b", 2, 0, 2))
	s, _ := newStorage(t, files, 1<<20)
	lost := object("lost", 1)
	lost.From, lost.To = 60, 120
	files.set(func(f *shelf) { f.fail["lost"] = fmt.Errorf("read lost: %w", cold.ErrMissing) })
	q := question(0, []string{"a", "b"}, part("minute", 0, day, []int{1, 2}, object("first", 1, 2), lost))
	q.Keys[0].Partition, q.Keys[0].Known = 1, true
	q.Keys[1].Partition, q.Keys[1].Known = 2, true
	a := collect(t, s, q)
	want := []cold.Failure{{Object: "lost", Keys: []int{0}, Ranges: []cold.Range{{Part: 0, From: 60, To: 120, Partitions: []int{1}}}}}
	if diff := cmp.Diff(want, a.Failures, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Err" }, cmp.Ignore())); diff != "" {
		t.Errorf("failures differ (-want +got):\n%s", diff)
	}
	if len(a.Failures) == 1 && !errors.Is(a.Failures[0].Err, cold.ErrMissing) {
		t.Errorf("got error %v, want ErrMissing", a.Failures[0].Err)
	}
	if diff := cmp.Diff(map[int64]int64{0: 2}, counts(a, 1)); diff != "" {
		t.Errorf("points of the other key differ (-want +got):\n%s", diff)
	}
}

// Once storage is down, a question does not try the other objects; what is in memory is told all the same.
func TestStorageThatIsDownIsAskedNoMore(t *testing.T) {
	files := newShelf()
	p := part("minute", 0, day, []int{1})
	for i := range 100 {
		p.Objects = append(p.Objects, object(fmt.Sprint("o", i), 1))
	}
	files.put("o7", row("a", 1, 7, 7))
	s, registry := newStorage(t, files, 1<<20)
	collect(t, s, question(0, []string{"a"}, part("minute", 0, day, []int{1}, object("o7", 1))))
	files.set(func(f *shelf) {
		f.lookups = nil
		for i := range 100 {
			f.fail[fmt.Sprint("o", i)] = fmt.Errorf("dial: %w", cold.ErrUnavailable)
		}
	})
	a := collect(t, s, question(0, []string{"a"}, p))
	if len(a.Failures) != 99 || files.asked() > 8 {
		t.Errorf("got %d failures after %d lookups, want 99 after a few", len(a.Failures), files.asked())
	}
	for _, f := range a.Failures {
		if !errors.Is(f.Err, cold.ErrUnavailable) {
			t.Errorf("object %s failed with %v, want ErrUnavailable", f.Object, f.Err)
		}
	}
	if diff := cmp.Diff(map[int64]int64{0: 7}, counts(a, 0)); diff != "" {
		t.Errorf("points differ (-want +got):\n%s", diff)
	}
	if got := metric(t, registry, "quipu_reader_cold_errors_total"); got < 1 {
		t.Errorf("got %v errors counted, want some", got)
	}
}

func TestBudget(t *testing.T) { // INV-9
	files := newShelf()
	p := part("minute", 0, day, []int{1})
	for i := range 20 {
		p.Objects = append(p.Objects, object(fmt.Sprint("o", i), 1))
	}
	s, registry := newStorage(t, files, 1<<20)
	q := question(0, []string{"a"}, p)
	q.Budget = cold.NewBudget(1000)
	a := collect(t, s, q)
	if len(a.Failures) != 10 || !errors.Is(a.Failures[0].Err, cold.ErrTooMuch) || !errors.Is(a.Failures[9].Err, cold.ErrTooMuch) {
		t.Fatalf("got failures %v, want those of half of the objects", a.Failures)
	}
	if got := metric(t, registry, "quipu_reader_cold_read_bytes_total"); got != 1000 {
		t.Errorf("got %v bytes read, want 1000", got)
	}
	q.Budget = cold.NewBudget(1000) // the first half is in memory now
	if a := collect(t, s, q); len(a.Failures) > 0 || a.Reads[0] != (cold.Reads{Objects: 20, Cached: 10, Empty: 20, Bytes: 1000}) {
		t.Errorf("got failures %v, reads %+v", a.Failures, a.Reads)
	}
}
