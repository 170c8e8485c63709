package writer

import "time"

// A quantiser turns append times into ticks, the unit in which the de-duplication window is kept: W ÷ 600, rounded up to a
// millisecond, counted from 1970. An id is a duplicate when its last sighting lies at most span ticks back, that is
// always when it lies at most W back, never when it lies W plus two ticks or more back, and in between by where the ticks
// begin. Both terms come from the log alone, so every run decides alike (INV-7).
type quantiser struct {
	quantum int64 // milliseconds
	span    int64 // the window, in ticks
}

const ticksPerWindow = 600

func newQuantiser(window time.Duration) quantiser {
	ms := max(window.Milliseconds(), 1)
	quantum := (ms + ticksPerWindow - 1) / ticksPerWindow
	return quantiser{quantum: quantum, span: (ms + quantum - 1) / quantum}
}

// tick returns the tick of an append time.
func (q quantiser) tick(appendTimeMs int64) int64 { return appendTimeMs / q.quantum }

// oldest returns the first tick whose sightings can still make a duplicate of something appended at or after an instant.
func (q quantiser) oldest(appendTimeMs int64) int64 { return q.tick(appendTimeMs) - q.span }

// marks remembers the first offset of every tick of the window: at most one mark a tick, so their number is bounded.
type marks struct {
	list []mark
}

type mark struct {
	tick   int64
	offset uint64
}

// add notes the next batch of the partition.
func (m *marks) add(tick int64, offset uint64) {
	if n := len(m.list); n == 0 || m.list[n-1].tick < tick {
		m.list = append(m.list, mark{tick, offset})
	}
}

// from returns the offset of the first batch of a tick at or after oldest, or next if there is none.
func (m *marks) from(oldest int64, next uint64) uint64 {
	for _, k := range m.list {
		if k.tick >= oldest {
			return k.offset
		}
	}
	return next
}

// forget drops the marks below oldest.
func (m *marks) forget(oldest int64) {
	n := 0
	for n < len(m.list) && m.list[n].tick < oldest {
		n++
	}
	m.list = append(m.list[:0], m.list[n:]...)
}
