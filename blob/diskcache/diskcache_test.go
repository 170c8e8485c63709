package diskcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/quipudb/quipu/blob/diskcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const block = 16 << 10

// source makes objects up: each has bytes of its own.
type source struct {
	requests atomic.Int64
	bytes    atomic.Int64
	fail     atomic.Pointer[error]
	hold     chan struct{} // not nil: requests wait until it is closed
	begun    chan struct{}
}

func content(name string, size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32s", name)))).Read(data)
	return data
}

func (s *source) ReadRange(ctx context.Context, name string, p []byte, offset int64) error {
	s.requests.Add(1)
	s.bytes.Add(int64(len(p)))
	if s.hold != nil {
		s.begun <- struct{}{}
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.fail.Load(); err != nil {
		return *err
	}
	copy(p, content(name, int(offset)+len(p))[offset:])
	return nil
}

func open(t testing.TB, dir string, from diskcache.Source, maxBytes int64) *diskcache.Cache {
	t.Helper()
	cache, err := diskcache.Open(diskcache.Config{Source: from, Dir: dir, MaxBytes: maxBytes, BlockBytes: block, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func closeCache(t testing.TB, cache *diskcache.Cache) {
	t.Helper()
	if err := cache.Close(); err != nil {
		t.Error(err)
	}
}

func check(t testing.TB, cache *diskcache.Cache, name string, size int) {
	t.Helper()
	p := make([]byte, size)
	if n, err := cache.Reader(t.Context(), name, int64(size)).ReadAt(p, 0); n != size || err != nil || !bytes.Equal(p, content(name, size)) {
		t.Fatalf("%s: got %d bytes, %v", name, n, err)
	}
}

// diskBytes is what is in the folder.
func diskBytes(t testing.TB, dir string) int64 {
	t.Helper()
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, file fs.DirEntry, err error) error {
		if err != nil || file.IsDir() {
			return err
		}
		info, err := file.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

func TestAnyRangeIsRightAndFetchedOnce(t *testing.T) {
	const size = 50*block + 123
	from := new(source)
	cache := open(t, t.TempDir(), from, 100*block)
	defer closeCache(t, cache)
	want, random := content("a", size), rand.New(rand.NewPCG(1, 1))
	reader := cache.Reader(t.Context(), "a", size)
	for range 300 {
		offset, p := random.IntN(size), make([]byte, 1+random.IntN(5*block))
		expected := want[offset:min(offset+len(p), size)]
		n, err := reader.ReadAt(p, int64(offset))
		if !bytes.Equal(p[:n], expected) || (n < len(p)) != (err == io.EOF) || err != nil && err != io.EOF {
			t.Fatalf("%d bytes at %d: got %d, %v", len(p), offset, n, err)
		}
	}
	if n, err := reader.ReadAt(make([]byte, 1), size); n != 0 || err != io.EOF {
		t.Errorf("behind the end: got %d, %v", n, err)
	}
	check(t, cache, "a", size)
	if got := from.bytes.Load(); got != size {
		t.Errorf("fetched %d bytes, want each of the %d once", got, size)
	}
}

func TestNeighboursAreFetchedTogether(t *testing.T) {
	from := new(source)
	cache := open(t, t.TempDir(), from, 100*block)
	defer closeCache(t, cache)
	check(t, cache, "a", 16*block)
	if got := from.requests.Load(); got != 2 {
		t.Errorf("got %d requests for 16 blocks, want 2", got)
	}
}

func TestTheFolderStaysWithinItsBound(t *testing.T) {
	dir, from := t.TempDir(), new(source)
	const maxBytes = 20 * block
	cache := open(t, dir, from, maxBytes)
	for i := range 40 {
		check(t, cache, fmt.Sprint(i), 3*block)
		check(t, cache, "0", 3*block) // used all the time, so it stays
		if cache.Bytes() > maxBytes || diskBytes(t, dir) > maxBytes {
			t.Fatalf("%d bytes, %d on disk, want at most %d", cache.Bytes(), diskBytes(t, dir), maxBytes)
		}
	}
	if got := from.requests.Load(); got != 40 {
		t.Errorf("got %d requests for 40 objects: what was used last did not stay", got)
	}
	closeCache(t, cache)

	// A smaller bound holds from the start.
	cache = open(t, dir, from, maxBytes/2)
	defer closeCache(t, cache)
	if cache.Bytes() > maxBytes/2 || diskBytes(t, dir) > maxBytes/2 || cache.Bytes() == 0 {
		t.Errorf("%d bytes, %d on disk, want at most %d and not nothing", cache.Bytes(), diskBytes(t, dir), maxBytes/2)
	}
}

func TestBlocksSurviveARestart(t *testing.T) {
	dir, from := t.TempDir(), new(source)
	cache := open(t, dir, from, 100*block)
	check(t, cache, "a", 5*block+7)
	closeCache(t, cache)
	cache = open(t, dir, from, 100*block)
	defer closeCache(t, cache)
	before := from.requests.Load()
	check(t, cache, "a", 5*block+7)
	if from.requests.Load() != before {
		t.Error("it was fetched again")
	}
}

func TestDamagedAndMissingBlocksAreFetchedAgain(t *testing.T) {
	dir, from := t.TempDir(), new(source)
	cache := open(t, dir, from, 100*block)
	defer closeCache(t, cache)
	for name, spoil := range map[string]func(path string, data []byte) error{
		"a flipped bit":  func(path string, data []byte) error { data[len(data)/2] ^= 4; return os.WriteFile(path, data, 0o644) },
		"a cut file":     func(path string, data []byte) error { return os.WriteFile(path, data[:len(data)-1], 0o644) },
		"an empty file":  func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o644) },
		"a removed file": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		check(t, cache, "a", 3*block)
		before := from.requests.Load()
		err := filepath.WalkDir(dir, func(path string, file fs.DirEntry, err error) error {
			if err != nil || file.IsDir() || file.Name() == "lock" {
				return err
			}
			data, err := os.ReadFile(path)
			return errors.Join(err, spoil(path, data))
		})
		if err != nil {
			t.Fatal(err)
		}
		check(t, cache, "a", 3*block)
		if from.requests.Load() == before {
			t.Errorf("%s: it was not fetched again", name)
		}
	}
}

// TestOneBlockIsNotTakenForAnother: files that were exchanged are noticed.
func TestOneBlockIsNotTakenForAnother(t *testing.T) {
	dir, from := t.TempDir(), new(source)
	cache := open(t, dir, from, 100*block)
	defer closeCache(t, cache)
	check(t, cache, "a", block)
	check(t, cache, "b", block)
	paths, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil || len(paths) != 2 {
		t.Fatal(paths, err)
	}
	between := filepath.Join(dir, "x")
	if err := errors.Join(os.Rename(paths[0], between), os.Rename(paths[1], paths[0]), os.Rename(between, paths[1])); err != nil {
		t.Fatal(err)
	}
	check(t, cache, "a", block)
	check(t, cache, "b", block)
}

func TestManyWhoWantABlockFetchItOnce(t *testing.T) {
	from := &source{hold: make(chan struct{}), begun: make(chan struct{}, 100)}
	cache := open(t, t.TempDir(), from, 100*block)
	defer closeCache(t, cache)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() { check(t, cache, "a", block) })
	}
	<-from.begun
	close(from.hold)
	wait.Wait()
	if got := from.requests.Load(); got != 1 {
		t.Errorf("got %d requests, want 1", got)
	}
}

func TestWhoeverGivesUpTakesNobodyAlong(t *testing.T) {
	from := &source{hold: make(chan struct{}), begun: make(chan struct{}, 100)}
	cache := open(t, t.TempDir(), from, 100*block)
	defer closeCache(t, cache)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := cache.Reader(ctx, "a", block).ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want cancelled", err)
		}
	})
	<-from.begun
	wait.Go(func() { check(t, cache, "a", block) })
	cancel()
	<-from.begun // of the second, which had waited for the first or came after it
	close(from.hold)
	wait.Wait()
}

func TestErrorsOfTheSourceAreNotCached(t *testing.T) {
	from, down := new(source), errors.New("cold storage is down")
	cache := open(t, t.TempDir(), from, 100*block)
	defer closeCache(t, cache)
	check(t, cache, "warm", block)
	from.fail.Store(&down)
	if _, err := cache.Reader(t.Context(), "a", block).ReadAt(make([]byte, 1), 0); !errors.Is(err, down) {
		t.Errorf("got %v, want the source's error", err)
	}
	check(t, cache, "warm", block)
	from.fail.Store(nil)
	check(t, cache, "a", block)
}

func TestAFolderThatCannotBeWrittenServesAllTheSame(t *testing.T) {
	dir, from := t.TempDir(), new(source)
	cache := open(t, dir, from, 100*block)
	defer closeCache(t, cache)
	// A file where each folder of blocks would be.
	for i := range 256 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02x", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check(t, cache, "a", 20*block)
	check(t, cache, "a", 20*block)
	if cache.Bytes() != 0 {
		t.Errorf("it counts %d bytes", cache.Bytes())
	}
}

func TestOneCacheAFolder(t *testing.T) {
	dir := t.TempDir()
	cache := open(t, dir, new(source), 100*block)
	if _, err := diskcache.Open(diskcache.Config{Dir: dir, MaxBytes: 100 << 20}); !errors.Is(err, diskcache.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	closeCache(t, cache)
	closeCache(t, open(t, dir, new(source), 100*block))
}

func TestUseByManyAtOnce(t *testing.T) {
	from := new(source)
	dir := t.TempDir()
	cache := open(t, dir, from, 12*block) // evicts all the time
	defer closeCache(t, cache)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 100 {
				check(t, cache, fmt.Sprint(random.IntN(4)), 3*block)
			}
		})
	}
	wait.Wait()
	if cache.Bytes() > 12*block || diskBytes(t, dir) > 12*block {
		t.Errorf("%d bytes, %d on disk", cache.Bytes(), diskBytes(t, dir))
	}
}
