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
	mostGCPercent   = 100 // Go's own
	leastGCPercent  = 5
	headroomMetric  = "/gc/heap/live:bytes"
	newsOfGCPercent = 10 // one part in so many: smaller changes are left alone
)

// withHeadroom returns run with a garbage collector that begins when the heap has grown by about so many bytes, instead of in proportion to
// what lives. GOGC in the environment has precedence.
func withHeadroom(bytes uint64, run func(context.Context) error) func(context.Context) error {
	if os.Getenv("GOGC") != "" {
		return run
	}
	return func(ctx context.Context) error {
		watching, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { keepHeadroom(watching, bytes) })
		defer watch.Wait()
		defer stop()
		return run(ctx)
	}
}

func keepHeadroom(ctx context.Context, bytes uint64) {
	sample := []metrics.Sample{{Name: headroomMetric}}
	ticker := time.NewTicker(headroomEvery)
	defer ticker.Stop()
	for current := 0; ; {
		metrics.Read(sample)
		percent := gcPercent(bytes, sample[0].Value.Uint64())
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

// gcPercent returns by how many percent of what lives the heap may grow for so many bytes.
func gcPercent(headroom, live uint64) int {
	return int(min(max(100*headroom/max(live, 1), leastGCPercent), mostGCPercent))
}
