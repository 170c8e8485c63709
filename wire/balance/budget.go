package balance

import "sync"

// The budget of retries: a call earns a fifth of a retry, and up to a hundred can be saved up.
const (
	budgetMost    = 100.0
	budgetPerCall = 0.2
)

type budget struct {
	mu    sync.Mutex
	saved float64
}

func newBudget() *budget { return &budget{saved: budgetMost} }

func (b *budget) called() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = min(budgetMost, b.saved+budgetPerCall)
}

// take spends one retry, if there is one.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved < 1 {
		return false
	}
	b.saved--
	return true
}
