package writer

import "math/bits"

// scratch holds what a segment had while it is laid out anew. Its memory is used again.
type scratch struct {
	small []smallBucket
	large []largeBucket
	spill map[uint64]uint32
	shape segment // the form that the copies are in
}

// copyOf takes a segment's entries.
func (c *scratch) copyOf(s *segment) {
	c.small = append(c.small[:0], s.small...)
	c.large = c.large[:0]
	for _, p := range s.large {
		c.large = append(c.large, p[:]...)
	}
	c.spill, c.shape = s.spill, *s
}

// refill puts the entries that have not expired into the segment, which is empty.
func (c *scratch) refill(s *segment, now, span uint32) {
	for i := range c.small {
		b := &c.small[i]
		for j, stamp := range b.stamps[:b.used] {
			if age(now, stamp) <= span {
				s.put(b.fingerprints[j], stamp)
			}
		}
	}
	for f, stamp := range c.spill {
		if age(now, stamp) <= span {
			s.put(f, stamp)
		}
	}
	n := uint64(len(c.large))
	same := int(n) == s.buckets()
	for at := range c.large {
		for _, word := range c.large[at] {
			if word == 0 {
				break
			}
			stamp := uint32(word & stamps)
			if age(now, stamp) > span {
				continue
			}
			home, rest := uint64(at)-word>>distanceShift%distances, word>>restShift
			if home >= n {
				home += n // it went around the end
			}
			switch {
			case same:
				s.add(home, rest, stamp)
			case s.large != nil:
				home, rest = s.place(c.shape.restore(home, rest))
				s.add(home, rest, stamp)
			default:
				s.put(c.shape.restore(home, rest), stamp)
			}
		}
	}
}

// reshape empties the segment and gives it a number of buckets.
func (s *segment) reshape(buckets int) {
	s.used, s.spill = 0, nil
	if buckets < leastLarge {
		s.large = nil
		if len(s.small) != buckets {
			s.small = make([]smallBucket, buckets)
		} else {
			clear(s.small)
		}
		return
	}
	s.small = nil
	pages := buckets / pageBuckets
	for _, p := range s.large[:min(pages, len(s.large))] {
		clear(p[:])
	}
	for len(s.large) < pages {
		s.large = append(s.large, new(page))
	}
	clear(s.large[pages:])
	s.large = s.large[:pages]
	s.drop = uint(bits.Len(uint(buckets))) - 1
}
