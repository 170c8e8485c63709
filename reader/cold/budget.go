package cold

import (
	"errors"
	"sync/atomic"
)

// ErrTooMuch ends what would read more than its budget.
var ErrTooMuch = errors.New("more bytes of cold storage than one question may read")

// Budget is how many bytes of objects may be read for one question, all its parts together.
type Budget struct {
	limit int64
	spent atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// Limit returns what the budget was.
func (b *Budget) Limit() int64 { return b.limit }

// spend takes bytes from the budget, or refuses.
func (b *Budget) spend(bytes int64) error {
	if b.spent.Add(bytes) > b.limit {
		return ErrTooMuch
	}
	return nil
}
