package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"github.com/quipudb/quipu/eventlog"
)

const sectorBytes = 512

// segmentScan is what reading a segment file from its start found.
type segmentScan struct {
	records    int
	lastTime   int64 // append time of the last record
	end        int64 // after the last commit that verifies
	indexStart uint64
	sealed     bool

	reason string // why reading stopped; "" at the end of what was written
}

// segmentVerifier reads segment files and checks every byte that was acknowledged. It reuses its buffer.
type segmentVerifier struct {
	framer framer
	buf    []byte
	suffix []byte
}

func newSegmentVerifier(f framer) *segmentVerifier {
	return &segmentVerifier{framer: f, suffix: entrySuffix()}
}

func segmentPath(dir string, info types.SegmentInfo) string {
	return filepath.Join(dir, segment.FileName(info))
}

func (v *segmentVerifier) load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := int(info.Size())
	if cap(v.buf) < size {
		v.buf = make([]byte, size)
	}
	v.buf = v.buf[:size]
	if _, err := f.ReadAt(v.buf, 0); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// sealedSegment verifies a segment that is complete. after is the append time of the record before it.
func (v *segmentVerifier) sealedSegment(dir string, info types.SegmentInfo, after int64) (segmentScan, error) {
	path := segmentPath(dir, info)
	damage := func(at int64, format string, args ...any) error {
		return &eventlog.DamageError{File: path, Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	if err := v.load(path); errors.Is(err, os.ErrNotExist) {
		return segmentScan{}, damage(-1, "sealed segment is missing")
	} else if err != nil {
		return segmentScan{}, err
	}
	s := v.scan(info, after)
	switch last := info.BaseIndex + uint64(s.records) - 1; {
	case s.reason != "":
		return s, damage(s.end, "%s", s.reason)
	case !s.sealed || s.indexStart != info.IndexStart || last != info.MaxIndex:
		return s, damage(s.end, "sealed segment ends at record %d, not %d", last, info.MaxIndex)
	}
	if at := firstNonZero(v.buf[s.end:]); at >= 0 {
		return s, damage(s.end+int64(at), "bytes after the end of a sealed segment")
	}
	return s, nil
}

// tailSegment verifies the segment that was being written. A torn last commit is cut off: torn tells how many bytes of it there were.
// With clean, the offset at which an orderly end left the partition, there is nothing to be torn.
func (v *segmentVerifier) tailSegment(dir string, info types.SegmentInfo, after int64, clean uint64) (s segmentScan, torn int64, err error) {
	path := segmentPath(dir, info)
	v.buf = v.buf[:0]
	// Without a file, the crash came between the list of segments and it: nothing was acknowledged in it.
	if err := v.load(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return segmentScan{}, 0, err
	}
	s = v.scan(info, after)
	if next := info.BaseIndex + uint64(s.records); clean > 0 && next != clean {
		return s, 0, &eventlog.DamageError{File: path, Offset: s.end, Reason: fmt.Sprintf(
			"%s, but the log was closed in order before record %d", cause(s.reason), clean)}
	}
	rest := v.buf[s.end:]
	used := int64(len(bytes.TrimRight(rest, "\x00")))
	if used == 0 {
		return s, 0, nil
	}
	next := info.BaseIndex + uint64(s.records)
	if at := v.framer.laterThan(rest, next+1); at >= 0 {
		return s, 0, &eventlog.DamageError{File: path, Offset: s.end, Reason: fmt.Sprintf(
			"%s, yet a later record follows at byte %d", cause(s.reason), s.end+int64(at))}
	}
	if s.sealed {
		return s, 0, &eventlog.DamageError{File: path, Offset: s.end, Reason: "bytes after the end of a sealed segment"}
	}
	if !v.tornCommit(s, next) {
		return s, 0, &eventlog.DamageError{File: path, Offset: s.end, Reason: cause(s.reason) + ", and no part of it is missing"}
	}
	return s, used, zero(path, s.end, used)
}

func cause(reason string) string {
	if reason == "" {
		return "no record"
	}
	return reason
}

// tornCommit tells whether what follows the last good commit can be a write that a crash cut short: then some sector of it, as far as
// it was to reach, is still zeros.
func (v *segmentVerifier) tornCommit(s segmentScan, index uint64) bool {
	if s.reason == "" {
		return true // its first bytes are missing
	}
	extent := v.extent(max(s.end, walFileHeader), index, s.records+1)
	for from := s.end; from < extent; {
		to := min((from/sectorBytes+1)*sectorBytes, extent)
		if to > int64(len(v.buf)) || firstNonZero(v.buf[from:to]) < 0 {
			return true
		}
		from = to
	}
	return false
}

// extent returns where the commit that starts with the entry at an offset was to end. The record's own header tells, because it has a
// checksum; without it only that header's place is known.
func (v *segmentVerifier) extent(at int64, index uint64, entries int) int64 {
	fixed := len(binary.AppendUvarint(nil, index)) + 2
	for sizeBytes := 1; sizeBytes <= binary.MaxVarintLen32; sizeBytes++ {
		start := at + walFrameHeader + int64(fixed+sizeBytes)
		if start >= int64(len(v.buf)) {
			break
		}
		r, size, ok := v.framer.header(v.buf[start:])
		if !ok || r.Offset != index {
			continue
		}
		end := at + walFrameBytes(fixed+sizeBytes+frameHeader+size+len(v.suffix))
		if end < int64(len(v.buf)) && v.buf[end] == walIndex {
			end += walFrameBytes(4 * entries)
		}
		return end + walFrameHeader
	}
	return at + walFrameHeader + int64(fixed) + 1 + frameHeader
}

func firstNonZero(b []byte) int {
	rest := bytes.TrimLeft(b, "\x00")
	if len(rest) == 0 {
		return -1
	}
	return len(b) - len(rest)
}

// zero overwrites what a torn commit left, so that no later reading can take it for something.
func zero(path string, from, n int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, n), from)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cut off torn commit of %s: %w", path, err)
	}
	return nil
}

// scan walks the commits in v.buf: an entry that holds one record, an index if the segment is full, a commit frame.
func (v *segmentVerifier) scan(info types.SegmentInfo, after int64) segmentScan {
	s := segmentScan{lastTime: after}
	if firstNonZero(v.buf) < 0 {
		return s
	}
	w := commitWalk{segmentVerifier: v, base: info.BaseIndex}
	headerOK := v.headerMatches(info)
	at, crcStart := int64(walFileHeader), int64(0)
	for {
		if headerOK && w.atEnd(at) {
			return s
		}
		c := w.commit(at, crcStart, s.lastTime)
		if !headerOK {
			c.reason = "segment header differs"
		}
		if c.reason != "" {
			s.reason = c.reason
			return s
		}
		s.records++
		s.lastTime, s.end, s.indexStart, s.sealed = c.time, c.end, c.indexStart, c.indexStart > 0
		if s.sealed {
			return s
		}
		at, crcStart = c.end, c.end
	}
}

func (v *segmentVerifier) headerMatches(info types.SegmentInfo) bool {
	want := make([]byte, 0, walFileHeader)
	want = binary.LittleEndian.AppendUint64(want, 0x58eb6b0d)
	want = binary.LittleEndian.AppendUint64(want, info.BaseIndex)
	want = binary.LittleEndian.AppendUint64(want, info.ID)
	want = binary.LittleEndian.AppendUint64(want, info.Codec)
	return bytes.HasPrefix(v.buf, want)
}

// commitWalk holds what the commits of one segment share.
type commitWalk struct {
	*segmentVerifier
	base    uint64
	offsets []byte // of the entries, as the index holds them
	prefix  []byte
}

// walkedCommit is one commit: one record and perhaps the segment's index.
type walkedCommit struct {
	reason     string
	end        int64
	time       int64
	indexStart uint64
}

// Types of raft-wal's frames.
const (
	walEntry  = 1
	walIndex  = 2
	walCommit = 3
)

func (w *commitWalk) atEnd(at int64) bool {
	head := w.buf[min(at, int64(len(w.buf))):]
	return firstNonZero(head[:min(len(head), walFrameHeader)]) < 0
}

// frame reads the header of a frame and returns its length field and whether the frame's payload lies within the file.
func (w *commitWalk) frame(at int64, kind byte) (length int64, end int64, ok bool) {
	if at+walFrameHeader > int64(len(w.buf)) {
		return 0, at + walFrameHeader, false
	}
	head := w.buf[at : at+walFrameHeader]
	if head[0] != kind || head[1]|head[2]|head[3] != 0 {
		return 0, at, false
	}
	length = int64(binary.LittleEndian.Uint32(head[4:]))
	if kind == walCommit {
		return length, at + walFrameHeader, true
	}
	end = at + walFrameBytes(int(length))
	return length, end, end <= int64(len(w.buf))
}

func (w *commitWalk) commit(at, crcStart, after int64) (c walkedCommit) {
	length, end, ok := w.frame(at, walEntry)
	if !ok {
		c.reason = "entry does not fit"
		return c
	}
	index := w.base + uint64(len(w.offsets)/4)
	record, reason := w.record(w.buf[at+walFrameHeader:at+walFrameHeader+length], index)
	if c.time = record.AppendTime; reason == "" && c.time < after {
		reason = "append time steps back"
	}
	if reason != "" {
		c.reason = reason
		return c
	}
	w.offsets = binary.LittleEndian.AppendUint32(w.offsets, uint32(at))
	at = end
	if at < int64(len(w.buf)) && w.buf[at] == walIndex {
		length, end, ok = w.frame(at, walIndex)
		if !ok || length != int64(len(w.offsets)) || !bytes.HasPrefix(w.buf[at+walFrameHeader:end], w.offsets) {
			c.reason = "index differs"
			return c
		}
		c.indexStart = uint64(at + walFrameHeader)
		at = end
	}
	sum, end, ok := w.frame(at, walCommit)
	if !ok || uint32(sum) != crc32.Checksum(w.buf[crcStart:at], castagnoli) {
		c.reason = "checksum of the commit differs"
	}
	c.end = end
	return c
}

func (w *commitWalk) record(entry []byte, index uint64) (eventlog.Record, string) {
	size := len(entry) - len(w.suffix)
	for range 3 { // the prefix holds the length of what it precedes
		w.prefix = entryPrefix(w.prefix[:0], index, size)
		size = len(entry) - len(w.suffix) - len(w.prefix)
	}
	if size < frameHeader || !bytes.HasPrefix(entry, w.prefix) || !bytes.HasSuffix(entry, w.suffix) {
		return eventlog.Record{}, "entry does not hold a record"
	}
	r, ok := w.framer.parse(entry[len(w.prefix) : len(w.prefix)+size])
	if !ok || r.Offset != index {
		return eventlog.Record{}, "checksum of the record differs"
	}
	return r, ""
}
