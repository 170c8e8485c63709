package writer

// A window is the de-duplication window of one partition: for every fingerprint, the tick of its last sighting.
//
//	window = 256 segments by the top byte of the fingerprint
//	segment = buckets of one cache line of fingerprints and stamps
//
// A stamp is the tick in a circle of 4,095, which no entry stays long enough to go around: spans have 600 ticks at most.
//
// A fingerprint is a duplicate when it was seen no more than span ticks before. Expired entries are dropped when a segment is
// full, and by a sweep that visits every segment once in a quarter of the window, so entries that are kept are at most a
// quarter more than those that count. Segments are small and grow one by one, by pages that are never moved: no pause, no moment with
// everything twice; only the segment that is being laid out anew exists twice, and that is not counted.
//
// A window never forgets an id that counts. When its budget is used up, reserve says so and forgets nothing.
// It is not safe for concurrent use.
type window struct {
	clock    quantiser
	budget   *budget
	segments [segmentCount]segment
	scratch  scratch

	last    int64 // the latest tick
	sweepAt int   // the next segment to sweep
	owed    int64 // sweeps owed, in quarter windows' ticks × segments
	kept    int
	bytes   int64

	sink uint64 // what touch loaded, so that it is loaded
}

const (
	segmentCount = 256
	touchAhead   = 256 // fingerprints whose cache lines are fetched together
)

func newWindow(clock quantiser, b *budget) *window {
	w := &window{clock: clock, budget: b}
	w.empty()
	return w
}

func (w *window) empty() {
	for i := range w.segments {
		w.segments[i] = segment{first: uint64(i) << 56}
	}
}

// see records that a batch appended at tick holds these fingerprints, sets duplicate[i] for those that were seen within the
// window, earlier in this batch included, and returns how many those are. It must follow a reserve of the same fingerprints.
func (w *window) see(fingerprints []uint64, tick int64, duplicate []bool) int {
	span, now := uint32(w.clock.span), stampOf(tick)
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
			known, age := w.segments[f>>56].put(f, now)
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
	sink := uint64(0)
	for _, f := range fingerprints {
		sink += w.segments[f>>56].touch(f)
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
	live := w.live(s)
	switch {
	case live == 0:
		w.resize(s, 0)
	case bucketsFor(live) < s.buckets()/2:
		w.resize(s, bucketsFor(live))
	case live < s.used:
		w.resize(s, s.buckets())
	}
}

func (w *window) live(s *segment) int { return s.live(stampOf(w.last), uint32(w.clock.span)) }

// resize moves the entries that count to n buckets, which may be as many as before, and 0 if there are none. The budget has been asked for
// more; less is given back to it here.
func (w *window) resize(s *segment, n int) {
	grown := int64(n-s.buckets()) * bucketBytes
	if grown < 0 {
		w.budget.give(-grown)
	}
	w.bytes += grown
	w.kept -= s.used
	w.scratch.copyOf(s)
	s.reshape(n)
	w.scratch.refill(s, stampOf(w.last), uint32(w.clock.span))
	w.kept += s.used
}

// clear forgets everything and returns its memory to the budget.
func (w *window) clear() {
	w.budget.give(w.bytes)
	w.empty()
	w.scratch = scratch{}
	w.bytes, w.kept, w.owed = 0, 0, 0
}
