package writer

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"pgregory.net/rapid"
)

// encode returns the events as a batch.
func encode(events []event.Event, fingerprints []uint64) []byte {
	var b event.BatchBuilder
	for i := range events {
		b.Add(&events[i], cluster.KeyHash(events[i].Type, events[i].Key), fingerprints[i])
	}
	return b.AppendTo(nil)
}

type cellName struct {
	kind, key string
	minute    int64
}

func TestCellsEqualAPlainMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, c := newDictionary(0, 1), newCells()
		for range rapid.IntRange(1, 3).Draw(t, "flushes") {
			want := map[cellName]event.Aggregate{}
			for range rapid.IntRange(1, 4).Draw(t, "batches") {
				countBatch(t, d, c, want)
			}
			if c.count != len(want) {
				t.Fatalf("got %d cells, want %d", c.count, len(want))
			}
			got := map[cellName]event.Aggregate{}
			for _, r := range c.take(nil) {
				got[cellName{r.Type, r.Key, r.Minute}] = r.Aggregate
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			if c.count != 0 || c.bytes != 0 || len(c.take(nil)) != 0 {
				t.Fatal("table is not empty after take")
			}
		}
	})
}

func countBatch(t *rapid.T, d *dictionary, c *cells, want map[cellName]event.Aggregate) {
	n := rapid.IntRange(0, 700).Draw(t, "events")
	keys := rapid.IntRange(1, 600).Draw(t, "keys")
	values, weights := rapid.Bool().Draw(t, "values"), rapid.Bool().Draw(t, "weights")
	seed := rapid.IntRange(1, 1<<30).Draw(t, "seed")
	events, fingerprints, duplicate := make([]event.Event, n), make([]uint64, n), make([]bool, n)
	for i := range events {
		r := (i + 7) * seed
		e := event.Event{Type: fmt.Sprintf("t%d", r%3), Key: fmt.Sprintf("k%d", r%keys), TimeMs: int64(r%5) * 59_999, Weight: 1}
		if weights {
			e.Weight = int64(r%7) - 3
			if e.Weight == 0 {
				e.Weight = 5
			}
		}
		if values && r%4 > 0 {
			e.Value, e.HasValue = int64(r%1000)-500, true
		}
		e.ID = fmt.Sprint(i)
		events[i], fingerprints[i], duplicate[i] = e, uint64(i+1), r%11 == 0
		if duplicate[i] {
			continue
		}
		name := cellName{e.Type, e.Key, event.MinuteOf(e.TimeMs)}
		a, ok := want[name]
		if !ok {
			a = event.NewAggregate()
		}
		a.AddEvent(e.Weight, e.Value, e.HasValue)
		want[name] = a
	}
	var b event.Batch
	if err := b.Decode(encode(events, fingerprints)); err != nil {
		t.Fatal(err)
	}
	numbers, err := d.translate(nil, b.Keys)
	if err != nil {
		t.Fatal(err)
	}
	c.add(&b, numbers, d.names, duplicate)
}

func TestBytesOfCellsBoundTheRequest(t *testing.T) {
	d, c := newDictionary(0, 1), newCells()
	want := map[cellName]event.Aggregate{}
	rapid.Check(t, func(t *rapid.T) {
		countBatch(t, d, c, want)
		bytes := c.bytes
		encoded := wire.EncodeApply(nil, &wire.ApplyRequest{Rows: c.take(nil)})
		if len(encoded) > bytes+256 {
			t.Fatalf("got %d encoded bytes, announced %d", len(encoded), bytes)
		}
	})
}

func TestDictionaryRefusesWhatIsNotItsOwn(t *testing.T) {
	home := cluster.KeyHash("view", "a")
	for name, k := range map[string]event.BatchKey{
		"other partition": {Type: "view", Key: "a", Hash: home},
		"other hash":      {Type: "view", Key: "b", Hash: home},
	} {
		d := newDictionary((cluster.PartitionOf(home, 16)+1)%16, 16)
		if _, err := d.translate(nil, []event.BatchKey{k}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
