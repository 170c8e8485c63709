package writer

import (
	"errors"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

var errTooManyRows = errors.New("the batch adds up to more rows than one request may carry")

// count de-duplicates a batch and adds it to the cells, or sets it aside. The ids of a batch that is set aside count as seen:
// its events were accepted and are kept, so that sending them again must not count them beside what a repair will.
func (p *pass) count(r *eventlog.Record) error {
	damage := p.batch.Decode(r.Data)
	if damage == nil {
		p.seen = append(p.seen[:0], p.batch.Fingerprints...)
	} else {
		p.seen = fingerprints(p.seen, r)
	}
	if err := p.sight(r); err != nil {
		return err
	}
	p.metrics.batches.Inc()
	if damage != nil {
		return p.setAside(r, reasonUndecodable, damage)
	}
	p.metrics.events.Add(float64(p.batch.Len()))
	err := p.makeRoom(len(r.Data))
	if err != nil {
		return err
	}
	if p.numbers, err = p.names.translate(p.numbers[:0], p.batch.Keys); err != nil {
		return p.setAside(r, reasonMisplaced, err)
	}
	p.cells.add(&p.batch, p.numbers, p.names.names, p.duplicate)
	if p.cells.count > wire.MaxApplyRows {
		// It had the cells to itself: see makeRoom.
		p.cells.reset()
		return p.setAside(r, reasonTooManyRows, errTooManyRows)
	}
	if p.oldest == 0 {
		p.oldest = r.AppendTime
	}
	p.pending += int64(p.batch.Len())
	p.mean += (float64(p.batch.Len()) - p.mean) / 8
	return nil
}

// makeRoom flushes what is counted before the decoded batch is added, if the cells have reached their bound or might exceed what a
// request may carry. A flush under way is waited for: that is when reading pauses.
func (p *pass) makeRoom(batchBytes int) error {
	for p.full() || p.cells.count > 0 && !p.fits(batchBytes) {
		if p.flight == nil {
			p.depart()
			continue
		}
		if err := p.await(time.Second); err != nil {
			return err
		}
	}
	return nil
}

// full tells whether a flush is due for the size of what is counted.
func (p *pass) full() bool { return p.cells.count >= p.pace.rows || p.cells.bytes >= softBytes }

// fits tells whether one request may carry what is counted and the decoded batch, whatever that adds up to.
func (p *pass) fits(batchBytes int) bool {
	n := p.batch.Len()
	return p.cells.count+n <= wire.MaxApplyRows && p.cells.bytes+n*rowBytes+batchBytes <= wire.MaxApplyBytes
}

// fingerprints returns what DecodeFingerprints finds in a batch, nothing if it is damaged. A batch that decodes gives the same
// either way, so a rebuilt window knows what the first one knew (INV-7).
func fingerprints(dst []uint64, r *eventlog.Record) []uint64 {
	dst, err := event.DecodeFingerprints(dst[:0], r.Data)
	if err != nil {
		return dst[:0]
	}
	return dst
}

// sight enters the fingerprints in seen as those of a batch and marks the duplicates. While the windows' memory is used up it
// waits: forgetting an id would count its duplicate, and ingest refuses ids well before. Room comes when windows of
// other partitions expire or move to another writer, or with a larger bound.
func (p *pass) sight(r *eventlog.Record) error {
	p.tick = max(p.tick, p.clock.tick(r.AppendTime))
	for !p.window.reserve(p.seen, p.tick) {
		p.metrics.status.set(StateWindowFull)
		p.logger.Error("de-duplication windows are at their bound, partition waits", "offset", r.Offset, "max_bytes", p.windows.limit)
		if err := p.rest(waitForRoom); err != nil {
			return err
		}
	}
	p.duplicate = append(p.duplicate[:0], make([]bool, len(p.seen))...)
	found := p.window.see(p.seen, p.tick, p.duplicate)
	if p.counting {
		p.metrics.duplicates.Add(float64(found))
		p.metrics.status.set(StateCounting)
	}
	p.marks.add(p.tick, r.Offset)
	if int64(len(p.marks.list)) > 2*p.clock.span {
		p.marks.forget(p.clock.oldest(p.asOf))
	}
	return nil
}

// setAside makes a batch a dead letter, before the checkpoint can pass it.
func (p *pass) setAside(r *eventlog.Record, reason string, detail error) error {
	var duplicates []int
	for i, d := range p.duplicate {
		if d {
			duplicates = append(duplicates, i)
		}
	}
	pause := newBackoff()
	for {
		err := p.deadLetters.put(p.incarnation, p.partition, r, reason, detail, duplicates)
		if err == nil {
			break
		}
		p.metrics.status.set(StateBlocked)
		again := pause.next(0)
		if pause.notable() {
			p.logger.Error("dead letter can't be written, partition waits", "offset", r.Offset, "attempts", pause.failures, "error", err)
		}
		if err := p.rest(again); err != nil {
			return err
		}
	}
	p.metrics.status.set(StateCounting)
	p.metrics.deadLetters(reason).Inc()
	p.logger.Error("batch set aside as a dead letter", "offset", r.Offset, "reason", reason, "error", detail)
	return nil
}
