package writer

import (
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// cells aggregates by (key, minute) in an open-addressing table whose cells fill a cache line each. The cell's key is exact: the
// key's number in the dictionary and the minute. It is not safe for concurrent use.
type cells struct {
	slots []cell
	shift uint // 64 − log₂ len(slots)
	count int
	names []name
	bytes int // what the rows take in a request, at most

	sink uint64 // what gather loaded, so that it is loaded
}

type cell struct {
	key uint64 // number+1 in the upper, minute in the lower half; 0: free
	event.Aggregate
}

const (
	leastCells = 1 << 10
	rowBytes   = 84 // a row in a request with its key's type and length, at most
)

func newCells() *cells {
	c := &cells{}
	c.allocate(leastCells)
	return c
}

func (c *cells) allocate(n int) {
	c.slots = make([]cell, n)
	c.shift = 64
	for ; n > 1; n >>= 1 {
		c.shift--
	}
}

func (c *cells) place(key uint64) uint64 { return (key * 0x9E3779B97F4A7C15) >> c.shift }

// add counts the events of a batch that are not duplicates. numbers[i] is the number, in names, of the batch's i-th key.
func (c *cells) add(b *event.Batch, numbers []uint32, names []name, duplicate []bool) {
	c.names = names
	var keys [touchAhead]uint64
	for start := 0; start < b.Len(); start += touchAhead {
		end := min(start+touchAhead, b.Len())
		for 5*(c.count+end-start) > 4*len(c.slots) { // so that the usual bound, 50,000, fits in 65,536
			c.grow()
		}
		n := c.gather(keys[:0:touchAhead], b, numbers, duplicate, start, end)
		c.addBlock(keys[:n], b, duplicate, start, end)
	}
}

// gather computes the cell keys of events start to end that count, and loads their slots, so that the misses overlap.
func (c *cells) gather(keys []uint64, b *event.Batch, numbers []uint32, duplicate []bool, start, end int) int {
	sink := uint64(0)
	for i := start; i < end; i++ {
		if duplicate[i] {
			continue
		}
		key := uint64(numbers[b.KeyIndex[i]]+1)<<32 | uint64(event.MinuteOf(b.TimesMs[i]))
		sink |= c.slots[c.place(key)].key
		keys = append(keys, key)
	}
	c.sink |= sink
	return len(keys)
}

func (c *cells) addBlock(keys []uint64, b *event.Batch, duplicate []bool, start, end int) {
	next := 0
	for i := start; i < end; i++ {
		if duplicate[i] {
			continue
		}
		a := c.at(keys[next])
		next++
		switch {
		case b.HasValue != nil:
			a.AddEvent(b.Weight(i), b.Values[i], b.HasValue[i])
		case b.Weights != nil:
			a.Count += b.Weights[i]
		default:
			a.Count++
		}
	}
}

// at returns the aggregate of a cell, making the cell if it is new. The caller has made room.
func (c *cells) at(key uint64) *event.Aggregate {
	mask := uint64(len(c.slots) - 1)
	at := c.place(key)
	for {
		s := &c.slots[at]
		if s.key == key {
			return &s.Aggregate
		}
		if s.key == 0 {
			s.key, s.Aggregate = key, event.NewAggregate()
			c.count++
			c.bytes += rowBytes + len(c.names[key>>32-1].key)
			return &s.Aggregate
		}
		at = (at + 1) & mask
	}
}

func (c *cells) grow() {
	old := c.slots
	c.allocate(2 * len(old))
	mask := uint64(len(c.slots) - 1)
	for i := range old {
		if old[i].key == 0 {
			continue
		}
		at := c.place(old[i].key)
		for c.slots[at].key != 0 {
			at = (at + 1) & mask
		}
		c.slots[at] = old[i]
	}
}

// take appends everything to rows and empties the table.
func (c *cells) take(rows []wire.Row) []wire.Row {
	for i := range c.slots {
		if s := &c.slots[i]; s.key != 0 {
			n := &c.names[s.key>>32-1]
			rows = append(rows, wire.Row{Type: n.kind, Key: n.key, Minute: int64(uint32(s.key)), Aggregate: s.Aggregate})
		}
	}
	c.reset()
	return rows
}

// reset empties the table, and gives back most of one that was hardly used.
func (c *cells) reset() {
	if len(c.slots) > leastCells && c.count < len(c.slots)/16 {
		c.allocate(len(c.slots) / 4)
	} else {
		clear(c.slots)
	}
	c.count, c.bytes, c.names = 0, 0, nil
}
