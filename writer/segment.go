package writer

import "math/bits"

// A segment is an open-addressing table of the fingerprints that begin with one byte and the stamps of their last sightings. An entry lies
// in the first bucket from its home on that was not full when it came. Buckets fill a cache line each. There are two forms:
//
//	small: 5 fingerprints, their stamps, how many are in use; up to 255 buckets
//	large: 8 words of 48 bits of the fingerprint, 4 bits of distance from home, 12 bits of stamp; 256 buckets and more
//
// The home of a fingerprint is a fraction of the table, bits 8 to 63 of it times the number of buckets; a word holds what that
// leaves over of the product. Home and rest give back the whole fingerprint: nothing is taken for something else.
type segment struct {
	first uint64 // the byte, in its place
	small []smallBucket
	large []*page
	drop  uint              // of the rest of the product: bits that say nothing more
	spill map[uint64]uint32 // large: stamps of entries that found no room within the distance; hardly ever any
	used  int               // entries, expired ones included
}

type smallBucket struct {
	fingerprints [smallSlots]uint64
	stamps       [smallSlots]uint32
	used         uint32
}

type largeBucket [largeSlots]uint64 // 0: free, and so are those behind it

// A page is the unit in which large segments grow, so that growing leaves nothing to the garbage collector.
type page [pageBuckets]largeBucket

const (
	smallSlots  = 5
	largeSlots  = 8
	bucketBytes = 64
	pageBuckets = 64

	leastLarge    = 256 // buckets from which on 48 bits are enough: 56 less their logarithm
	mostSmall     = 800 // entries that a small segment is made for
	distances     = 16
	stampBits     = 12
	distanceShift = stampBits
	restShift     = stampBits + 4
)

// stamps is how many stamps there are, beginning with 1. It is far more than the oldest entry's age: see window.
const stamps = 1<<stampBits - 1

// stampOf says when, in a circle.
func stampOf(tick int64) uint32 { return uint32(tick%stamps) + 1 }

// age returns the ticks from one stamp to a later one.
func age(now, then uint32) uint32 {
	if now < then {
		now += stamps
	}
	return now - then
}

func (s *segment) buckets() int {
	if s.large != nil {
		return len(s.large) * pageBuckets
	}
	return len(s.small)
}

// place returns the home of a fingerprint in a large segment and the rest that tells it from others of the same home.
func (s *segment) place(f uint64) (home, rest uint64) {
	home, low := bits.Mul64(f<<8, uint64(len(s.large)*pageBuckets))
	return home, low >> 8 >> s.drop
}

// restore is the inverse of place: the only fingerprint with that home and rest.
func (s *segment) restore(home, rest uint64) uint64 {
	n := uint64(s.buckets())
	quotient, remainder := bits.Div64(home>>8, home<<56|rest<<s.drop, n)
	if remainder > 0 {
		quotient++
	}
	return s.first | quotient
}

func (s *segment) at(bucket uint64) *largeBucket {
	return &s.large[bucket/pageBuckets][bucket%pageBuckets]
}

// touch loads the bucket where the search for a fingerprint begins.
func (s *segment) touch(f uint64) uint64 {
	switch {
	case s.large != nil:
		home, _ := bits.Mul64(f<<8, uint64(len(s.large)*pageBuckets))
		return s.at(home)[0]
	case len(s.small) > 0:
		home, _ := bits.Mul64(f<<8, uint64(len(s.small)))
		return uint64(s.small[home].used)
	}
	return 0
}

// put sets the stamp of a fingerprint. If it was there already, put returns its age before that.
func (s *segment) put(f uint64, now uint32) (known bool, before uint32) {
	if s.large != nil {
		return s.putLarge(f, now)
	}
	home, _ := bits.Mul64(f<<8, uint64(len(s.small)))
	for {
		b := &s.small[home]
		for i := range b.fingerprints {
			if b.fingerprints[i] == f {
				before = age(now, b.stamps[i])
				b.stamps[i] = now
				return true, before
			}
		}
		if b.used < smallSlots {
			b.fingerprints[b.used], b.stamps[b.used] = f, now
			b.used++
			s.used++
			return false, 0
		}
		if home++; home == uint64(len(s.small)) {
			home = 0
		}
	}
}

func (s *segment) putLarge(f uint64, now uint32) (known bool, before uint32) {
	n := uint64(len(s.large) * pageBuckets)
	at, rest := s.place(f)
	word := rest << restShift
	for range distances {
		b := s.at(at)
		for i, have := range b {
			if (have^word)>>distanceShift == 0 && have != 0 {
				b[i] = word | uint64(now)
				return true, age(now, uint32(have&stamps))
			}
		}
		if b[largeSlots-1] == 0 {
			b[b.free()] = word | uint64(now)
			s.used++
			return false, 0
		}
		word += 1 << distanceShift
		if at++; at == n {
			at = 0
		}
	}
	return s.putSpill(f, now)
}

// free returns the first free place of a bucket that has one.
func (b *largeBucket) free() int {
	i := 0
	if b[largeSlots/2-1] != 0 {
		i = largeSlots / 2
	}
	for b[i] != 0 {
		i++
	}
	return i
}

// add puts an entry of a large segment that is not there.
func (s *segment) add(home, rest uint64, stamp uint32) {
	word := rest<<restShift | uint64(stamp)
	n := uint64(len(s.large) * pageBuckets)
	at := home
	for range distances {
		if b := s.at(at); b[largeSlots-1] == 0 {
			b[b.free()] = word
			s.used++
			return
		}
		word += 1 << distanceShift
		if at++; at == n {
			at = 0
		}
	}
	s.putSpill(s.restore(home, rest), stamp)
}

func (s *segment) putSpill(f uint64, now uint32) (known bool, before uint32) {
	then, known := s.spill[f]
	if s.spill == nil {
		s.spill = map[uint64]uint32{}
	}
	s.spill[f] = now
	if known {
		return true, age(now, then)
	}
	s.used++
	return false, 0
}

// live counts the entries that have not expired.
func (s *segment) live(now, span uint32) int {
	n := 0
	for i := range s.small {
		b := &s.small[i]
		for _, then := range b.stamps[:b.used] {
			if age(now, then) <= span {
				n++
			}
		}
	}
	for _, p := range s.large {
		for i := range p {
			for _, word := range p[i] {
				if word != 0 && age(now, uint32(word&stamps)) <= span {
					n++
				}
			}
		}
	}
	for _, then := range s.spill {
		if age(now, then) <= span {
			n++
		}
	}
	return n
}

// limit is how many entries a segment takes before it is cleaned or grown, comfort how many may be left after cleaning without growing,
// most how many it takes when it can't grow.
func (s *segment) limit() int   { return s.slots() * 7 / 8 }
func (s *segment) comfort() int { return s.slots() * 4 / 5 }
func (s *segment) most() int    { return s.slots() * 15 / 16 }

func (s *segment) slots() int { return len(s.small)*smallSlots + len(s.large)*pageBuckets*largeSlots }

// bucketsFor returns how many buckets hold n entries at two thirds full if there are few, else at about three quarters.
func bucketsFor(n int) int {
	if n <= mostSmall {
		return max(n*3/(2*smallSlots)+1, 2)
	}
	pages := (n*4/3 + pageBuckets*largeSlots - 1) / (pageBuckets * largeSlots)
	return max(pages*pageBuckets, leastLarge)
}
