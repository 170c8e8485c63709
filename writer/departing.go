package writer

import (
	"errors"
	"fmt"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// A refusedError says that a request of several batches can never be applied: one of those below next is to blame.
type refusedError struct {
	next  uint64
	cause error
}

func (e *refusedError) Error() string { return e.cause.Error() }
func (e *refusedError) Unwrap() error { return e.cause }

// flight is a flush under way.
type flight struct {
	request *wire.ApplyRequest
	started time.Time
	oldest  int64 // append time of its first batch; 0: none
	events  int64
	took    time.Duration // from freezing on; set before done
	attempt time.Duration // of it, the last attempt
	done    chan error
}

// softBytes is when a request is due for its size: half of what one may have, to leave room for the batch that goes beyond.
const softBytes = wire.MaxApplyBytes / 2

// keptNames bounds the dictionary, in multiples of the rows of a flush: a larger one is begun anew.
const keptNames = 2

// dueIn returns how long it is until the next flush is due. A lengthened interval pays only while events keep coming that share rows.
func (p *pass) dueIn() time.Duration {
	after := p.pace.dueAfter(p.cells.count)
	if p.cells.count > 0 && time.Since(p.heard) >= p.quiet() {
		after = min(after, p.pace.least)
	}
	return after - time.Since(p.started)
}

// quiet is how long no event has come when none is expected any more.
func (p *pass) quiet() time.Duration { return max(p.pace.least/2, 2*p.gap()) }

// turn takes note of a flush that has ended and starts the next if it is due.
func (p *pass) turn() error {
	if p.flight != nil {
		select {
		case err := <-p.flight.done:
			if err := p.landed(err); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	if !p.dirty() || p.slot == nil && !p.full() && p.dueIn() > 0 {
		return nil
	}
	if p.slot == nil {
		p.slot = p.flusher.askSlot()
	}
	// What is read until the slot is had goes with this flush, instead of waiting frozen.
	if p.slot.isHad() {
		p.depart()
	}
	return nil
}

// waiting tells whether a flush that is due waits for its slot.
func (p *pass) waiting() bool { return p.flight == nil && p.slot != nil }

// dirty tells whether a flush would change the checkpoint.
func (p *pass) dirty() bool {
	return p.next > p.committed.NextOffset || p.asOf > p.committed.AsOf
}

// depart freezes what is counted and sends it, with the slot that was asked for if there is one. Without rows that is a heartbeat.
func (p *pass) depart() {
	rows := p.cells.take(p.buffers.take())
	if len(p.names.names) > keptNames*p.flush.MaxRows {
		p.names = newDictionary(p.partition, p.partitions)
	}
	oldest := p.clock.oldest(p.asOf)
	p.marks.forget(oldest)
	f := &flight{
		request: &wire.ApplyRequest{
			Partition: p.partition, Epoch: p.epoch, Expected: p.committed.NextOffset, Next: p.next, WindowFrom: p.marks.from(oldest, p.next),
			AsOf: p.asOf, Incarnation: p.incarnation, Checksum: p.checksum, Rows: rows,
		},
		started: time.Now(), oldest: p.oldest, events: p.pending, done: make(chan error, 1),
	}
	p.flight, p.started, p.pending, p.oldest = f, f.started, 0, 0
	if f.oldest > 0 {
		p.metrics.flushWait.Observe(sinceMs(f.oldest))
	}
	slot := p.slot
	p.slot = nil
	go func() {
		attempt, err := p.flusher.apply(p.hard, slot, f.request)
		f.took, f.attempt = time.Since(f.started), attempt
		f.done <- err
	}()
}

// land waits for the flush under way, if there is one.
func (p *pass) land() error {
	if p.flight == nil {
		return nil
	}
	return p.landed(<-p.flight.done)
}

// landed notes the outcome of the flush under way.
func (p *pass) landed(err error) error {
	f := p.flight
	p.flight = nil
	if err != nil {
		if unapplicable, ok := errors.AsType[*unapplicableError](err); ok {
			return &refusedError{f.request.Next, unapplicable}
		}
		return err
	}
	r := f.request
	defer p.buffers.giveBack(r.Rows)
	p.committed.NextOffset, p.committed.AsOf, p.committed.WindowFrom = r.Next, r.AsOf, r.WindowFrom
	p.committed.Incarnation, p.committed.Checksum = r.Incarnation, r.Checksum
	p.observe(f)
	p.publish()
	return nil
}

// sinceMs returns the seconds since an append time.
func sinceMs(appendTime int64) float64 {
	return max(time.Since(time.UnixMilli(appendTime)), 0).Seconds()
}

func (p *pass) observe(f *flight) {
	if len(f.request.Rows) == 0 {
		p.metrics.heartbeats.Inc()
	} else {
		p.metrics.rowFlushes.Inc()
		p.metrics.flushRows.Add(float64(len(f.request.Rows)))
	}
	p.metrics.flushSeconds.Observe(f.took.Seconds())
	if f.oldest > 0 {
		p.metrics.countDelay.Observe(sinceMs(f.oldest))
	}
	lag := time.Duration(0)
	if p.end > p.next {
		lag = max(time.Since(time.UnixMilli(p.asOf)), 0)
	}
	p.pace.flushed(f.took, lag)
	p.pace.applied(len(f.request.Rows), f.attempt)
	p.maxRows = p.pace.rows
}

// flushAlone commits one batch by itself. If the shard refuses it, it is set aside, under a new epoch: nothing that
// was sent with its rows can be applied after that.
func (p *pass) flushAlone(r *eventlog.Record) error {
	if err := p.land(); err != nil {
		return err
	}
	p.depart()
	err := p.land()
	refused, ok := errors.AsType[*refusedError](err)
	if !ok {
		return err
	}
	// Its rows are gone: until it is set aside it is the next batch again, for heartbeats and for the last flush of a stop.
	asOf := p.asOf
	p.next, p.asOf, p.checksum = r.Offset, r.AppendTime, p.committed.Checksum
	stored, err := p.claim()
	if err != nil {
		return err
	}
	if stored.NextOffset != p.committed.NextOffset || stored.Incarnation != p.committed.Incarnation {
		return &rewoundError{stored}
	}
	p.metrics.status.set(StateCounting)
	if err := p.setAside(r, reasonUnapplicable, refused.cause); err != nil {
		return err
	}
	if err := p.land(); err != nil { // a heartbeat meanwhile
		return err
	}
	p.next, p.asOf, p.checksum = r.Offset+1, asOf, r.Checksum
	p.depart()
	if err := p.land(); err != nil {
		return fmt.Errorf("pass over the dead letter at offset %d: %w", r.Offset, err)
	}
	return nil
}
