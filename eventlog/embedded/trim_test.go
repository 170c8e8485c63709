package embedded_test

import (
	"errors"
	"testing"

	"github.com/quipudb/quipu/eventlog"
)

// TestTrimmingAllBesideRotation: trimming up to the end right after the append that filled a segment, while raft-wal makes the next one. It then
// listed an empty segment as the full one, refused every append from there on, and the log would not open again.
func TestTrimmingAllBesideRotation(t *testing.T) {
	const size, rounds = 3000, 30 // three records fill a segment
	dir := t.TempDir()
	l := open(t, config(dir))
	for i := range rounds {
		fill(t, l, 0, 3*i+1, 3*i+4, size)
		if err := l.Trim(t.Context(), 0, 1<<40); err != nil {
			t.Fatalf("trim after %d records: %v", 3*i+3, err)
		}
	}
	const appended = 3*rounds + 7
	fill(t, l, 0, 3*rounds+1, appended+1, size)
	first, next := checkRecords(t, l, 0, size)
	if first < rounds || next != appended+1 {
		t.Errorf("got offsets %d to %d, want most trimmed and all up to %d there", first, next, appended)
	}
	closeLog(t, l)
	again := open(t, config(dir))
	if _, got := checkRecords(t, again, 0, size); got != next {
		t.Errorf("got next offset %d after opening again, want %d", got, next)
	}
	if _, err := again.Read(t.Context(), 0, 1, 1, 0); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("got %v for a trimmed offset, want ErrTrimmed", err)
	}
}
