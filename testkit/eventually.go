package testkit

import (
	"testing"
	"time"
)

const eventuallyPoll = 10 * time.Millisecond

// Eventually tries until try returns nil, and fails the test with the last error
// when it has not within timeout. Use it instead of sleeping.
func Eventually(t testing.TB, timeout time.Duration, try func() error) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	ticker := time.NewTicker(eventuallyPoll)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %v", timeout, err)
		}
	}
}
