// Package latency counts durations in a log-linear histogram: each power of two is split into 64 equal steps, so that a percentile
// is off by less than 1.6%, from a microsecond to over an hour, in a fixed amount of memory.
//
// A Histogram is safe for concurrent use. A Snapshot is a plain copy; the difference of two is what came between them.
package latency

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	stepBits = 6 // 64 steps a power of two
	steps    = 1 << stepBits
	maxBits  = 32 // microseconds: over an hour
	cells    = (maxBits - stepBits + 1) * steps
)

// Histogram counts durations. The zero value is empty.
type Histogram struct {
	cells [cells]atomic.Uint64
	max   atomic.Int64 // microseconds
}

// Snapshot is what a histogram had counted at an instant.
type Snapshot struct {
	cells [cells]uint64
	max   int64
}

// Add counts a duration. Durations below 0 count as 0, those beyond the range as its end.
func (h *Histogram) Add(d time.Duration) {
	us := min(max(0, d.Microseconds()), 1<<maxBits-1)
	h.cells[cellOf(uint64(us))].Add(1)
	for seen := h.max.Load(); us > seen && !h.max.CompareAndSwap(seen, us); seen = h.max.Load() {
	}
}

// Snapshot returns the counts as of now.
func (h *Histogram) Snapshot() *Snapshot {
	s := &Snapshot{max: h.max.Load()}
	for i := range s.cells {
		s.cells[i] = h.cells[i].Load()
	}
	return s
}

// Since returns what was counted after an earlier snapshot. Its Max is that of all time.
func (s *Snapshot) Since(earlier *Snapshot) *Snapshot {
	d := &Snapshot{max: s.max}
	for i := range s.cells {
		d.cells[i] = s.cells[i] - earlier.cells[i]
	}
	return d
}

// Count returns how many durations were counted.
func (s *Snapshot) Count() uint64 {
	n := uint64(0)
	for _, c := range s.cells {
		n += c
	}
	return n
}

// Max returns the longest duration.
func (s *Snapshot) Max() time.Duration { return time.Duration(s.max) * time.Microsecond }

// Percentile returns the duration that p percent of the counted ones don't exceed, rounded up to the end of its step; 0 when
// there are none.
func (s *Snapshot) Percentile(p float64) time.Duration {
	total := s.Count()
	if total == 0 {
		return 0
	}
	rank := uint64(p / 100 * float64(total))
	seen := uint64(0)
	for i, c := range s.cells {
		if seen += c; c > 0 && seen > rank || seen == total {
			return time.Duration(min(int64(endOf(i)), s.max)) * time.Microsecond
		}
	}
	return s.Max()
}

// cellOf returns the cell of a number of microseconds below 2^maxBits: exact below 2·steps, then steps cells a power of two.
func cellOf(us uint64) int {
	shift := max(0, bits.Len64(us)-stepBits-1)
	return shift*steps + int(us>>shift)
}

// endOf returns the largest number of microseconds in a cell.
func endOf(cell int) uint64 {
	shift := max(0, cell/steps-1)
	return (uint64(cell-shift*steps)+1)<<shift - 1
}
