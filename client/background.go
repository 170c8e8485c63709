package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/quipudb/quipu/event"
)

// startLocked begins a batch and sees to it that it leaves when Linger has passed.
func (p *Producer) startLocked() {
	b := &parcel{done: make(chan struct{})}
	b.linger = time.AfterFunc(p.cfg.Linger, func() { p.lingered(b) })
	p.filling = b
}

func (p *Producer) lingered(b *parcel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filling == b {
		p.sealLocked()
	}
}

func (p *Producer) sealFilling() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealLocked()
}

// sealLocked hands the batch under way, if there is one, to the workers.
func (p *Producer) sealLocked() {
	if p.filling == nil {
		return
	}
	p.filling.linger.Stop()
	p.sealed = append(p.sealed, p.filling)
	p.outstanding[p.filling] = struct{}{}
	p.filling = nil
	p.changed.Signal()
}

// work delivers batches until the producer is closed and nothing is left.
func (p *Producer) work(ctx context.Context) {
	for b := p.take(ctx); b != nil; b = p.take(ctx) {
		report := p.sender.Deliver(ctx, &b.Batch)
		p.stats.accepted.Add(int64(report.Accepted))
		p.stats.retries.Add(int64(max(0, report.Attempts-1)))
		p.tellLosses(b, report.Losses)
		p.settle(b)
	}
}

func (p *Producer) take(ctx context.Context) *parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.sealed) == 0 {
		if ctx.Err() != nil {
			return nil
		}
		p.changed.Wait()
	}
	b := p.sealed[0]
	p.sealed[0] = nil
	p.sealed = p.sealed[1:]
	return b
}

func (p *Producer) tellLosses(b *parcel, losses []Loss) {
	if len(losses) == 0 {
		return
	}
	p.stats.lost.Add(int64(len(losses)))
	b.lost = len(losses)
	p.lossMu.Lock()
	defer p.lossMu.Unlock()
	for _, loss := range losses {
		loss.Event = decodeEvent(b.Event(loss.Index))
		p.cfg.OnLoss(loss)
	}
}

func (p *Producer) settle(b *parcel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.outstanding, b)
	p.room.Release(b.weight)
	close(b.done)
}

// decodeEvent reads what AppendEvent wrote.
func decodeEvent(object []byte) event.Event {
	var e struct {
		Type, Key, ID string
		Time          int64
		Value         *int64
		Weight        int64
	}
	if err := json.Unmarshal(object, &e); err != nil {
		panic("own encoding of an event can't be read: " + err.Error())
	}
	out := event.Event{Type: e.Type, Key: e.Key, ID: e.ID, TimeMs: e.Time, Weight: e.Weight}
	if e.Value != nil {
		out.Value, out.HasValue = *e.Value, true
	}
	if out.Weight == 0 {
		out.Weight = 1
	}
	return out
}
