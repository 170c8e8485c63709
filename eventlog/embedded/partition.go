package embedded

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/types"
	"github.com/quipudb/quipu/eventlog"
)

// partition is one raft-wal log and what is known of it in memory.
type partition struct {
	id           int
	dir          string
	segmentBytes int
	framer       framer
	clock        *logClock
	budget       *budget
	fs           *segmentFS
	logger       *slog.Logger
	metrics      *metrics
	cacheLimit   int64
	cleanNext    uint64 // where an orderly end left the partition; 0 after a crash

	appending chan struct{} // holds one token: appends and trims run one after another
	reopen    bool          // with the token: the log must be opened again before it is used
	failed    error         // with the token: a flush failed, nothing can be promised any more
	frame     []byte        // with the token

	files sync.RWMutex // held for reading while a record is read, for writing while segments may close
	log   *wal.WAL
	meta  *metaStore

	mu       sync.Mutex
	first    uint64
	next     uint64
	inFlight int64         // append time of a record that may be on its way to the disk, or 0
	changed  chan struct{} // closed at the next append, or at the end
	closed   bool
	cache    recentRecords
}

// open verifies the partition's files and opens them. It returns the append time of the last record.
func (p *partition) open(v *segmentVerifier) (lastTime int64, err error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return 0, fmt.Errorf("make directory: %w", err)
	}
	p.meta = &metaStore{dir: p.dir}
	if err := p.meta.load(); err != nil {
		return 0, err
	}
	segments := p.meta.current().Segments
	for i, info := range segments {
		if info.SealTime.IsZero() && i == len(segments)-1 {
			break
		}
		s, err := v.sealedSegment(p.dir, info, lastTime)
		if err != nil {
			return 0, err
		}
		p.fs.account(segmentPath(p.dir, info), s.end)
		lastTime = s.lastTime
	}
	if lastTime, err = p.openTail(v, lastTime); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = make(chan struct{})
	return lastTime, nil
}

// openTail verifies the segment that is written to and opens the log.
func (p *partition) openTail(v *segmentVerifier, after int64) (lastTime int64, err error) {
	segments := p.meta.current().Segments
	first, next := uint64(1), uint64(1)
	lastTime = after
	if len(segments) == 0 && p.cleanNext > 1 {
		return 0, &eventlog.DamageError{File: p.dir, Offset: -1, Reason: fmt.Sprintf("empty, but was closed in order before record %d", p.cleanNext)}
	}
	if len(segments) > 0 {
		info := segments[len(segments)-1]
		first = segments[0].MinIndex
		s, torn, err := v.tailSegment(p.dir, info, after, p.cleanNext)
		p.cleanNext = 0
		if err != nil {
			return 0, err
		}
		next, lastTime = info.BaseIndex+uint64(s.records), s.lastTime
		if torn > 0 {
			p.metrics.torn.Inc()
			p.logger.Warn("cut off a torn commit, which was never acknowledged", "file", segmentPath(p.dir, info), "byte", s.end, "bytes", torn)
		}
		p.fs.account(segmentPath(p.dir, info), s.end)
		if s.sealed {
			if err := p.sealTail(info, s); err != nil {
				return 0, err
			}
		}
	}
	if err := p.openLog(next); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first, p.next = first, next
	return lastTime, nil
}

// sealTail finishes a rotation that a crash or a full disk interrupted between sealing the file and listing the next one: raft-wal
// itself would refuse every append from then on.
func (p *partition) sealTail(info types.SegmentInfo, s segmentScan) error {
	state := p.meta.current()
	segments := append([]types.SegmentInfo(nil), state.Segments...)
	info.SealTime, info.IndexStart, info.MaxIndex = time.Now(), s.indexStart, info.BaseIndex+uint64(s.records)-1
	segments[len(segments)-1] = info
	next := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: info.MaxIndex + 1, MinIndex: info.MaxIndex + 1, Codec: info.Codec,
		CreateTime: time.Now(), SizeLimit: uint32(p.segmentBytes),
	}
	state.NextSegmentID++
	state.Segments = append(segments, next)
	if err := p.meta.CommitState(state); err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	return nil
}

func (p *partition) openLog(next uint64) error {
	log, err := wal.Open(p.dir, wal.WithMetaStore(p.meta), wal.WithSegmentFiler(newSegmentFiler(p.dir, p.fs)),
		wal.WithSegmentSize(p.segmentBytes), wal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return fmt.Errorf("open %s: %w", p.dir, err)
	}
	last, err := log.LastIndex()
	if err == nil && last != 0 && last != next-1 {
		err = &eventlog.DamageError{File: p.dir, Offset: -1, Reason: fmt.Sprintf("last record is %d, verified were those below %d", last, next)}
	}
	if err != nil {
		return errors.Join(err, log.Close())
	}
	p.log = log
	return nil
}

// take waits for the token.
func (p *partition) take(ctx context.Context) error {
	select {
	case p.appending <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *partition) append(ctx context.Context, batch []byte) (eventlog.Record, error) {
	if err := p.take(ctx); err != nil {
		return eventlog.Record{}, err
	}
	defer func() { <-p.appending }()
	if err := p.usable(); err != nil {
		return eventlog.Record{}, err
	}
	need := walFrameBytes(len(batch)+frameHeader+64) + walFrameHeader
	if !p.budget.take(need) {
		return eventlog.Record{}, eventlog.ErrFull
	}
	defer p.budget.giveBack(need)
	record := eventlog.Record{Checksum: crc32.Checksum(batch, castagnoli), Data: batch}
	if err := p.begin(&record); err != nil {
		return eventlog.Record{}, err
	}
	p.frame = p.framer.append(p.frame[:0], &record)
	if err := p.store(record.Offset); err != nil {
		return eventlog.Record{}, p.appendFailed(err)
	}
	p.show(record)
	return record, nil
}

// store writes and flushes p.frame. When raft-wal could not make the next segment after the last append, it only refuses the next one:
// then the log is opened again, which makes that segment or tells why not.
func (p *partition) store(offset uint64) error {
	err := p.log.StoreLog(&raft.Log{Index: offset, Data: p.frame})
	if !errors.Is(err, wal.ErrSealed) {
		return err
	}
	p.reopen = true
	if err := p.usable(); err != nil {
		return err
	}
	return p.log.StoreLog(&raft.Log{Index: offset, Data: p.frame})
}

// begin gives the record its offset and time.
func (p *partition) begin(r *eventlog.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return eventlog.ErrClosed
	}
	now, err := p.clock.read()
	if err != nil {
		return mapDiskFull(err)
	}
	r.Offset, r.AppendTime = p.next, now
	p.inFlight = now
	return nil
}

// show makes a durable record visible.
func (p *partition) show(r eventlog.Record) {
	r.Data = append([]byte(nil), r.Data...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight = 0
	p.next = r.Offset + 1
	p.cache.add(r, p.cacheLimit)
	p.wakeLocked()
}

func (p *partition) wakeLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// appendFailed decides what a failed append means for those after it. As long as its record may turn up, inFlight keeps AsOf from
// passing it.
func (p *partition) appendFailed(err error) error {
	switch {
	case errors.Is(err, errReserve):
		// Nothing was written: the log is as it was.
		p.mu.Lock()
		p.inFlight = 0
		p.mu.Unlock()
	case errors.Is(err, errSync):
		p.failed = fmt.Errorf("partition %d: %w: restart after checking the disk", p.id, err)
		p.metrics.failed.Inc()
		p.logger.Error("a flush failed: this partition takes no events until the process was restarted", "partition", p.id, "error", err)
		return p.failed
	default:
		p.reopen = true
	}
	return mapDiskFull(err)
}

func mapDiskFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", eventlog.ErrFull, err)
	}
	return fmt.Errorf("append record: %w", err)
}

// usable opens the log again if an earlier operation left it in doubt. It needs the token.
func (p *partition) usable() error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return eventlog.ErrClosed
	case p.failed != nil:
		return p.failed
	case !p.reopen:
		return nil
	}
	p.files.Lock()
	defer p.files.Unlock()
	old := p.log // goes on answering reads if opening fails
	if _, err := p.openTail(newSegmentVerifier(p.framer), 0); err != nil {
		return mapDiskFull(fmt.Errorf("open again: %w", err))
	}
	if err := old.Close(); err != nil {
		p.logger.Warn("close log after opening it again", "partition", p.id, "error", err)
	}
	p.reopen = false
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight = 0
	p.cache.reset() // a record that was reported as failed may be there after all
	p.wakeLocked()
	return nil
}

func (p *partition) trim(ctx context.Context, before uint64) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer func() { <-p.appending }()
	if err := p.usable(); err != nil {
		return err
	}
	p.mu.Lock()
	first, next := p.first, p.next
	p.mu.Unlock()
	if before = p.freeable(min(before, next), next); before <= first {
		return nil
	}
	p.files.Lock()
	err := p.log.DeleteRange(first, before-1)
	p.files.Unlock()
	if err != nil {
		// raft-wal may have listed other segments than it goes on with.
		p.reopen = true
		return mapDiskFull(fmt.Errorf("trim below %d: %w", before, err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = before
	p.cache.trim(before)
	return nil
}

// freeable lowers a bound to where a segment ends: dropping part of one frees nothing, and what is kept may still serve a reader. Only
// when nothing at all is needed the segment that is written goes too; but not while raft-wal puts the next one in its place, for then it
// would take the segment that comes after for the full one.
func (p *partition) freeable(before, next uint64) uint64 {
	segments := p.meta.current().Segments
	if rotating := len(segments) > 0 && p.fs.wasSealed(segmentPath(p.dir, segments[len(segments)-1])); before == next && !rotating {
		return before
	}
	var end uint64
	for _, info := range segments {
		if !info.SealTime.IsZero() && info.MaxIndex < before {
			end = info.MaxIndex + 1
		}
	}
	return end
}

func (p *partition) close() error {
	p.appending <- struct{}{}
	defer func() { <-p.appending }()
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		if p.changed != nil {
			close(p.changed)
		}
	}
	p.mu.Unlock()
	p.files.Lock()
	defer p.files.Unlock()
	if p.log == nil {
		return nil
	}
	err := p.log.Close()
	p.log = nil
	return err
}
