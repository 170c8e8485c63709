package embedded

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"github.com/quipudb/quipu/eventlog"
)

func (p *partition) read(ctx context.Context, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error) {
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	for {
		chunk, changed, err := p.readNow(from, maxBytes)
		if err != nil || len(chunk.Records) > 0 || wait <= 0 {
			return chunk, err
		}
		select {
		case <-ctx.Done():
			return eventlog.Chunk{}, ctx.Err()
		case <-timer.C:
			wait = 0
		case <-changed:
		}
	}
}

// readNow returns what is there, and what is closed at the next append.
func (p *partition) readNow(from uint64, maxBytes int) (eventlog.Chunk, <-chan struct{}, error) {
	chunk, cached, changed, err := p.look(from, maxBytes)
	if err != nil || cached || chunk.End == from {
		return chunk, changed, err
	}
	p.files.RLock()
	defer p.files.RUnlock()
	bytes := 0
	for chunk.Next < chunk.End {
		r, err := p.recordLocked(chunk.Next)
		if err != nil {
			return eventlog.Chunk{}, nil, err
		}
		if bytes += len(r.Data); len(chunk.Records) > 0 && bytes > maxBytes {
			break
		}
		chunk.Records = append(chunk.Records, r)
		chunk.Next, chunk.AsOf = r.Offset+1, r.AppendTime
	}
	return chunk, changed, nil
}

// look checks the bounds and answers from memory where it can.
func (p *partition) look(from uint64, maxBytes int) (chunk eventlog.Chunk, done bool, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return chunk, false, nil, eventlog.ErrClosed
	case from < p.first:
		return chunk, false, nil, fmt.Errorf("read offset %d, the first is %d: %w", from, p.first, eventlog.ErrTrimmed)
	case from > p.next:
		return chunk, false, nil, fmt.Errorf("read offset %d, the next is %d: %w", from, p.next, eventlog.ErrBeyondEnd)
	}
	chunk = eventlog.Chunk{Next: from, End: p.next}
	changed = p.changed
	kept := p.cache.from(from)
	if from < p.next && len(kept) == 0 {
		return chunk, false, changed, nil
	}
	bytes := 0
	for i := range kept {
		if bytes += len(kept[i].Data); i > 0 && bytes > maxBytes {
			break
		}
		r := kept[i]
		r.Data = slices.Clone(r.Data)
		chunk.Records = append(chunk.Records, r)
		chunk.Next, chunk.AsOf = r.Offset+1, r.AppendTime
	}
	if chunk.Next == p.next {
		if chunk.AsOf, err = p.presentLocked(); err != nil {
			return eventlog.Chunk{}, false, nil, err
		}
	}
	return chunk, true, changed, nil
}

// presentLocked returns an instant that no record from p.next on will be older than.
func (p *partition) presentLocked() (int64, error) {
	now, err := p.clock.read()
	if err != nil {
		return 0, err
	}
	if p.inFlight != 0 {
		return min(now, p.inFlight), nil
	}
	return now, nil
}

// recordLocked reads and checks one record. It needs p.files.
func (p *partition) recordLocked(offset uint64) (eventlog.Record, error) {
	if p.log == nil {
		return eventlog.Record{}, eventlog.ErrClosed
	}
	var entry raft.Log
	if err := p.log.GetLog(offset, &entry); err != nil {
		p.mu.Lock()
		first := p.first
		p.mu.Unlock()
		if offset < first {
			return eventlog.Record{}, fmt.Errorf("read offset %d, the first is %d: %w", offset, first, eventlog.ErrTrimmed)
		}
		return eventlog.Record{}, fmt.Errorf("read record %d of partition %d: %w", offset, p.id, err)
	}
	r, ok := p.framer.parse(entry.Data)
	if !ok || r.Offset != offset || entry.Index != offset {
		return eventlog.Record{}, &eventlog.DamageError{File: p.fileOf(offset), Offset: -1, Reason: fmt.Sprintf("record %d does not verify", offset)}
	}
	return r, nil
}

func (p *partition) fileOf(offset uint64) string {
	file := p.dir
	for _, info := range p.meta.current().Segments {
		if info.BaseIndex <= offset {
			file = segmentPath(p.dir, info)
		}
	}
	return file
}

// seek finds the first record at or after an instant by bisection.
func (p *partition) seek(appendTimeMs int64) (uint64, error) {
	p.files.RLock()
	defer p.files.RUnlock()
	p.mu.Lock()
	low, high, closed := p.first, p.next, p.closed
	p.mu.Unlock()
	if closed {
		return 0, eventlog.ErrClosed
	}
	for low < high {
		middle := low + (high-low)/2
		r, err := p.recordLocked(middle)
		if err != nil {
			return 0, err
		}
		if r.AppendTime < appendTimeMs {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}
