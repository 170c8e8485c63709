package event_test

import (
	"errors"
	"testing"

	"github.com/quipudb/quipu/event"
)

// FuzzBatchDecode feeds arbitrary bytes, as they are and with a right checksum, to both decoders. What is accepted must be
// within every limit and survive being written again.
func FuzzBatchDecode(f *testing.F) {
	f.Add(sampleBatch(f))
	f.Add(build(f, new(event.BatchBuilder), nil, testHash))
	f.Add(build(f, new(event.BatchBuilder), benchmarkEvents(20), testHash))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkDecode(t, data)
		if len(data) >= 4 {
			checkDecode(t, reseal(append([]byte(nil), data...)))
		}
	})
}

func checkDecode(t *testing.T, data []byte) {
	var batch event.Batch
	err := batch.Decode(data)
	fingerprints, ferr := event.DecodeFingerprints(nil, data)
	if err != nil {
		if !errors.Is(err, event.ErrBatch) || batch.Len() != 0 {
			t.Fatalf("got %v and %d events, want ErrBatch and none", err, batch.Len())
		}
		return
	}
	if ferr != nil || len(fingerprints) != batch.Len() {
		t.Fatalf("got %d fingerprints, %v for a good batch of %d", len(fingerprints), ferr, batch.Len())
	}
	var builder event.BatchBuilder
	for i := range batch.Len() {
		e := batch.Event(i)
		checkLimits(t, e)
		builder.Add(&e, batch.Keys[batch.KeyIndex[i]].Hash, batch.Fingerprints[i])
	}
	var again event.Batch
	if err := again.Decode(builder.AppendTo(nil)); err != nil {
		t.Fatalf("decode what was written again: %v", err)
	}
	for i := range batch.Len() {
		if batch.Event(i) != again.Event(i) || batch.Fingerprints[i] != again.Fingerprints[i] {
			t.Fatalf("event %d: got %+v, want %+v", i, again.Event(i), batch.Event(i))
		}
	}
}

func checkLimits(t *testing.T, e event.Event) {
	switch {
	case e.Type == "" || len(e.Type) > event.MaxTypeBytes, e.Key == "" || len(e.Key) > event.MaxKeyBytes, len(e.ID) > event.MaxIDBytes,
		e.TimeMs < event.MinTimeMs || e.TimeMs >= event.MaxTimeMs, e.Value > event.MaxValue || e.Value < -event.MaxValue,
		e.Weight == 0 || e.Weight > event.MaxWeight || e.Weight < -event.MaxWeight:
		t.Fatalf("accepted an event beyond its limits: %+v", e)
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("view", "v1", "a")
	f.Add("", "", "")
	finger := newFingerprinter(f)
	f.Fuzz(func(t *testing.T, kind, key, id string) {
		got := finger.Fingerprint(kind, key, id)
		if got == 0 || got != finger.FingerprintBytes(kind, []byte(key), []byte(id)) {
			t.Fatalf("got %x", got)
		}
	})
}
