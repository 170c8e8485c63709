package writer

import (
	"math/rand/v2"
	"time"
)

// A backoff spaces retries: exponential, with jitter over the upper half.
type backoff struct {
	least, most time.Duration
	failures    int
}

func newBackoff() backoff { return backoff{least: 50 * time.Millisecond, most: 5 * time.Second} }

// newFlushBackoff looks sooner whether a shard takes counts again: they are late by as much.
func newFlushBackoff() backoff { return backoff{least: 50 * time.Millisecond, most: time.Second} }

// next returns how long to wait after another failure, at least as long as the peer asked for, within the bound.
func (b *backoff) next(asked time.Duration) time.Duration {
	d := min(b.least<<min(b.failures, 16), b.most)
	b.failures++
	d = d/2 + rand.N(d/2+1)
	return max(d, min(asked, b.most))
}

// notable tells whether the latest failure is worth a line in the log: the first and then every sixteenth.
func (b *backoff) notable() bool { return b.failures%16 == 1 }

func (b *backoff) reset() { b.failures = 0 }
