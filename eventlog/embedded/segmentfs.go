package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// faults lets a test make a file operation fail; nil in the program.
type faults interface {
	// before is called with "reserve", "write", "sync" or "create" and the file's path.
	before(operation, path string) error
}

// segmentFS is the file system that raft-wal sees: it reserves space ahead of writing, flushes data only, and accounts for bytes.
type segmentFS struct {
	budget *budget
	faults faults
	grow   int64 // reserved at once at most

	mu    sync.Mutex
	sizes map[string]int64 // by path: bytes in use, accounted in budget
	tail  *segmentFile     // the one opened for writing last
	full  string           // path of the segment that was sealed last
}

var _ types.VFS = (*segmentFS)(nil)

func newSegmentFS(b *budget, f faults, segmentBytes int) *segmentFS {
	return &segmentFS{budget: b, faults: f, grow: int64(min(max(segmentBytes/8, 64<<10), 4<<20)), sizes: map[string]int64{}}
}

func (s *segmentFS) fail(operation, path string) error {
	if s.faults == nil {
		return nil
	}
	return s.faults.before(operation, path)
}

// account sets the bytes that a file uses; 0 forgets it.
func (s *segmentFS) account(path string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget.add(size - s.sizes[path])
	s.sizes[path] = size
	if size == 0 {
		delete(s.sizes, path)
	}
}

// bytes returns what all files use.
func (s *segmentFS) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum int64
	for _, n := range s.sizes {
		sum += n
	}
	return sum
}

// release forgets every file, before a partition is opened again.
func (s *segmentFS) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.sizes {
		s.budget.add(-n)
	}
	clear(s.sizes)
	s.tail = nil
}

// ListDir returns the names of the files in dir.
func (s *segmentFS) ListDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create makes a new, empty segment. Space is reserved as it grows, not now: many partitions would take too much.
func (s *segmentFS) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	if err := s.fail("create", path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return s.track(&segmentFile{fs: s, path: path, file: f}), nil
}

// OpenWriter opens the tail after a restart.
func (s *segmentFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.mu.Lock()
	end := s.sizes[path]
	s.mu.Unlock()
	return s.track(&segmentFile{fs: s, path: path, file: f, end: end, reserved: info.Size()}), nil
}

func (s *segmentFS) track(f *segmentFile) *segmentFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = f
	return f
}

func (s *segmentFS) noteSealed(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = path
}

// wasSealed tells whether a segment is the one that was sealed last.
func (s *segmentFS) wasSealed(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full == path
}

func (s *segmentFS) lastTail() *segmentFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail
}

// OpenReader opens a sealed segment.
func (s *segmentFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return os.Open(filepath.Join(dir, name))
}

// Delete removes a segment and gives its bytes back.
func (s *segmentFS) Delete(dir, name string) error {
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil {
		return err
	}
	s.account(path, 0)
	return syncDir(dir)
}

// segmentFile is a segment open for writing. Its writer is serial; reads may run beside it.
type segmentFile struct {
	fs       *segmentFS
	path     string
	file     *os.File
	end      int64 // written up to here
	reserved int64
}

// errReserve marks a failure before anything was written.
var errReserve = errors.New("reserve space")

// ensure reserves space for n more bytes, and some ahead. It changes nothing when it fails.
func (f *segmentFile) ensure(n int64) error {
	need := f.end + n
	if need <= f.reserved {
		return nil
	}
	if err := f.fs.fail("reserve", f.path); err != nil {
		return fmt.Errorf("%w: %w", errReserve, err)
	}
	ahead := min(max(need/2, 64<<10), f.fs.grow)
	err := reserve(f.file, f.reserved, need+ahead)
	if err == nil {
		f.reserved = need + ahead
		return nil
	}
	if err := reserve(f.file, f.reserved, need); err != nil {
		return fmt.Errorf("%w: %w", errReserve, err)
	}
	f.reserved = need
	return nil
}

// WriteAt writes and accounts.
func (f *segmentFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.fail("write", f.path); err != nil {
		return 0, err
	}
	n, err := f.file.WriteAt(p, off)
	if end := off + int64(n); end > f.end {
		f.end = end
		f.fs.account(f.path, end)
	}
	return n, err
}

// ReadAt reads. Past what was written and not reserved there is nothing.
func (f *segmentFile) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// errSync marks a flush that failed: what is on the disk is unknown, and asking again proves nothing.
var errSync = errors.New("flush segment")

// Sync flushes the data.
func (f *segmentFile) Sync() error {
	err := f.fs.fail("sync", f.path)
	if err == nil {
		err = fdatasync(f.file)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errSync, err)
	}
	return nil
}

// Close closes the file.
func (f *segmentFile) Close() error { return f.file.Close() }

// seal gives back what was reserved and not used.
func (f *segmentFile) seal() error { return f.file.Truncate(f.end) }

var _ io.ReaderAt = (*segmentFile)(nil)
