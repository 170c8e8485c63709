package balance

import "sync"

// What a call earns, and what can be saved up: a fifth of a retry, up to a hundred; of hedges, the configured share, up to ten.
const (
	retriesPerCall = 0.2
	retriesMost    = 100
	hedgesMost     = 10
)

// budget bounds extra calls to a share of the calls.
type budget struct {
	perCall, most float64

	mu    sync.Mutex
	saved float64
}

func newBudget(perCall, most float64) *budget {
	return &budget{perCall: perCall, most: most, saved: most}
}

func (b *budget) called() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = min(b.most, b.saved+b.perCall)
}

// take spends one, if there is one.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
