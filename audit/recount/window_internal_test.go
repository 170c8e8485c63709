package recount

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestWindowDecidesByTheDefinition compares with a list of all sightings (design: the same id within W of append time, every sighting refreshes).
func TestWindowDecidesByTheDefinition(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, span := range []time.Duration{time.Second, 10 * time.Second, 10 * time.Minute} {
		w := newWindow(span, 1_000)
		last := map[string]int64{}
		at := int64(1_700_000_000_000)
		duplicates := 0
		for range 20_000 {
			at += r.Int64N(span.Milliseconds() / 50)
			e := Event{Type: "view", Key: fmt.Sprint("k", r.IntN(5)), ID: fmt.Sprint(r.IntN(40)), AppendMs: at}
			got, err := w.duplicate(&e)
			if err != nil {
				t.Fatal(err)
			}
			id := e.Key + "/" + e.ID
			before, known := last[id]
			age := at - before
			last[id] = at
			step := (span.Milliseconds() + 599) / 600
			switch {
			case known && age <= span.Milliseconds() && !got:
				t.Fatalf("%s: %v is a duplicate after %d ms", span, e, age)
			case (!known || age >= span.Milliseconds()+2*step) && got:
				t.Fatalf("%s: %v is no duplicate after %d ms", span, e, age)
			case got:
				duplicates++
			}
		}
		if duplicates == 0 || w.kept > 200 || len(w.seen) > 7 {
			t.Errorf("%s: %d duplicates, %d ids kept in %d generations", span, duplicates, w.kept, len(w.seen))
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	w := newWindow(time.Minute, 3)
	for i, want := range []error{nil, nil, nil, ErrTooManyIDs} {
		if _, err := w.duplicate(&Event{ID: fmt.Sprint(i), AppendMs: 1}); !errors.Is(err, want) {
			t.Errorf("id %d: got %v, want %v", i, err, want)
		}
	}
	if duplicate, err := w.duplicate(&Event{AppendMs: 1}); duplicate || err != nil {
		t.Errorf("without an id: got %v, %v", duplicate, err)
	}
}

func TestIdentitiesDoNotRunIntoEachOther(t *testing.T) {
	w := newWindow(time.Minute, 10)
	for _, e := range []Event{{Type: "a", Key: "bc", ID: "d"}, {Type: "ab", Key: "c", ID: "d"}, {Type: "a", Key: "b", ID: "cd"}} {
		if duplicate, _ := w.duplicate(&e); duplicate {
			t.Errorf("%+v is taken for another", e)
		}
	}
}
