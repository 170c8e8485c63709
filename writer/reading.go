package writer

import (
	"context"
	"errors"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/internal/wait"
)

// readOne returns the batch at an offset that lies within the log's bounds.
func (p *pass) readOne(offset uint64) (eventlog.Record, error) {
	chunk, err := p.readChunk(offset, 1, 0)
	if err != nil {
		return eventlog.Record{}, err
	}
	if len(chunk.Records) == 0 {
		return eventlog.Record{}, contradiction("the log has no batch at offset %d although it lies within its bounds", offset)
	}
	return chunk.Records[0], nil
}

// readChunk reads from an offset on and checks that the log is the one that was verified and leaves nothing out.
func (p *pass) readChunk(from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error) {
	chunk, err := retryRead(p, wait, func(ctx context.Context) (eventlog.Chunk, error) {
		return p.log.Read(ctx, p.partition, from, maxBytes, wait)
	})
	if err != nil {
		return chunk, err
	}
	if chunk.Incarnation != p.incarnation {
		return chunk, contradiction("the log became %s, it was %s", chunk.Incarnation, p.incarnation)
	}
	for i := range chunk.Records {
		if want := from + uint64(i); chunk.Records[i].Offset != want {
			return chunk, contradiction("the log went on at offset %d, not %d", chunk.Records[i].Offset, want)
		}
	}
	if want := from + uint64(len(chunk.Records)); chunk.Next != want {
		return chunk, contradiction("the log goes on at offset %d after %d batches from %d", chunk.Next, len(chunk.Records), from)
	}
	return chunk, nil
}

// retryRead calls the log until it answers, flushing meanwhile what is due. That an offset is gone or never was is a contradiction.
func retryRead[T any](p *pass, wait time.Duration, call func(context.Context) (T, error)) (T, error) {
	pause := newBackoff()
	for {
		ctx, cancel := context.WithTimeout(p.soft, p.read.Timeout+wait)
		answer, err := call(ctx)
		cancel()
		switch {
		case err == nil:
			return answer, nil
		case p.soft.Err() != nil:
			return answer, p.soft.Err()
		case errors.Is(err, eventlog.ErrTrimmed), errors.Is(err, eventlog.ErrBeyondEnd):
			return answer, contradiction("read the log: %w", err)
		}
		p.metrics.readErrors.Inc()
		again := pause.next(retryAfter(err))
		if pause.notable() {
			p.logger.Warn("reading the log failed, trying again", "offset", p.next, "attempts", pause.failures, "error", err)
		}
		if err := p.rest(again); err != nil {
			return answer, err
		}
	}
}

// rest waits, flushing meanwhile what is due. It returns the soft context's error when the worker shall stop.
func (p *pass) rest(d time.Duration) error {
	if !p.counting {
		return wait.For(p.soft, d)
	}
	until := time.Now().Add(d)
	for {
		if err := p.turn(); err != nil {
			return err
		}
		left := time.Until(until)
		if left <= 0 {
			return p.soft.Err()
		}
		if p.flight == nil && !p.waiting() && p.dirty() {
			left = min(left, max(p.dueIn(), time.Millisecond))
		}
		if err := p.await(left); err != nil {
			return err
		}
	}
}

// lull waits until d has passed or a flush is due, without starting one.
func (p *pass) lull(d time.Duration) error {
	until := time.Now().Add(d)
	for {
		left := time.Until(until)
		if p.flight == nil && !p.waiting() && p.dirty() {
			left = min(left, p.dueIn())
		}
		if left <= 0 || p.waiting() && p.slot.isHad() {
			return p.soft.Err()
		}
		if err := p.await(left); err != nil {
			return err
		}
	}
}

// await waits until the flush under way ends or the next one has its slot, the worker shall stop, or d has passed.
func (p *pass) await(d time.Duration) error {
	var done <-chan error
	var slot <-chan struct{}
	switch {
	case p.flight != nil:
		done = p.flight.done
	case p.slot != nil:
		slot = p.slot.had
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return p.landed(err)
	case <-slot:
		return nil
	case <-timer.C:
		return nil
	case <-p.soft.Done():
		return p.soft.Err()
	}
}

// startWatch returns a function that tells the time since.
func startWatch() func() time.Duration {
	started := time.Now()
	return func() time.Duration { return time.Since(started) }
}
