package diskcache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultBlock = 256 << 10
	clusterBytes = 4 << 10 // what a file takes at least
	maxRun       = 8       // neighbouring blocks fetched with one request
)

// ErrLocked is returned for a folder that another Cache uses.
var ErrLocked = errors.New("another process uses this cache folder")

// Source is where blocks come from: a blob.Store.
type Source interface {
	// ReadRange fills p with an object's bytes from an offset.
	ReadRange(ctx context.Context, name string, p []byte, offset int64) error
}

// Config says what a Cache is made of.
type Config struct {
	Source     Source
	Dir        string // made if it is missing; nothing else may be in it
	MaxBytes   int64  // of all files; at least that of a few blocks
	BlockBytes int    // 256 KiB if 0
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Cache is a folder with blocks.
type Cache struct {
	source  Source
	dir     string
	max     int64
	block   int64
	logger  *slog.Logger
	metrics *metrics
	lock    *os.File

	mu      sync.Mutex
	entries map[id]*list.Element // of *entry
	recent  *list.List           // the block used last in front
	bytes   int64
	flights map[id]*flight
}

// entry is a block that is in the folder.
type entry struct {
	id    id
	bytes int64 // that its file takes
}

// Open opens the folder and takes up what is in it.
func Open(cfg Config) (*Cache, error) {
	if cfg.BlockBytes <= 0 {
		cfg.BlockBytes = defaultBlock
	}
	c := &Cache{
		source: cfg.Source, dir: cfg.Dir, max: cfg.MaxBytes, block: int64(cfg.BlockBytes), logger: cfg.Logger,
		entries: map[id]*list.Element{}, recent: list.New(), flights: map[id]*flight{},
	}
	if c.max < 4*(c.block+clusterBytes) {
		return nil, fmt.Errorf("open cache: %d bytes are too few for blocks of %d", c.max, c.block)
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	var err error
	if c.lock, err = lockFolder(filepath.Join(c.dir, lockName)); err != nil {
		return nil, fmt.Errorf("open cache %s: %w", c.dir, err)
	}
	if err := c.takeUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("open cache: %w", err), c.lock.Close())
	}
	c.metrics = newMetrics(cfg.Registerer, c.Bytes)
	return c, nil
}

// Close leaves the folder to others. No read may be under way.
func (c *Cache) Close() error {
	if err := c.lock.Close(); err != nil {
		return fmt.Errorf("close cache: %w", err)
	}
	return nil
}

// Bytes is what the files take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// has says whether a block is in the folder, and notes its use.
func (c *Cache) has(block id) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[block]
	if ok {
		c.recent.MoveToFront(element)
	}
	return ok
}

// reserve makes room for a file; false if there is none, because as much as fits is being written.
func (c *Cache) reserve(bytes int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.bytes+bytes > c.max {
		oldest := c.recent.Back()
		if oldest == nil {
			return false
		}
		block := oldest.Value.(*entry).id
		c.dropLocked(block)
		c.remove(block) // under the lock, so that nobody writes the file again meanwhile
		c.metrics.evicted.Inc()
	}
	c.bytes += bytes
	return true
}

// settle notes a block whose file was written, or gives back the room that was reserved for it.
func (c *Cache) settle(block id, bytes int64, written bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !written {
		c.bytes -= bytes
		c.remove(block)
		return
	}
	c.entries[block] = c.recent.PushFront(&entry{id: block, bytes: bytes})
}

// forget drops a block that could not be read.
func (c *Cache) forget(block id) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(block)
	c.remove(block)
}

func (c *Cache) dropLocked(block id) {
	element, ok := c.entries[block]
	if !ok {
		return
	}
	c.bytes -= element.Value.(*entry).bytes
	c.recent.Remove(element)
	delete(c.entries, block)
}

func (c *Cache) remove(block id) {
	if err := os.Remove(c.path(block)); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.logger.Warn("a cached block can't be removed", "path", c.path(block), "error", err)
	}
}
