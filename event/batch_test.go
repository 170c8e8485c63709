package event_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/quipudb/quipu/event"
	"pgregory.net/rapid"
)

const testKey = "000102030405060708090a0b0c0d0e0f"

func newFingerprinter(t testing.TB) event.Fingerprinter {
	t.Helper()
	f, err := event.NewFingerprinter(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func testHash(e event.Event) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(e.Type + "\x00" + e.Key) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func fingerprintOf(f event.Fingerprinter, e event.Event) uint64 {
	if e.ID == "" {
		return 0
	}
	return f.Fingerprint(e.Type, e.Key, e.ID)
}

func build(t testing.TB, b *event.BatchBuilder, events []event.Event, hash func(event.Event) uint64) []byte {
	t.Helper()
	f := newFingerprinter(t)
	for i := range events {
		b.Add(&events[i], hash(events[i]), fingerprintOf(f, events[i]))
	}
	if b.Len() != len(events) {
		t.Fatalf("got %d events in the builder, want %d", b.Len(), len(events))
	}
	estimate, data := b.Bytes(), b.AppendTo([]byte("kept"))
	if string(data[:4]) != "kept" {
		t.Fatalf("got the prefix %q, want it kept", data[:4])
	}
	if data = data[4:]; estimate < len(data) {
		t.Fatalf("got an estimate of %d bytes for a batch of %d", estimate, len(data))
	}
	return data
}

func eventsOf(b *event.Batch) []event.Event {
	out := make([]event.Event, 0, b.Len())
	for i := range b.Len() {
		out = append(out, b.Event(i))
	}
	return out
}

func drawEvents() *rapid.Generator[[]event.Event] {
	one := rapid.Custom(func(t *rapid.T) event.Event {
		e := event.Event{
			Type:   rapid.StringMatching(`[a-c][a-z0-9_.-]{0,2}`).Draw(t, "type"),
			Key:    rapid.OneOf(rapid.StringMatching(`[a-h]{1,2}`), rapid.StringN(1, 60, 255)).Draw(t, "key"),
			TimeMs: rapid.Int64Range(event.MinTimeMs, event.MaxTimeMs-1).Draw(t, "time"),
			Weight: 1,
		}
		if rapid.Bool().Draw(t, "has id") {
			e.ID = rapid.StringN(1, 30, 128).Draw(t, "id")
		}
		if rapid.Bool().Draw(t, "has value") {
			e.HasValue, e.Value = true, rapid.Int64Range(-event.MaxValue, event.MaxValue).Draw(t, "value")
		}
		if rapid.IntRange(0, 3).Draw(t, "weighted") == 0 {
			e.Weight = rapid.Int64Range(1, event.MaxWeight).Draw(t, "weight")
			if rapid.Bool().Draw(t, "negative") {
				e.Weight = -e.Weight
			}
		}
		return e
	})
	return rapid.SliceOfN(one, 0, 300)
}

func TestBatchRoundTrip(t *testing.T) {
	var builder event.BatchBuilder
	var batch event.Batch
	hashes := map[string]func(event.Event) uint64{
		"fnv":      testHash,
		"constant": func(event.Event) uint64 { return 7 }, // every key collides: the dictionary must compare keys
	}
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				events := drawEvents().Draw(rt, "events")
				builder.Reset()
				data := build(t, &builder, events, hash)
				if err := batch.Decode(data); err != nil {
					rt.Fatalf("decode: %v", err)
				}
				if diff := cmp.Diff(events, eventsOf(&batch)); diff != "" {
					rt.Fatalf("events differ (-want +got):\n%s", diff)
				}
				checkColumns(rt, newFingerprinter(t), &batch, data, hash)
			})
		})
	}
}

func checkColumns(t *rapid.T, f event.Fingerprinter, batch *event.Batch, data []byte, hash func(event.Event) uint64) {
	fingerprints, err := event.DecodeFingerprints(nil, data)
	if err != nil {
		t.Fatalf("decode fingerprints: %v", err)
	}
	distinct := map[string]bool{}
	for i := range batch.Len() {
		e := batch.Event(i)
		distinct[e.Type+"\x00"+e.Key] = true
		if want := fingerprintOf(f, e); batch.Fingerprints[i] != want || fingerprints[i] != want {
			t.Fatalf("event %d: got fingerprints %x and %x, want %x", i, batch.Fingerprints[i], fingerprints[i], want)
		}
		if got, want := batch.Keys[batch.KeyIndex[i]].Hash, hash(e); got != want {
			t.Fatalf("event %d: got key hash %x, want %x", i, got, want)
		}
	}
	if len(batch.Keys) != len(distinct) || len(fingerprints) != batch.Len() {
		t.Fatalf("got %d keys and %d fingerprints, want %d and %d", len(batch.Keys), len(fingerprints), len(distinct), batch.Len())
	}
}

func TestBatchOfManyKeys(t *testing.T) {
	for _, n := range []int{1, 255, 256, 257, 65536, 65537} {
		events := make([]event.Event, n)
		for i := range events {
			events[i] = event.Event{Type: "view", Key: fmt.Sprint("k", i), TimeMs: int64(i), Weight: 1}
		}
		var builder event.BatchBuilder
		var batch event.Batch
		if err := batch.Decode(build(t, &builder, events, testHash)); err != nil {
			t.Fatalf("%d keys: %v", n, err)
		}
		if diff := cmp.Diff(events, eventsOf(&batch)); diff != "" {
			t.Fatalf("%d keys differ (-want +got):\n%s", n, diff)
		}
		if batch.Weights != nil || batch.Values != nil || batch.HasValue != nil {
			t.Errorf("%d keys: got columns %v, %v, %v that no event needs", n, batch.Weights != nil, batch.Values != nil, batch.HasValue != nil)
		}
	}
}

// sampleBatch has every column, the way most events have them.
func sampleBatch(t testing.TB) []byte {
	var builder event.BatchBuilder
	return build(t, &builder, []event.Event{
		{Type: "view", Key: "v1", ID: "a", TimeMs: 1_700_000_000_000, Weight: 1},
		{Type: "view", Key: "v2", ID: "b", TimeMs: 1_700_000_000_020, Weight: 3, HasValue: true, Value: -12},
		{Type: "like", Key: "v1", TimeMs: 1_699_999_999_000, Weight: -1},
		{Type: "view", Key: "v1", ID: "c", TimeMs: 1_700_000_000_000, Weight: 1, HasValue: true, Value: 900},
	}, testHash)
}

func reseal(data []byte) []byte {
	body := data[:len(data)-4]
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
}

// TestBatchRefusesEveryFlip proves that no single damaged byte goes unnoticed, neither with the checksum nor, where it is
// about structure, without it.
func TestBatchRefusesEveryFlip(t *testing.T) {
	good := sampleBatch(t)
	var batch event.Batch
	for at := range good {
		for _, bit := range []byte{1, 0x10, 0x80} {
			bad := append([]byte(nil), good...)
			bad[at] ^= bit
			if err := batch.Decode(bad); !errors.Is(err, event.ErrBatch) {
				t.Fatalf("byte %d ^ %#x: got %v, want ErrBatch", at, bit, err)
			}
			if batch.Len() != 0 || len(batch.Keys) != 0 {
				t.Fatalf("byte %d: a refused batch has %d events", at, batch.Len())
			}
			if _, err := event.DecodeFingerprints(nil, bad); !errors.Is(err, event.ErrBatch) {
				t.Fatalf("byte %d ^ %#x: got %v from the fingerprints, want ErrBatch", at, bit, err)
			}
			if err := batch.Decode(reseal(bad)); err != nil && !errors.Is(err, event.ErrBatch) {
				t.Fatalf("byte %d ^ %#x resealed: got %v, want ErrBatch", at, bit, err)
			}
		}
	}
	for n := range good {
		if err := batch.Decode(good[:n]); !errors.Is(err, event.ErrBatch) {
			t.Fatalf("%d of %d bytes: got %v, want ErrBatch", n, len(good), err)
		}
	}
}

func TestBatchRefusesWhatNoEventMayHold(t *testing.T) {
	good := event.Event{Type: "view", Key: "v1", ID: "a", TimeMs: 5, Weight: 1, HasValue: true, Value: 1}
	cases := map[string]func(*event.Event){
		"type empty":     func(e *event.Event) { e.Type = "" },
		"type long":      func(e *event.Event) { e.Type = strings.Repeat("t", event.MaxTypeBytes+1) },
		"key empty":      func(e *event.Event) { e.Key = "" },
		"key long":       func(e *event.Event) { e.Key = strings.Repeat("k", event.MaxKeyBytes+1) },
		"id long":        func(e *event.Event) { e.ID = strings.Repeat("i", event.MaxIDBytes+1) },
		"time early":     func(e *event.Event) { e.TimeMs = -1 },
		"time late":      func(e *event.Event) { e.TimeMs = event.MaxTimeMs },
		"time wraps":     func(e *event.Event) { e.TimeMs = math.MinInt64 },
		"weight zero":    func(e *event.Event) { e.Weight = 0 },
		"weight high":    func(e *event.Event) { e.Weight = event.MaxWeight + 1 },
		"weight low":     func(e *event.Event) { e.Weight = -event.MaxWeight - 1 },
		"weight extreme": func(e *event.Event) { e.Weight = math.MinInt64 },
		"value high":     func(e *event.Event) { e.Value = event.MaxValue + 1 },
		"value low":      func(e *event.Event) { e.Value = -event.MaxValue - 1 },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			bad := good
			spoil(&bad)
			var builder event.BatchBuilder
			var batch event.Batch
			if err := batch.Decode(build(t, &builder, []event.Event{good, bad, good}, testHash)); !errors.Is(err, event.ErrBatch) {
				t.Errorf("got %v, want ErrBatch", err)
			}
		})
	}
}

func TestBuilderAllocatesNothingOnceGrown(t *testing.T) {
	events := benchmarkEvents(1000)
	f := newFingerprinter(t)
	var builder event.BatchBuilder
	var out []byte
	got := testing.AllocsPerRun(20, func() {
		builder.Reset()
		for i := range events {
			builder.Add(&events[i], uint64(i), fingerprintOf(f, events[i]))
		}
		out = builder.AppendTo(out[:0])
	})
	if got != 0 {
		t.Errorf("got %v allocations for 1,000 events, want 0", got)
	}
}
