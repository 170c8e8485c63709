package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// A rewoundError says that the stored checkpoint is not the one that our rows continue from.
type rewoundError struct{ stored wire.Checkpoint }

func (e *rewoundError) Error() string {
	return fmt.Sprintf("checkpoint is at offset %d of epoch %d", e.stored.NextOffset, e.stored.Epoch)
}

// A fencedError says that the stored epoch is not ours.
type fencedError struct{ stored *wire.Checkpoint } // nil: the answer did not tell

func (e *fencedError) Error() string {
	if e.stored == nil {
		return "fenced"
	}
	return fmt.Sprintf("fenced by epoch %d of %s", e.stored.Epoch, e.stored.Owner)
}

// An unapplicableError says that a request can never be applied.
type unapplicableError struct{ cause error }

func (e *unapplicableError) Error() string { return e.cause.Error() }
func (e *unapplicableError) Unwrap() error { return e.cause }

// A slowError says that a flush ran out of time again and again. Whether it was committed is unknown; a new claim tells.
type slowError struct {
	rows  int
	cause error
}

func (e *slowError) Error() string { return e.cause.Error() }
func (e *slowError) Unwrap() error { return e.cause }

// slowAttempts is how often a flush may run out of time, one attempt after the other, before it is given up for smaller ones.
const slowAttempts = 3

// A flusher sends the requests of one partition, one at a time.
type flusher struct {
	proxy   Proxy
	slots   *shardSlots
	shard   func() string // of the partition, as the topology has it now
	timeout time.Duration
	log     *slog.Logger
	metrics *partitionMetrics
}

// apply tries until the request is committed (nil), is found to be out of place (*rewoundError, *fencedError, *unapplicableError) or too
// large for an attempt's time (*slowError), or the context ends. It returns how long the last attempt took. The first one uses the slot that
// is given, nil if there is none yet. Attempts are identical: one that was committed without our hearing of it makes the
// next one find the checkpoint at its own end, which is success (INV-4).
func (f *flusher) apply(ctx context.Context, s *slot, r *wire.ApplyRequest) (time.Duration, error) {
	pause, late := newFlushBackoff(), 0
	for {
		took, err := f.attempt(ctx, s, r)
		if err == nil {
			return took, nil
		}
		s = nil
		if verdict, final := judge(r, err); final {
			return took, verdict
		}
		if late++; wire.CodeOf(err) != wire.CodeDeadline {
			late = 0
		}
		if late == slowAttempts && len(r.Rows) > leastRows {
			return took, &slowError{len(r.Rows), err}
		}
		rest := pause.next(retryAfter(err))
		f.metrics.retries.Inc()
		if pause.notable() {
			f.log.Warn("flush failed, trying again", "offset", r.Expected, "epoch", r.Epoch, "attempts", pause.failures, "error", err)
		}
		if err := wait.For(ctx, rest); err != nil {
			return took, fmt.Errorf("flush offsets %d to %d: %w", r.Expected, r.Next, err)
		}
	}
}

func (f *flusher) attempt(ctx context.Context, s *slot, r *wire.ApplyRequest) (time.Duration, error) {
	if s == nil {
		s = f.askSlot()
	}
	if err := s.await(ctx); err != nil {
		return 0, err
	}
	defer s.giveBack()
	f.metrics.slotSeconds.Observe(time.Since(s.asked).Seconds())
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	began := time.Now()
	_, err := f.proxy.Apply(ctx, r)
	if code := wire.CodeOf(err); code == wire.CodeThrottled || code == wire.CodeOverloaded {
		f.metrics.throttled.Inc()
		f.slots.rest(f.shard(), retryAfter(err)) // for all partitions of the shard, however much they have
	}
	return time.Since(began), err
}

func (f *flusher) askSlot() *slot { return f.slots.ask(f.shard()) }

// judge tells what a failed attempt means, and whether that is final.
func judge(r *wire.ApplyRequest, err error) (verdict error, final bool) {
	problem, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return nil, false
	}
	stored := problem.Checkpoint
	switch problem.Code {
	case wire.CodeOffsetMoved:
		if stored == nil {
			return &fencedError{}, true
		}
		if committed(r, stored) {
			return nil, true
		}
		return &rewoundError{*stored}, true
	case wire.CodeFenced:
		return &fencedError{stored}, true
	case wire.CodeUnapplicable, wire.CodeTooLarge:
		return &unapplicableError{err}, true
	}
	// Everything else says nothing of these rows: a part is away, misrouted while the topology changes, or broken. It
	// is tried again for as long as it takes; the log keeps what is not counted.
	return nil, false
}

// committed tells whether a stored checkpoint is what this request writes. Within an epoch there is one set of rows between two
// offsets, because rows are only put together anew under a new epoch or after the checkpoint was found elsewhere.
func committed(r *wire.ApplyRequest, stored *wire.Checkpoint) bool {
	return r.Next > r.Expected && stored.NextOffset == r.Next && stored.Epoch == r.Epoch &&
		stored.Incarnation == r.Incarnation && stored.Checksum == r.Checksum
}

func retryAfter(err error) time.Duration {
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		return p.RetryAfter
	}
	return 0
}
