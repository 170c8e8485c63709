package writer

import (
	"context"
	"errors"

	"github.com/quipudb/quipu/eventlog"
)

// verify compares the log with the checkpoint, so that a log that was recreated, cut or exchanged is noticed. Each contradiction
// is an *identityError.
func (p *pass) verify() error {
	bounds, err := retryRead(p, 0, func(ctx context.Context) (eventlog.Bounds, error) { return p.log.Bounds(ctx, p.partition) })
	if err != nil {
		return err
	}
	at := p.committed.NextOffset
	switch {
	case p.committed.Incarnation != "" && p.committed.Incarnation != bounds.Incarnation:
		return contradiction("the checkpoint counts in log %s, this is log %s: it was recreated or is another cluster's", p.committed.Incarnation, bounds.Incarnation)
	case p.next > bounds.Next:
		return contradiction("the checkpoint is at offset %d, the log ends at %d: it was cut", at, bounds.Next)
	case p.next < bounds.First:
		return contradiction("the checkpoint is at offset %d, the log begins at %d: batches that were not counted are gone", at, bounds.First)
	}
	p.incarnation, p.end = bounds.Incarnation, bounds.Next
	if err := p.verifyChecksum(bounds); err != nil {
		return err
	}
	return p.verifyWindow(bounds)
}

// verifyChecksum compares the last batch counted, if the log still has it.
func (p *pass) verifyChecksum(bounds eventlog.Bounds) error {
	last := p.next - 1
	if last < max(bounds.First, 1) || p.committed.Checksum == 0 {
		return nil
	}
	record, err := p.readOne(last)
	if errors.Is(err, eventlog.ErrTrimmed) {
		return nil // just now
	}
	if err != nil {
		return err
	}
	if record.Checksum != p.committed.Checksum {
		return contradiction("batch %d of the log has the checksum %08x, the one that was counted had %08x: the log is not the one that was counted",
			last, record.Checksum, p.committed.Checksum)
	}
	return nil
}

// verifyWindow checks that the log still holds what the window must be rebuilt from. What is missing may only be older than the
// window: the oldest batch kept bounds from above when the missing ones were appended. Otherwise a duplicate might be counted
// again, so the partition stops, and it is for people to choose between that and stopping for good.
func (p *pass) verifyWindow(bounds eventlog.Bounds) error {
	from := max(p.committed.WindowFrom, 1)
	p.rebuildFrom = max(from, bounds.First)
	if from >= bounds.First || from >= p.next {
		return nil
	}
	newest := p.committed.AsOf
	if bounds.First < bounds.Next {
		record, err := p.readOne(bounds.First)
		if err != nil {
			return err
		}
		newest = record.AppendTime
	}
	if p.clock.tick(newest) < p.clock.oldest(p.committed.AsOf) {
		return nil
	}
	return contradiction("the de-duplication window begins at offset %d, the log at %d: ids that may come again are gone; "+
		"to accept that their duplicates may be counted, set window_from of this partition's checkpoint to %d", from, bounds.First, bounds.First)
}

// rebuild fills the window from the batches before the checkpoint.
func (p *pass) rebuild() error {
	select {
	case p.rebuilds <- struct{}{}:
		defer func() { <-p.rebuilds }()
	case <-p.soft.Done():
		return p.soft.Err()
	}
	watch, ids := startWatch(), 0
	for at := p.rebuildFrom; at < p.next; {
		chunk, err := p.readChunk(at, rebuildBytes, 0)
		if err != nil {
			return err
		}
		if len(chunk.Records) == 0 {
			return contradiction("the log has no batch at offset %d, the checkpoint is at %d", at, p.next)
		}
		for i := range chunk.Records {
			r := &chunk.Records[i]
			if r.Offset >= p.next {
				break
			}
			p.seen = fingerprints(p.seen, r)
			if err := p.sight(r); err != nil {
				return err
			}
			ids += len(p.seen)
		}
		at = chunk.Next
	}
	p.metrics.rebuild.Observe(watch().Seconds())
	p.logger.Info("window rebuilt", "offset", p.next, "from", p.rebuildFrom, "epoch", p.epoch, "ids", ids, "seconds", watch().Seconds())
	return nil
}
