package writer

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// A pass counts a partition from a checkpoint on, for as long as the stored checkpoint moves only by its own flushes. Everything it
// knows follows from that checkpoint and the log; when the pass ends, all of it is dropped.
type pass struct {
	*worker
	committed   wire.Checkpoint // as stored, by the last answer
	incarnation string          // of the log
	rebuildFrom uint64
	counting    bool // after verify and rebuild

	next     uint64 // the first batch not counted in memory
	asOf     int64  // every batch appended strictly before has an offset below next
	checksum uint32 // of the batch before next
	end      uint64 // of the log, as of the last read

	batch     event.Batch
	seen      []uint64
	duplicate []bool
	numbers   []uint32

	window *window
	marks  marks
	tick   int64
	names  *dictionary
	cells  *cells

	pace    pace
	heard   time.Time // when the last batch was read
	started time.Time // when the last flush began
	flight  *flight   // nil: none under way
	slot    *slot     // for the next flush; nil: it is not due
	pending int64     // events read since the last freeze
	oldest  int64     // append time of the first batch since then; 0: none
	mean    float64   // events of a batch, smoothed
}

func newPass(w *worker, stored wire.Checkpoint) *pass {
	return &pass{
		worker: w, committed: stored, next: max(stored.NextOffset, 1), asOf: stored.AsOf, checksum: stored.Checksum,
		window: newWindow(w.clock, w.windows), names: newDictionary(w.partition, w.partitions), cells: newCells(), pace: newPace(w.flush, w.maxRows),
	}
}

// run returns when the worker shall stop (the soft context's error) or when something says that this pass must not go on.
func (p *pass) run() error {
	defer p.close()
	p.metrics.status.set(StateRebuilding)
	p.publish()
	if err := p.verify(); err != nil {
		return err
	}
	if err := p.rebuild(); err != nil {
		return err
	}
	p.metrics.status.set(StateCounting)
	p.counting = true
	p.started = time.Now().Add(-phase(p.partition, p.flush.Interval))
	err := p.consume()
	if stop := p.soft.Err(); stop != nil && errors.Is(err, stop) {
		return p.finish()
	}
	return err
}

// phase spreads the partitions' flushes over the interval, also those of neighbours, which mostly lie in the same shard.
func phase(partition int, interval time.Duration) time.Duration {
	return time.Duration(bits.Reverse8(uint8(partition))>>4) * interval / 16
}

// consume reads, counts and flushes. It returns only errors. A read comes right before each flush, so that how often the log is
// read does not make answers older.
func (p *pass) consume() error {
	for {
		began := time.Now()
		chunk, err := p.readChunk(p.next, p.read.MaxBytes, p.patience())
		if err != nil {
			return err
		}
		p.end = max(chunk.End, chunk.Next)
		if err := p.take(&chunk); err != nil {
			return err
		}
		if err := p.turn(); err != nil {
			return err
		}
		if len(chunk.Records) > 0 && chunk.Next < chunk.End {
			continue
		}
		// At the end: let appends gather, rather than read them one by one.
		if err := p.lull(p.gap() - time.Since(began)); err != nil {
			return err
		}
	}
}

// gap is how long appends may gather between two reads: longer when flushes are rare.
func (p *pass) gap() time.Duration {
	return max(p.read.Interval, min(p.pace.current/readsPerFlush, longestGap))
}

const (
	readsPerFlush = 16
	longestGap    = 500 * time.Millisecond
)

// patience is how long a read at the end of the log waits for a batch: until the next flush is due.
func (p *pass) patience() time.Duration {
	due, most := p.dueIn(), p.pace.least
	if p.flight != nil || p.waiting() {
		due = max(due, p.read.Interval)
	}
	if p.cells.count > 0 {
		most = p.quiet()
	}
	return min(max(due, 0), most)
}

// take counts the batches of a chunk, in order.
func (p *pass) take(chunk *eventlog.Chunk) error {
	if len(chunk.Records) > 0 {
		p.heard = time.Now()
		p.metrics.readDelay.Observe(sinceMs(chunk.Records[0].AppendTime))
	}
	for i := range chunk.Records {
		r := &chunk.Records[i]
		if err := p.count(r); err != nil {
			return err
		}
		p.next, p.checksum = r.Offset+1, r.Checksum
		if i+1 < len(chunk.Records) {
			p.asOf = max(p.asOf, chunk.Records[i+1].AppendTime)
		} else {
			p.asOf = max(p.asOf, chunk.AsOf)
		}
		if p.next <= p.careful {
			if err := p.flushAlone(r); err != nil {
				return err
			}
		}
	}
	if len(chunk.Records) == 0 {
		p.asOf = max(p.asOf, chunk.AsOf)
		// What comes is appended at as-of or later: ids that have expired by then make room, also while nothing comes.
		p.tick = max(p.tick, p.clock.tick(p.asOf))
		p.window.advance(p.tick)
	}
	p.publish()
	return p.soft.Err()
}

// close drops the pass. Whoever ends one while a flush is under way has ended the hard context, or has its outcome.
func (p *pass) close() {
	if p.slot != nil {
		p.slot.giveBack()
		p.slot = nil
	}
	if p.flight != nil {
		<-p.flight.done
		p.flight = nil
	}
	p.window.clear()
	p.cells.reset()
	p.publish()
}

// finish flushes once more what is counted, for as long as the hard context allows. When that has ended, it may have ended a flush whose
// rows are gone: nothing may be sent beyond them.
func (p *pass) finish() error {
	if err := p.hard.Err(); err != nil {
		return err
	}
	if err := p.land(); err != nil {
		return err
	}
	if p.next == p.committed.NextOffset && p.cells.count == 0 {
		return nil
	}
	p.depart()
	if err := p.land(); err != nil {
		return fmt.Errorf("flush for the last time: %w", err)
	}
	return nil
}

// publish writes the figures that metrics show.
func (p *pass) publish() {
	s := p.metrics.status
	s.asOf.Store(p.committed.AsOf)
	s.next.Store(p.committed.NextOffset)
	unread := int64(p.end) - int64(min(p.next, p.end))
	inFlight := int64(0)
	if p.flight != nil {
		inFlight = p.flight.events
	}
	s.lagBatches.Store(int64(p.end) - int64(min(max(p.committed.NextOffset, 1), p.end)))
	s.lagEvents.Store(p.pending + inFlight + int64(float64(unread)*p.mean))
	s.cells.Store(int64(p.cells.count))
	s.windowIDs.Store(int64(p.window.kept))
	s.windowBytes.Store(p.window.bytes)
	s.interval.Store(int64(p.pace.current))
}
