package embedded

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	clockFile = "clock"
	// clockAhead is how far beyond the present the time on disk lies: what a crash can cost in waiting at the next start.
	clockAhead = int64(1000)
	// clockMaxWait bounds that waiting. A clock that has stepped back further is not waited for: log time stands still instead.
	clockMaxWait = 3 * time.Second
)

// logClock gives times that never decrease, over restarts too: a time beyond every one it gave is on disk before it gives it.
type logClock struct {
	now  func() time.Time
	file *os.File

	mu    sync.Mutex
	last  int64 // the latest time given
	limit int64 // on disk; last ≤ limit
}

// openClock reads the limit that an earlier process left and returns it, 0 if there is none.
func openClock(dir string, now func() time.Time) (*logClock, error) {
	f, err := os.OpenFile(filepath.Join(dir, clockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open clock: %w", err)
	}
	c := &logClock{now: now, file: f}
	var buf [12]byte
	n, _ := f.ReadAt(buf[:], 0)
	if n == len(buf) && crc32.Checksum(buf[:8], castagnoli) == binary.LittleEndian.Uint32(buf[8:]) {
		c.limit = int64(binary.LittleEndian.Uint64(buf[:]))
	}
	return c, nil
}

// raise makes sure that no time below ms is given any more.
func (c *logClock) raise(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.limit = max(c.last, ms), max(c.limit, ms)
}

// read returns the present in log time.
func (c *logClock) read() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ms := max(c.now().UnixMilli(), c.last)
	if ms+clockAhead/2 > c.limit {
		if err := c.persistLocked(ms + clockAhead); err != nil {
			return 0, err
		}
	}
	c.last = ms
	return ms, nil
}

func (c *logClock) persistLocked(limit int64) error {
	var buf [12]byte
	binary.LittleEndian.PutUint64(buf[:], uint64(limit))
	binary.LittleEndian.PutUint32(buf[8:], crc32.Checksum(buf[:8], castagnoli))
	if _, err := c.file.WriteAt(buf[:], 0); err != nil {
		return fmt.Errorf("write clock: %w", err)
	}
	if err := fdatasync(c.file); err != nil {
		return fmt.Errorf("flush clock: %w", err)
	}
	c.limit = limit
	return nil
}

// close leaves the exact time behind, so that the next start need not wait.
func (c *logClock) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.persistLocked(c.last)
	if cerr := c.file.Close(); err == nil {
		err = cerr
	}
	return err
}
