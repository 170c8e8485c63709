package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// A worker counts one partition from the moment its lease is held until it is asked to stop or is fenced. It is one goroutine, and
// a second one while a flush is under way.
type worker struct {
	partition  int
	partitions int
	id         string

	log         eventlog.Reader
	proxy       Proxy
	flusher     *flusher
	windows     *budget
	buffers     *rowBuffers
	rebuilds    chan struct{} // bounds how many windows are rebuilt at once
	deadLetters deadLetters
	clock       quantiser
	flush       Flush
	read        Read
	logger      *slog.Logger
	metrics     *partitionMetrics

	// soft ends when the worker shall stop reading, flush once more and return; hard when it shall return at once.
	soft, hard context.Context

	epoch   uint64 // the last one claimed
	maxRows int    // how large a flush may get, as learnt
	careful uint64 // offsets below are flushed batch by batch: among them is one that the shard refused
}

// An identityError is a contradiction between log and checkpoint. Counting on would count wrongly.
type identityError struct{ cause error }

func (e *identityError) Error() string { return e.cause.Error() }
func (e *identityError) Unwrap() error { return e.cause }

func contradiction(format string, args ...any) error {
	return &identityError{fmt.Errorf(format, args...)}
}

// run returns nil when it was asked to stop, and otherwise a *fencedError or the end of the hard context.
func (w *worker) run() error {
	pause := newBackoff()
	var resume *wire.Checkpoint
	for {
		checkpoint, err := w.checkpoint(resume)
		resume = nil
		started := time.Now()
		if err == nil {
			err = newPass(w, checkpoint).run()
		}
		if w.soft.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return w.hard.Err()
		}
		if time.Since(started) > pause.most {
			pause.reset()
		}
		rest := pause.next(0)
		if resume, rest, err = w.afterwards(err, rest); err != nil {
			return err
		}
		if wait.For(w.soft, rest) != nil {
			return w.hard.Err()
		}
	}
}

// checkpoint returns where to go on: where a rewind found the checkpoint, or what a new claim says.
func (w *worker) checkpoint(resume *wire.Checkpoint) (wire.Checkpoint, error) {
	if resume != nil {
		return *resume, nil
	}
	return w.claim()
}

// afterwards decides what follows the end of a pass: from where to resume (nil: claim again) and after what rest, or the
// error that ends the worker.
func (w *worker) afterwards(err error, rest time.Duration) (*wire.Checkpoint, time.Duration, error) {
	var (
		rewound  *rewoundError
		fenced   *fencedError
		identity *identityError
		refused  *refusedError
		slow     *slowError
	)
	switch {
	case errors.As(err, &rewound):
		w.metrics.rewinds.Inc()
		w.logger.Warn("checkpoint is elsewhere, rebuilding from it", "offset", rewound.stored.NextOffset, "epoch", rewound.stored.Epoch)
		if rewound.stored.Epoch == w.epoch {
			return &rewound.stored, rest, nil
		}
		return nil, rest, nil
	case errors.As(err, &fenced) && fenced.stored != nil && fenced.stored.Epoch < w.epoch:
		// Nobody took over: the database fell back behind our claim.
		w.metrics.rewinds.Inc()
		w.logger.Warn("stored epoch is behind ours, claiming again", "epoch", w.epoch, "stored_epoch", fenced.stored.Epoch)
		return nil, rest, nil
	case errors.As(err, &fenced):
		return nil, 0, err
	case errors.As(err, &identity):
		w.metrics.status.set(StateStopped)
		w.logger.Error("partition is stopped: it would be counted wrongly", "epoch", w.epoch, "error", err)
		return nil, stoppedRetry, nil
	case errors.As(err, &refused):
		w.careful = max(w.careful, refused.next)
		w.logger.Warn("rows were refused, flushing batch by batch to find which", "offset", refused.next, "error", err)
		return nil, rest, nil
	case errors.As(err, &slow):
		w.maxRows = max(slow.rows/2, leastRows)
		w.logger.Warn("flush never ends in time, going on with smaller ones", "epoch", w.epoch, "max_rows", w.maxRows, "error", err)
		return nil, rest, nil
	case w.hard.Err() != nil:
		return nil, 0, w.hard.Err()
	}
	w.logger.Warn("partition starts over", "error", err)
	return nil, rest, nil
}

// claim takes a new epoch, trying for as long as the worker runs.
func (w *worker) claim() (wire.Checkpoint, error) {
	w.metrics.status.set(StateClaiming)
	pause := newBackoff()
	for {
		stored, err := w.claimOnce()
		if err == nil {
			return stored, nil
		}
		rest := pause.next(retryAfter(err))
		if pause.notable() && w.soft.Err() == nil {
			w.logger.Warn("claim failed, trying again", "attempts", pause.failures, "error", err)
		}
		if err := wait.For(w.soft, rest); err != nil {
			return wire.Checkpoint{}, err
		}
	}
}

func (w *worker) claimOnce() (wire.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(w.soft, claimTimeout)
	defer cancel()
	stored, err := w.proxy.Claim(ctx, wire.ClaimRequest{Partition: w.partition, Owner: w.id, MinEpoch: w.epoch + 1})
	if err != nil {
		return wire.Checkpoint{}, fmt.Errorf("claim partition %d: %w", w.partition, err)
	}
	if stored.Epoch <= w.epoch || stored.Partition != w.partition {
		return wire.Checkpoint{}, fmt.Errorf("claim partition %d: answer is epoch %d of partition %d, our last epoch is %d",
			w.partition, stored.Epoch, stored.Partition, w.epoch)
	}
	w.epoch = stored.Epoch
	w.metrics.claims.Inc()
	w.metrics.status.epoch.Store(stored.Epoch)
	w.logger.Info("partition claimed", "epoch", stored.Epoch, "offset", stored.NextOffset)
	return *stored, nil
}
