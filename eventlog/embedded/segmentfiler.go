package embedded

import (
	"sync"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// segmentFiler is raft-wal's own, but for tails: they reserve space before they write, and give up their memory once sealed.
type segmentFiler struct {
	*segment.Filer
	fs *segmentFS
}

var _ types.SegmentFiler = (*segmentFiler)(nil)

func newSegmentFiler(dir string, fs *segmentFS) *segmentFiler {
	return &segmentFiler{Filer: segment.NewFiler(dir, fs), fs: fs}
}

// Create makes a new tail.
func (f *segmentFiler) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.Create(info)
	return f.wrap(info, w, err)
}

// RecoverTail opens the tail after a restart.
func (f *segmentFiler) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.RecoverTail(info)
	return f.wrap(info, w, err)
}

func (f *segmentFiler) wrap(info types.SegmentInfo, w types.SegmentWriter, err error) (types.SegmentWriter, error) {
	if err != nil {
		return nil, err
	}
	return &tailSegment{filer: f, info: info, file: f.fs.lastTail(), writer: w}, nil
}

// tailSegment is a segment that is written, and later one that was.
type tailSegment struct {
	filer *segmentFiler
	info  types.SegmentInfo
	file  *segmentFile

	mu         sync.RWMutex
	writer     types.SegmentWriter // nil once reader took over
	reader     types.SegmentReader
	last       uint64 // with reader: the last index
	indexStart uint64
}

var _ types.SegmentWriter = (*tailSegment)(nil)

// Bytes of raft-wal's frames: a header before each entry, index and commit; entries are padded to it.
const (
	walFileHeader  = 32
	walFrameHeader = 8
)

func walFrameBytes(payload int) int64 {
	return int64(walFrameHeader + (payload+walFrameHeader-1)/walFrameHeader*walFrameHeader)
}

// Append reserves the space of the entries, their commit and a possible index before anything is written.
func (t *tailSegment) Append(entries []types.LogEntry) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.writer == nil {
		return types.ErrSealed
	}
	need := int64(walFileHeader + walFrameHeader)
	for _, e := range entries {
		need += walFrameBytes(len(e.Data))
	}
	count := len(entries)
	if last := t.writer.LastIndex(); last > 0 {
		count += int(last - t.info.BaseIndex + 1)
	}
	if err := t.file.ensure(need + walFrameBytes(4*count)); err != nil {
		return err
	}
	return t.writer.Append(entries)
}

// Sealed tells whether the segment is full, and if so lets go of the writer's buffers and index.
func (t *tailSegment) Sealed() (bool, uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writer == nil {
		return true, t.indexStart, nil
	}
	sealed, indexStart, err := t.writer.Sealed()
	if err != nil || !sealed {
		return sealed, indexStart, err
	}
	t.filer.fs.noteSealed(t.file.path)
	info := t.info
	info.IndexStart, info.MaxIndex = indexStart, t.writer.LastIndex()
	reader, err := t.filer.Open(info)
	if err != nil {
		// The writer can read just as well; it only holds more memory.
		return true, indexStart, nil
	}
	// The records are durable: failing to free space or to close a file must not fail their append.
	_ = t.file.seal()
	_ = t.writer.Close()
	t.writer, t.reader, t.last, t.indexStart = nil, reader, info.MaxIndex, indexStart
	return true, indexStart, nil
}

// LastIndex returns the last durable index, 0 if there is none.
func (t *tailSegment) LastIndex() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.writer == nil {
		return t.last
	}
	return t.writer.LastIndex()
}

// GetLog reads an entry.
func (t *tailSegment) GetLog(index uint64) (*types.PooledBuffer, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.writer == nil {
		return t.reader.GetLog(index)
	}
	return t.writer.GetLog(index)
}

// Close closes the file.
func (t *tailSegment) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writer == nil {
		return t.reader.Close()
	}
	return t.writer.Close()
}
