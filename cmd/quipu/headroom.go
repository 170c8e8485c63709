package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	headroomEvery   = time.Second
	headroomMetric  = "/gc/heap/live:bytes"
	newsOfGCPercent = 10 // one part in so many: smaller changes are left alone
)

// headroom says how far a role's heap grows before garbage is collected: by about so many bytes, but within bounds in percent of what lives, where
// Go's own is 100.
type headroom struct {
	bytes       uint64
	least, most int
}

// defaultHeadroom is of roles that hold little: what they collect often costs more than what they save.
var defaultHeadroom = headroom{bytes: 64 << 20, least: 100, most: 1600}

// withHeadroom returns run with a garbage collector that leaves so much room. GOGC in the environment has precedence.
func withHeadroom(h headroom, run func(context.Context) error) func(context.Context) error {
	if os.Getenv("GOGC") != "" {
		return run
	}
	return func(ctx context.Context) error {
		watching, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { h.keep(watching) })
		defer watch.Wait()
		defer stop()
		return run(ctx)
	}
}

func (h headroom) keep(ctx context.Context) {
	sample := []metrics.Sample{{Name: headroomMetric}}
	ticker := time.NewTicker(headroomEvery)
	defer ticker.Stop()
	for current := 0; ; {
		metrics.Read(sample)
		percent := h.percent(sample[0].Value.Uint64())
		if change := percent - current; max(change, -change)*newsOfGCPercent > current {
			debug.SetGCPercent(percent)
			current = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// percent returns by how many percent of what lives the heap may grow.
func (h headroom) percent(live uint64) int {
	return int(min(max(100*h.bytes/max(live, 1), uint64(h.least)), uint64(h.most)))
}
