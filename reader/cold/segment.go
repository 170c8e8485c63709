package cold

import (
	"math"
	"sync"
	"unsafe"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// segmentName names what an object holds of one key.
type segmentName struct{ object, kind, key string }

// segment is all rows of its name, ascending by start. It never changes.
type segment struct{ rows []Row }

// entryOverhead is about what an entry costs besides its rows and names: two nodes of the list and the map.
const entryOverhead = 256

func sizeOf(name segmentName, s *segment) int64 {
	return entryOverhead + int64(len(name.object)+len(name.kind)+len(name.key)) + int64(len(s.rows))*int64(unsafe.Sizeof(Row{}))
}

// cache keeps segments up to a bound of bytes; the least recently used goes first.
type cache struct {
	limit   int64
	metrics *metrics

	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[segmentName, *segment]
	bytes int64
}

func newCache(limit int64, m *metrics) *cache {
	c := &cache{limit: limit, metrics: m}
	c.lru, _ = simplelru.NewLRU[segmentName, *segment](math.MaxInt, func(name segmentName, s *segment) { // fails on sizes below 1 only
		c.bytes -= sizeOf(name, s)
	})
	return c
}

func (c *cache) get(name segmentName) *segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _ := c.lru.Get(name)
	return s
}

func (c *cache) add(name segmentName, s *segment) {
	size := sizeOf(name, s)
	if size > c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lru.Contains(name) {
		return
	}
	for c.bytes+size > c.limit {
		c.lru.RemoveOldest()
		c.metrics.evicted.Inc()
	}
	c.lru.Add(name, s)
	c.bytes += size
	c.metrics.cached.Set(float64(c.bytes))
}
