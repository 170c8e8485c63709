// Package wait pauses for a time that an end of the work cuts short.
package wait

import (
	"context"
	"time"
)

// For waits until d has passed and returns nil, or until ctx ends and returns ctx's error. A d of nothing or less does not wait.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
