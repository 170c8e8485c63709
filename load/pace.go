package load

import (
	"context"
	"sync"
	"time"

	"github.com/quipudb/quipu/internal/wait"
)

// pacer spreads batches evenly over time. A batch that is late keeps its due time, so that its latency tells how late it was
// (no coordinated omission), and those after it make up for it.
type pacer struct {
	interval time.Duration // between batches; 0: no pace

	mu   sync.Mutex // guards next
	next time.Time
}

func newPacer(begin time.Time, rate float64, batch int) *pacer {
	p := &pacer{next: begin}
	if rate > 0 {
		p.interval = max(1, time.Duration(float64(batch)/rate*float64(time.Second)))
	}
	return p
}

// wait returns when the next batch is due, with that time: now, without a pace. It returns false when ctx has ended.
func (p *pacer) wait(ctx context.Context) (due time.Time, ok bool) {
	now := time.Now()
	if p.interval == 0 {
		return now, ctx.Err() == nil
	}
	p.mu.Lock()
	due = p.next
	p.next = due.Add(p.interval)
	p.mu.Unlock()
	return due, wait.For(ctx, due.Sub(now)) == nil
}
