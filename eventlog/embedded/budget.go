package embedded

import "sync"

// budget bounds the bytes of all segment files together.
type budget struct {
	limit int64

	mu      sync.Mutex
	used    int64
	pending int64 // of appends on their way
}

// take reserves n bytes, or returns false.
func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+b.pending+n > b.limit {
		return false
	}
	b.pending += n
	return true
}

func (b *budget) giveBack(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending -= n
}

// add accounts for what files really hold; n is negative when one is deleted.
func (b *budget) add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

func (b *budget) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
