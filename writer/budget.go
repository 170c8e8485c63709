package writer

import "sync/atomic"

// A budget bounds the bytes of the de-duplication windows of all partitions together. It is safe for concurrent use.
type budget struct {
	limit int64
	taken atomic.Int64
}

func newBudget(limit int64) *budget { return &budget{limit: limit} }

// take reserves bytes, all or none. Giving some back, bytes below 0, always succeeds.
func (b *budget) take(bytes int64) bool {
	if b.taken.Add(bytes) <= b.limit || bytes <= 0 {
		return true
	}
	b.taken.Add(-bytes)
	return false
}

func (b *budget) give(bytes int64) { b.taken.Add(-bytes) }
