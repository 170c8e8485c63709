package cold

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
)

// entryOverhead is about what an entry costs besides what it holds: its nodes in the list and in the map.
const entryOverhead = 256

// cache keeps values up to a bound of bytes; the least recently used goes first. What a name stands for never changes.
type cache[K comparable, V any] struct {
	limit   int64
	size    func(K, V) int64
	held    prometheus.Gauge
	evicted prometheus.Counter

	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[K, V]
	bytes int64
}

func newCache[K comparable, V any](limit int64, size func(K, V) int64, held prometheus.Gauge, evicted prometheus.Counter) *cache[K, V] {
	c := &cache[K, V]{limit: limit, size: func(k K, v V) int64 { return entryOverhead + size(k, v) }, held: held, evicted: evicted}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(k K, v V) { c.bytes -= c.size(k, v) }) // fails on sizes below 1 only
	return c
}

func (c *cache[K, V]) get(name K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(name)
}

// add keeps a value, unless it is larger than the bound.
func (c *cache[K, V]) add(name K, value V) {
	size := c.size(name, value)
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
		c.evicted.Inc()
	}
	c.lru.Add(name, value)
	c.bytes += size
	c.held.Set(float64(c.bytes))
}
