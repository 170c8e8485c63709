package writer

// reserve makes room for fingerprints that may all be new. It returns false, having forgotten nothing that counts and taken nothing, when
// the budget does not allow that.
func (w *window) reserve(fingerprints []uint64, tick int64) bool {
	w.advance(tick)
	var wanted [segmentCount]int32
	for _, f := range fingerprints {
		if f != 0 {
			wanted[f>>56]++
		}
	}
	if w.makeRoom(&wanted) {
		return true
	}
	w.compact()
	return w.makeRoom(&wanted)
}

// makeRoom makes room for more entries in each segment, in all of them or in none: two windows that each hold on to a part of what they
// need would wait for each other for ever.
func (w *window) makeRoom(wanted *[segmentCount]int32) bool {
	var sizes, least [segmentCount]int32 // buckets: as should be, and as few as will do; 0: enough as it is
	should, must := int64(0), int64(0)
	for i, more := range wanted {
		s := &w.segments[i]
		if more == 0 || s.used+int(more) <= s.limit() {
			continue
		}
		live := w.live(s)
		sizes[i] = int32(s.buckets()) // dropping expired entries may be enough
		if live+int(more) > s.comfort() {
			sizes[i] = int32(max(bucketsFor(live+int(more)), s.buckets()))
		}
		least[i] = int32(s.buckets()) // fuller buckets are slower, not wrong
		if live+int(more) > s.most() {
			least[i] = sizes[i]
		}
		should += int64(int(sizes[i])-s.buckets()) * bucketBytes
		must += int64(int(least[i])-s.buckets()) * bucketBytes
	}
	switch {
	case w.budget.take(should):
	case w.budget.take(must):
		sizes = least
	default:
		return false
	}
	for i, size := range sizes {
		if size > 0 {
			w.resize(&w.segments[i], int(size))
		}
	}
	return true
}

// compact drops all expired entries and gives back all memory beyond what the others need.
func (w *window) compact() {
	for i := range w.segments {
		s := &w.segments[i]
		size := 0
		if live := w.live(s); live > 0 {
			size = min(bucketsFor(live), s.buckets())
		}
		if size < s.buckets() {
			w.resize(s, size)
		}
	}
}
