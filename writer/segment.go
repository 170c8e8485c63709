package writer

import "math/bits"

const (
	bucketSlots = 5
	bucketBytes = 64
)

// bucket is one cache line.
type bucket struct {
	fingerprints [bucketSlots]uint64
	ticks        [bucketSlots]uint32
	used         uint32
}

// segment is an open-addressing table: an entry lies in the first bucket from its home on that was not full when it came.
type segment struct {
	buckets []bucket
	used    int // entries, expired ones included
}

// home returns the bucket where the search for a fingerprint begins.
func (s *segment) home(f uint64) uint64 {
	hi, _ := bits.Mul64(f<<8, uint64(len(s.buckets)))
	return hi
}

// put sets the tick of a fingerprint. If it was there already, put returns its age before that.
func (s *segment) put(f uint64, tick uint32) (known bool, age uint32) {
	at := s.home(f)
	for {
		b := &s.buckets[at]
		for i := range b.fingerprints {
			if b.fingerprints[i] == f {
				age = tick - b.ticks[i]
				b.ticks[i] = tick
				return true, age
			}
		}
		if b.used < bucketSlots {
			b.fingerprints[b.used], b.ticks[b.used] = f, tick
			b.used++
			s.used++
			return false, 0
		}
		if at++; at == uint64(len(s.buckets)) {
			at = 0
		}
	}
}

// live counts the entries that have not expired.
func (s *segment) live(now, span uint32) int {
	n := 0
	for i := range s.buckets {
		b := &s.buckets[i]
		for j := range b.used {
			if now-b.ticks[j] <= span {
				n++
			}
		}
	}
	return n
}

// limit is how many entries a segment takes before it is cleaned or grown, comfort how many may be left after
// cleaning without growing, most how many it takes when it can't grow.
func (s *segment) limit() int   { return len(s.buckets) * bucketSlots * 7 / 8 }
func (s *segment) comfort() int { return len(s.buckets) * bucketSlots * 3 / 4 }
func (s *segment) most() int    { return len(s.buckets) * bucketSlots * 31 / 32 }

// bucketsFor returns how many buckets hold n entries at two thirds full.
func bucketsFor(n int) int { return max(n*3/(2*bucketSlots)+1, 2) }
