package shardproxy

import "sync"

// tide remembers how high as-of stood in the answers of earlier terms. After a promotion it may stand lower until the log was
// replayed: counts that somebody saw are missing until then, and answers say so.
type tide struct {
	mu      sync.Mutex
	term    uint64
	highest map[int]int64 // by partition, in this term
	before  map[int]int64 // by partition, in earlier terms
}

// observe takes an answer's as-of and tells whether a promotion set it back.
func (t *tide) observe(term uint64, asOf map[int]int64) (setBack bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.highest == nil {
		t.term, t.highest, t.before = term, map[int]int64{}, map[int]int64{}
	}
	if term > t.term {
		for partition, at := range t.highest {
			t.before[partition] = max(t.before[partition], at)
		}
		clear(t.highest)
		t.term = term
	}
	for partition, at := range asOf {
		if at < t.before[partition] {
			setBack = true
		} else if term == t.term {
			delete(t.before, partition)
		}
		if term == t.term {
			t.highest[partition] = max(t.highest[partition], at)
		}
	}
	return setBack
}
