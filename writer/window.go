package writer

// A window is the de-duplication window of one partition: for every fingerprint, the tick of its last sighting.
//
//	window = 256 segments by the top byte of the fingerprint
//	segment = buckets of one cache line: 5 fingerprints, their 5 last-seen ticks, how many of them are in use
//
// A fingerprint is a duplicate when it was seen no more than span ticks before. Expired entries are dropped when a segment is
// full, and by a sweep that visits every segment once in a quarter of the window, so entries that are kept are at most a
// quarter more than those that count. Segments are small and grow one by one: no pause, no moment with everything twice;
// only the segment that is being moved exists twice, and that is not counted.
//
// A window never forgets an id that counts. When its budget is used up, reserve says so and forgets nothing.
// It is not safe for concurrent use.
type window struct {
	clock    quantiser
	budget   *budget
	segments [segmentCount]segment
	scratch  []bucket

	last    int64 // the latest tick
	sweepAt int   // the next segment to sweep
	owed    int64 // sweeps owed, in quarter windows' ticks × segments
	kept    int
	bytes   int64

	sink uint32 // what touch loaded, so that it is loaded
}

const (
	segmentCount = 256
	touchAhead   = 256 // fingerprints whose cache lines are fetched together
)

func newWindow(clock quantiser, b *budget) *window {
	return &window{clock: clock, budget: b}
}

// see records that a batch appended at tick holds these fingerprints, sets duplicate[i] for those that were seen within the
// window, earlier in this batch included, and returns how many those are. It must follow a reserve of the same fingerprints.
func (w *window) see(fingerprints []uint64, tick int64, duplicate []bool) int {
	span := uint32(w.clock.span)
	found := 0
	for len(fingerprints) > 0 {
		n := min(len(fingerprints), touchAhead)
		block, marks := fingerprints[:n], duplicate[:n]
		fingerprints, duplicate = fingerprints[n:], duplicate[n:]
		w.touch(block)
		for i, f := range block {
			if f == 0 {
				marks[i] = false
				continue
			}
			s := &w.segments[f>>56]
			known, age := s.put(f, uint32(tick))
			marks[i] = known && age <= span
			if !known {
				w.kept++
			}
			if marks[i] {
				found++
			}
		}
	}
	return found
}

// touch loads the first bucket of every fingerprint, so that the misses overlap.
func (w *window) touch(fingerprints []uint64) {
	sink := uint32(0)
	for _, f := range fingerprints {
		if s := &w.segments[f>>56]; len(s.buckets) > 0 {
			sink += s.buckets[s.home(f)].used
		}
	}
	w.sink += sink
}

// advance moves to a tick, drops everything when all of it has expired, and sweeps what is due.
func (w *window) advance(tick int64) {
	if tick <= w.last {
		return
	}
	step := tick - w.last
	w.last = tick
	if step > w.clock.span {
		w.clear()
		return
	}
	quarter := max(w.clock.span/4, 1)
	for w.owed += step * segmentCount; w.owed >= quarter; w.owed -= quarter {
		w.sweep(&w.segments[w.sweepAt])
		w.sweepAt = (w.sweepAt + 1) % segmentCount
	}
}

// sweep drops the expired entries of a segment, and its memory when most of that is unused.
func (w *window) sweep(s *segment) {
	if s.used == 0 {
		return
	}
	live := s.live(uint32(w.last), uint32(w.clock.span))
	switch {
	case live == 0:
		w.resize(s, 0)
	case bucketsFor(live) < len(s.buckets)/2:
		w.resize(s, bucketsFor(live))
	case live < s.used:
		w.rewrite(s)
	}
}

// rewrite drops the expired entries in place.
func (w *window) rewrite(s *segment) {
	w.scratch = append(w.scratch[:0], s.buckets...)
	clear(s.buckets)
	w.kept -= s.used
	s.used = 0
	w.refill(s, w.scratch)
}

// resize moves the entries that count to n buckets, 0 if there are none. The budget has been asked for more; less is given back to it here.
func (w *window) resize(s *segment, n int) {
	old := s.buckets
	grown := int64(n-len(old)) * bucketBytes
	if grown < 0 {
		w.budget.give(-grown)
	}
	w.bytes += grown
	w.kept -= s.used
	*s = segment{}
	if n > 0 {
		s.buckets = make([]bucket, n)
	}
	w.refill(s, old)
}

func (w *window) refill(s *segment, old []bucket) {
	now, span := uint32(w.last), uint32(w.clock.span)
	for i := range old {
		b := &old[i]
		for j := range b.used {
			if now-b.ticks[j] <= span {
				s.put(b.fingerprints[j], b.ticks[j])
			}
		}
	}
	w.kept += s.used
}

// clear forgets everything and returns its memory to the budget.
func (w *window) clear() {
	w.budget.give(w.bytes)
	w.segments = [segmentCount]segment{}
	w.scratch, w.bytes, w.kept, w.owed = nil, 0, 0, 0
}
