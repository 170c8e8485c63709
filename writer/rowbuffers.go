package writer

import (
	"sync"

	"github.com/quipudb/quipu/wire"
)

// rowBuffers lends the memory that the rows of a flush take while it is under way: few flushes are at a time, of many partitions. What nobody
// uses goes with the garbage. It is safe for concurrent use.
type rowBuffers struct{ pool sync.Pool }

func (b *rowBuffers) take() []wire.Row {
	if rows, ok := b.pool.Get().(*[]wire.Row); ok {
		return *rows
	}
	return nil
}

// giveBack takes rows that nobody reads any more.
func (b *rowBuffers) giveBack(rows []wire.Row) {
	clear(rows)
	rows = rows[:0]
	b.pool.Put(&rows)
}
