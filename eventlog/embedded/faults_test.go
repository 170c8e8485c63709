package embedded_test

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
)

// switchedFault makes one operation fail while it is on.
type switchedFault struct {
	mu        sync.Mutex
	operation string
	err       error
}

func (f *switchedFault) set(operation string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.operation, f.err = operation, err
}

func (f *switchedFault) before(operation, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if operation == f.operation {
		return f.err
	}
	return nil
}

func openFaulty(t *testing.T, dir string) (*embedded.Log, *switchedFault) {
	t.Helper()
	fault := &switchedFault{}
	l := embedded.New(config(dir))
	l.InjectFaults(fault.before)
	if err := l.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l, fault
}

// TestFullDisk proves that a disk without space is ErrFull wherever it strikes, costs no record, and is over once there is space.
func TestFullDisk(t *testing.T) {
	for _, operation := range []string{"reserve", "write", "create"} {
		t.Run(operation, func(t *testing.T) {
			dir := t.TempDir()
			l, fault := openFaulty(t, dir)
			next := 1
			for range 3 {
				fill(t, l, 0, next, next+11, 900)
				next += 11
				fault.set(operation, syscall.ENOSPC)
				failures := 0
				for failures < 3 {
					_, err := l.Append(t.Context(), 0, content(next, 900))
					if err == nil {
						next++
						continue
					}
					if failures++; !errors.Is(err, eventlog.ErrFull) {
						t.Fatalf("got %v, want ErrFull", err)
					}
				}
				if _, got := checkRecords(t, l, 0, 900); got != uint64(next) {
					t.Fatalf("got next offset %d while the disk is full, want %d", got, next)
				}
				fault.set("", nil)
			}
			fill(t, l, 0, next, next+11, 900)
			closeLog(t, l)
			l = open(t, config(dir))
			if _, got := checkRecords(t, l, 0, 900); got != uint64(next+11) {
				t.Errorf("got next offset %d after opening again, want %d", got, next+11)
			}
		})
	}
}

// TestFailedFlush proves that nothing is acknowledged after a flush failed, and that readers are not told that time has passed the
// record whose fate is unknown.
func TestFailedFlush(t *testing.T) {
	dir := t.TempDir()
	l, fault := openFaulty(t, dir)
	fill(t, l, 0, 1, 4, 900)
	fault.set("sync", syscall.EIO)
	if _, err := l.Append(t.Context(), 0, content(4, 900)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v, want EIO", err)
	}
	fault.set("", nil)
	before, err := l.Read(t.Context(), 0, 4, 1, 0)
	if err != nil || len(before.Records) != 0 {
		t.Fatalf("got %+v, %v, want an empty chunk", before, err)
	}
	for range 2 {
		if _, err := l.Append(t.Context(), 0, content(4, 900)); err == nil || !strings.Contains(err.Error(), "restart") {
			t.Fatalf("append after a failed flush: got %v, want an error that says what to do", err)
		}
	}
	fill(t, l, 1, 1, 3, 900) // other partitions go on
	after, err := l.Read(t.Context(), 0, 4, 1, 0)
	if err != nil || after.AsOf != before.AsOf {
		t.Errorf("got as-of %d after %d, %v: it passed a record that may be in the log", after.AsOf, before.AsOf, err)
	}
	closeLog(t, l)
	l = open(t, config(dir))
	if _, next := checkRecords(t, l, 0, 900); next < 4 {
		t.Errorf("got next offset %d, want what was acknowledged", next)
	}
}

// TestTrimThatFailsLosesNothing: raft-wal has then listed other segments than it goes on with.
func TestTrimThatFailsLosesNothing(t *testing.T) {
	dir := t.TempDir()
	l, fault := openFaulty(t, dir)
	fill(t, l, 0, 1, 31, 900)
	fault.set("create", syscall.ENOSPC)
	if err := l.Trim(t.Context(), 0, 31); err == nil {
		t.Fatal("trimming everything needs a new segment, and making one failed; got no error")
	}
	fault.set("", nil)
	fill(t, l, 0, 31, 45, 900)
	closeLog(t, l)
	l = open(t, config(dir))
	if _, next := checkRecords(t, l, 0, 900); next != 45 {
		t.Errorf("got next offset %d, want 45", next)
	}
}
