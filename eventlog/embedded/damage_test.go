package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/eventlog/embedded"
)

// onePartition also sets the clock ahead, further each time, so that Open need not wait until the time of a crashed log has passed.
func onePartition(dir string) embedded.Config {
	cfg := config(dir)
	cfg.Partitions = 1
	ahead := time.Duration(opened.Add(1)) * 2 * time.Second
	cfg.Now = func() time.Time { return time.Now().Add(ahead) }
	return cfg
}

var opened atomic.Int64

// crashImage returns a copy of the files of a log with records 1 to n in partition 0 as a crash would leave them.
func crashImage(t *testing.T, n, size int) string {
	t.Helper()
	dir := t.TempDir()
	l := open(t, onePartition(dir))
	fill(t, l, 0, 1, n+1, size)
	image := t.TempDir()
	copyDir(t, image, dir)
	return image
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// change opens a copy of an image after changing one file of it, and returns what Open says and the copy's path.
func change(t *testing.T, image, file string, edit func([]byte) []byte) (l *embedded.Log, path string, err error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	copyDir(t, dir, image)
	path = filepath.Join(dir, file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if data = edit(data); data == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	l = embedded.New(onePartition(dir))
	if err = l.Open(t.Context()); err == nil {
		t.Cleanup(func() { closeLog(t, l) })
	}
	return l, path, err
}

func segmentFiles(t *testing.T, image string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(image, "p0000", "*.wal"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	for i, p := range paths {
		paths[i] = filepath.Join("p0000", filepath.Base(p))
	}
	return paths
}

func written(t *testing.T, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(bytes.TrimRight(data, "\x00"))
}

func wantDamage(t *testing.T, err error, path string, at int64) {
	t.Helper()
	damage, ok := errors.AsType[*eventlog.DamageError](err)
	if !ok {
		t.Fatalf("byte %d of %s: got %v, want a DamageError", at, filepath.Base(path), err)
	}
	if damage.File != path || damage.Offset > at {
		t.Fatalf("byte %d of %s: the error names %s at %d", at, path, damage.File, damage.Offset)
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	image := crashImage(t, 30, 900)
	files := segmentFiles(t, image)
	if len(files) < 3 {
		t.Fatalf("got %d segments, want several", len(files))
	}
	for _, file := range files {
		end := written(t, filepath.Join(image, file))
		for at := 0; at < end; at += step(at) {
			_, path, err := change(t, image, file, func(b []byte) []byte { b[at] ^= 0x10; return b })
			wantDamage(t, err, path, int64(at))
		}
	}
	for _, file := range []string{"log.json", "p0000/segments"} {
		for at := 0; at < written(t, filepath.Join(image, file)); at += 7 {
			_, path, err := change(t, image, file, func(b []byte) []byte { b[at] ^= 1; return b })
			wantDamage(t, err, path, int64(at))
		}
	}
}

// step goes closely through the first bytes of a file, and through the rest at intervals that meet every field of a frame in time.
func step(at int) int {
	if at < 120 {
		return 3
	}
	return 53
}

func TestMissingFilesAreFound(t *testing.T) {
	image := crashImage(t, 30, 900)
	files := segmentFiles(t, image)
	for _, file := range append(files[:len(files)-1:len(files)-1], "log.json", "p0000/segments") {
		_, path, err := change(t, image, file, func([]byte) []byte { return nil })
		wantDamage(t, err, path, 0)
	}
}

func TestForeignSegmentIsFound(t *testing.T) {
	image, other := crashImage(t, 30, 900), crashImage(t, 30, 900)
	for _, file := range segmentFiles(t, image) {
		foreign, err := os.ReadFile(filepath.Join(other, file))
		if err != nil {
			t.Fatal(err)
		}
		_, path, err := change(t, image, file, func([]byte) []byte { return foreign })
		wantDamage(t, err, path, 0)
	}
}

// TestTornTail cuts the last commit in every way that a crash can, and goes on from there.
func TestTornTail(t *testing.T) {
	const size = 2900
	for _, records := range []int{1, 2, 7} {
		image := crashImage(t, records, size)
		files := segmentFiles(t, image)
		tail := files[len(files)-1]
		end := written(t, filepath.Join(image, tail))
		start := max(0, end-size-120)
		if records == 1 {
			start = 0
		}
		cuts := map[string]func([]byte) []byte{
			"file ends in the middle": func(b []byte) []byte { return b[:end-size/2] },
			"file ends early":         func(b []byte) []byte { return b[:start+130] },
			"last byte is missing":    func(b []byte) []byte { return b[:end-1] },
		}
		for from := (start/512 + 1) * 512; from < end; from += 512 {
			cuts["no sector at "+string(rune('a'+(from-start)/512))] = func(b []byte) []byte { clear(b[from:min(from+512, len(b))]); return b }
			cuts["nothing from "+string(rune('a'+(from-start)/512))] = func(b []byte) []byte { clear(b[from:]); return b }
		}
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				l, path, err := change(t, image, tail, cut)
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				if _, next := checkRecords(t, l, 0, size); next != uint64(records) {
					t.Fatalf("got next offset %d, want %d: only the last record is torn", next, records)
				}
				fill(t, l, 0, records, records+3, size)
				closeLog(t, l)
				again := open(t, onePartition(filepath.Dir(filepath.Dir(path))))
				if _, next := checkRecords(t, again, 0, size); next != uint64(records+3) {
					t.Errorf("got next offset %d after opening again, want %d", next, records+3)
				}
			})
		}
	}
}

// TestMissingSectorInTheMiddleIsDamage is what raft-wal alone would take for the end of the log.
func TestMissingSectorInTheMiddleIsDamage(t *testing.T) {
	image := crashImage(t, 6, 1100)
	files := segmentFiles(t, image)
	tail := files[len(files)-1]
	end := written(t, filepath.Join(image, tail))
	if len(files) != 1 || end < 6*1100 {
		t.Fatalf("got %d segments, the tail has %d bytes", len(files), end)
	}
	for at := 0; at+512 < end-1300; at += 512 {
		_, path, err := change(t, image, tail, func(b []byte) []byte { clear(b[at : at+512]); return b })
		wantDamage(t, err, path, int64(at+512))
	}
}

// TestNothingIsTornAfterAnOrderlyEnd proves that the note of an orderly end tells damage from a crash.
func TestNothingIsTornAfterAnOrderlyEnd(t *testing.T) {
	dir := t.TempDir()
	l := open(t, onePartition(dir))
	fill(t, l, 0, 1, 4, 900)
	closeLog(t, l)
	tail := segmentFiles(t, dir)[0]
	end := written(t, filepath.Join(dir, tail))
	for name, cut := range map[string]func([]byte) []byte{
		"cut in the last record":  func(b []byte) []byte { return b[:end-500] },
		"cut between two records": func(b []byte) []byte { return b[:(end-32)/3*2+32] },
		"all zeros":               func(b []byte) []byte { clear(b); return b },
		"missing":                 func([]byte) []byte { return nil },
	} {
		if _, path, err := change(t, dir, tail, cut); err == nil {
			t.Errorf("%s: a log that lost records opened", name)
		} else {
			wantDamage(t, err, path, int64(end))
		}
	}
}

// TestSealedButNotListed is a crash between the commit that fills a segment and the list of segments that names the next one.
func TestSealedButNotListed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, onePartition(dir))
	list, err := os.ReadFile(filepath.Join(dir, "p0000", "segments"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for len(segmentFiles(t, dir)) == 1 {
		n++
		fill(t, l, 0, n, n+1, 900)
	}
	image := t.TempDir()
	copyDir(t, image, dir)
	if err := os.Remove(filepath.Join(image, segmentFiles(t, image)[1])); err != nil {
		t.Fatal(err)
	}
	again, _, err := change(t, image, "p0000/segments", func([]byte) []byte { return list })
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	_, next := checkRecords(t, again, 0, 900)
	if next < uint64(n) {
		t.Fatalf("got next offset %d, want at least %d", next, n)
	}
	fill(t, again, 0, int(next), int(next)+20, 900)
}
