package ingest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
)

func TestInstantAgreesWithTime(t *testing.T) {
	check := func(t fataler, text string) {
		t.Helper()
		want, err := time.Parse(time.RFC3339, text)
		valid := err == nil && want.UnixMilli() >= event.MinTimeMs && want.UnixMilli() < event.MaxTimeMs && want.Unix() >= 0
		got, ok := parseInstant([]byte(text))
		if ok != valid || (ok && got != want.UnixMilli()) {
			t.Fatalf("%q: got %d, %v, want %d, %v", text, got, ok, want.UnixMilli(), valid)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-3_000_000_000, 6_000_000_000).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		zone := time.FixedZone("", rapid.IntRange(-23*60, 23*60).Draw(t, "zone")*60)
		text := []byte(at.In(zone).Format(time.RFC3339Nano))
		check(t, string(text))
		for i := range text {
			for _, c := range []byte("09Z:+-. x") {
				was := text[i]
				text[i] = c
				if text[10] == 'T' {
					check(t, string(text))
				}
				text[i] = was
			}
		}
	})
	for _, text := range []string{
		"", "2026", "2024-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z",
		"2099-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T23:59:60Z", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00.Z",
	} {
		check(t, text)
	}
	if ms, ok := parseInstant([]byte("2026-01-31t12:00:00z")); !ok || ms != testNow {
		t.Errorf("lower case: got %d, %v, which RFC 3339 allows", ms, ok)
	}
}
