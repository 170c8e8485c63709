package writer_test

import (
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"time"

	"github.com/quipudb/quipu/eventlog"
)

var errLogAway = errors.New("log is away")

// memLog is an event log in memory.
type memLog struct {
	mu          sync.Mutex
	incarnation string
	records     map[int][]eventlog.Record // by partition; first kept one at index 0
	first       map[int]uint64
	grown       chan struct{}
	reads       int
	fail        func(reads int) error // nil: never
}

func newMemLog() *memLog {
	return &memLog{incarnation: "log-1", records: map[int][]eventlog.Record{}, first: map[int]uint64{}, grown: make(chan struct{})}
}

func (l *memLog) boundsLocked(p int) (first, next uint64) {
	first = max(l.first[p], 1)
	return first, first + uint64(len(l.records[p]))
}

// append adds a batch at the current time.
func (l *memLog) append(p int, data []byte) eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, next := l.boundsLocked(p)
	now := time.Now().UnixMilli()
	if n := len(l.records[p]); n > 0 {
		now = max(now, l.records[p][n-1].AppendTime)
	}
	r := eventlog.Record{Offset: next, AppendTime: now, Checksum: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)), Data: data}
	l.records[p] = append(l.records[p], r)
	close(l.grown)
	l.grown = make(chan struct{})
	return r
}

// trim drops the records below an offset.
func (l *memLog) trim(p int, before uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, next := l.boundsLocked(p)
	before = min(max(before, first), next)
	l.records[p] = l.records[p][before-first:]
	l.first[p] = before
}

func (l *memLog) all(p int) []eventlog.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]eventlog.Record(nil), l.records[p]...)
}

func (l *memLog) Bounds(_ context.Context, p int) (eventlog.Bounds, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, next := l.boundsLocked(p)
	return eventlog.Bounds{Incarnation: l.incarnation, First: first, Next: next}, l.faultLocked()
}

func (l *memLog) faultLocked() error {
	l.reads++
	if l.fail == nil {
		return nil
	}
	return l.fail(l.reads)
}

func (l *memLog) Read(ctx context.Context, p int, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		chunk, grown, err := l.read(p, from, maxBytes)
		if err != nil || len(chunk.Records) > 0 {
			return chunk, err
		}
		select {
		case <-grown:
		case <-timer.C:
			chunk, _, err := l.read(p, from, maxBytes)
			return chunk, err
		case <-ctx.Done():
			return eventlog.Chunk{}, ctx.Err()
		}
	}
}

func (l *memLog) read(p int, from uint64, maxBytes int) (eventlog.Chunk, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.faultLocked(); err != nil {
		return eventlog.Chunk{}, nil, err
	}
	first, next := l.boundsLocked(p)
	switch {
	case from < first:
		return eventlog.Chunk{}, nil, eventlog.ErrTrimmed
	case from > next:
		return eventlog.Chunk{}, nil, eventlog.ErrBeyondEnd
	}
	chunk := eventlog.Chunk{Next: from, End: next, AsOf: time.Now().UnixMilli(), Incarnation: l.incarnation}
	for _, r := range l.records[p][from-first:] {
		if len(chunk.Records) > 0 && maxBytes < len(r.Data) {
			chunk.AsOf = r.AppendTime
			break
		}
		maxBytes -= len(r.Data)
		chunk.Records = append(chunk.Records, r)
		chunk.Next = r.Offset + 1
	}
	return chunk, l.grown, nil
}

func (l *memLog) Seek(context.Context, int, int64) (uint64, error) {
	return 0, errors.New("seek is not used by writers")
}

func (l *memLog) setIncarnation(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.incarnation = name
}
