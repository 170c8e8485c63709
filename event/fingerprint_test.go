package event_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/quipudb/quipu/event"
	"pgregory.net/rapid"
)

func TestFingerprintFramingIsUnambiguous(t *testing.T) {
	f := newFingerprinter(t)
	seen := map[uint64][3]string{}
	for _, id := range [][3]string{
		{"a", "b", "c"},
		{"ab", "", "c"},
		{"a", "bc", ""},
		{"", "ab", "c"},
		{"a", "", "bc"},
		{"abc", "", ""},
		{"", "", "abc"},
		{"a", "b\x00", "c"},
		{"a", "b", "\x00c"},
		{"", "", ""},
	} {
		h := f.Fingerprint(id[0], id[1], id[2])
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q share the fingerprint %x", id, other, h)
		}
		seen[h] = id
	}
}

func TestFingerprintDependsOnTheKey(t *testing.T) {
	other, err := event.NewFingerprinter(strings.Repeat("f", 32))
	if err != nil {
		t.Fatal(err)
	}
	if f := newFingerprinter(t); f.Fingerprint("view", "v1", "a") == other.Fingerprint("view", "v1", "a") {
		t.Error("two keys give the same fingerprint")
	}
}

// TestFingerprintIsStable pins the function: a log outlives the program that wrote it (INV-7).
func TestFingerprintIsStable(t *testing.T) {
	f := newFingerprinter(t)
	if got, want := fmt.Sprintf("%016x", f.Fingerprint("view", "v1", "a")), goldenFingerprint; got != want {
		t.Errorf("got fingerprint %s, want %s", got, want)
	}
	if got := string(f.AppendDerivedID(nil, "req-1", 3, []byte(`{"type":"view"}`))); got != goldenDerivedID {
		t.Errorf("got derived id %s, want %s", got, goldenDerivedID)
	}
}

func TestFingerprintOfBytesEqualsThatOfStrings(t *testing.T) {
	f := newFingerprinter(t)
	rapid.Check(t, func(t *rapid.T) {
		kind, key, id := rapid.String().Draw(t, "type"), rapid.StringN(0, 400, -1).Draw(t, "key"), rapid.StringN(0, 400, -1).Draw(t, "id")
		if got, want := f.FingerprintBytes(kind, []byte(key), []byte(id)), f.Fingerprint(kind, key, id); got != want {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}

func TestDerivedIDs(t *testing.T) {
	f := newFingerprinter(t)
	seen := map[string]bool{}
	for _, key := range []string{"r1", "r2"} {
		for index := range 3 {
			for _, raw := range []string{`{"type":"view","key":"a"}`, `{"type":"view","key":"b"}`} {
				id := string(f.AppendDerivedID([]byte("x"), key, index, []byte(raw)))[1:]
				if again := string(f.AppendDerivedID(nil, key, index, []byte(raw))); again != id {
					t.Errorf("got %q and then %q for the same event", id, again)
				}
				if seen[id] || len(id) > event.MaxIDBytes || !strings.HasPrefix(id, event.DerivedIDPrefix) {
					t.Errorf("id %q is taken, too long or lacks its prefix", id)
				}
				seen[id] = true
			}
		}
	}
}

func TestFingerprintKeyIsChecked(t *testing.T) {
	for _, key := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("g", 32), strings.Repeat("0", 34)} {
		if _, err := event.NewFingerprinter(key); !errors.Is(err, event.ErrFingerprintKey) {
			t.Errorf("key %q: got %v, want ErrFingerprintKey", key, err)
		}
	}
	if text := fmt.Sprintf("%v", newFingerprinter(t)); strings.ContainsAny(text, "0123456789") {
		t.Errorf("got %q, which shows the key", text)
	}
}

const (
	goldenFingerprint = "25e27201a85ad5a9"
	goldenDerivedID   = "idem:504uyVKj9bJw3Bj1coLuVw"
)
