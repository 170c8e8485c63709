package shardproxy

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// resultCache keeps answers up to a bound of bytes; the least recently asked goes first. It is safe for concurrent use.
type resultCache struct {
	limit   int64
	metrics *cacheMetrics

	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[question, *entry]
	bytes int64
	term  uint64 // entries of earlier ones are not kept
}

func newResultCache(limit int64, m *cacheMetrics) *resultCache {
	c := &resultCache{limit: limit, metrics: m}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(q question, e *entry) { c.bytes -= e.size(q) }) // fails on sizes below 1 only
	return c
}

func (c *resultCache) get(q question) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, _ := c.lru.Get(q)
	return e
}

// add keeps an entry in place of an older one, unless it is too large or of an earlier term. What is there already and was read later stays: a database
// that lags must not bring back what another has replaced.
func (c *resultCache) add(q question, e *entry) {
	size := e.size(q)
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.limit/8 || e.term < c.term {
		return
	}
	if old, ok := c.lru.Peek(q); ok {
		if old.asOf > e.asOf && old.term == e.term {
			return
		}
		c.lru.Remove(q)
	}
	for c.bytes+size > c.limit {
		c.lru.RemoveOldest()
		c.metrics.evicted.Inc()
	}
	c.lru.Add(q, e)
	c.bytes += size
	c.showLocked()
}

// expire drops what was read in earlier terms: ids and offsets of then mean nothing now. It may be called often: it walks over the entries when a term is
// new only, since none of an earlier one comes in afterwards.
func (c *resultCache) expire(term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if term <= c.term {
		return
	}
	c.term = term
	for _, q := range c.lru.Keys() {
		if e, ok := c.lru.Peek(q); ok && e.term < term {
			c.lru.Remove(q)
			c.metrics.dropped.WithLabelValues("term").Inc()
		}
	}
	c.showLocked()
}

// each calls fn for every entry, without holding anybody up meanwhile.
func (c *resultCache) each(fn func(question, *entry)) {
	c.mu.Lock()
	questions, entries := c.lru.Keys(), c.lru.Values()
	c.mu.Unlock()
	for i := range questions {
		fn(questions[i], entries[i])
	}
}

func (c *resultCache) showLocked() {
	c.metrics.bytes.Set(float64(c.bytes))
	c.metrics.entries.Set(float64(c.lru.Len()))
}
