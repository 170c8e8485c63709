package embedded

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/quipudb/quipu/eventlog"
)

const (
	frameMagic   = "QREC"
	frameVersion = 1
	frameHeader  = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// framer writes and checks records of one log. The incarnation is part of every header's checksum, so neither a record of another log nor
// bytes inside an event that look like a record pass for one.
type framer struct{ seed uint32 }

func newFramer(incarnation string) framer {
	return framer{seed: crc32.Checksum([]byte(incarnation), castagnoli)}
}

func (f framer) append(dst []byte, r *eventlog.Record) []byte {
	start := len(dst)
	dst = append(dst, frameMagic...)
	dst = append(dst, frameVersion, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, r.Offset)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.AppendTime))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Data)))
	dst = binary.LittleEndian.AppendUint32(dst, r.Checksum)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Update(f.seed, castagnoli, dst[start:]))
	return append(dst, r.Data...)
}

// header reads the header at the start of frame; false if there is none. The record has no data yet.
func (f framer) header(frame []byte) (r eventlog.Record, size int, ok bool) {
	if len(frame) < frameHeader || string(frame[:4]) != frameMagic || frame[4] != frameVersion || frame[5]|frame[6]|frame[7] != 0 {
		return r, 0, false
	}
	if crc32.Update(f.seed, castagnoli, frame[:frameHeader-4]) != binary.LittleEndian.Uint32(frame[frameHeader-4:]) {
		return r, 0, false
	}
	r.Offset = binary.LittleEndian.Uint64(frame[8:])
	r.AppendTime = int64(binary.LittleEndian.Uint64(frame[16:]))
	r.Checksum = binary.LittleEndian.Uint32(frame[28:])
	return r, int(binary.LittleEndian.Uint32(frame[24:])), true
}

// parse reads a whole frame. The record's data aliases it.
func (f framer) parse(frame []byte) (eventlog.Record, bool) {
	r, size, ok := f.header(frame)
	if !ok || size != len(frame)-frameHeader {
		return eventlog.Record{}, false
	}
	r.Data = frame[frameHeader:]
	return r, crc32.Checksum(r.Data, castagnoli) == r.Checksum
}

// laterThan returns where in data the first header of a record at or beyond an offset stands, or −1.
func (f framer) laterThan(data []byte, offset uint64) int {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(frameMagic))
		if i < 0 {
			return -1
		}
		at += i
		if r, _, ok := f.header(data[at:]); ok && r.Offset >= offset {
			return at
		}
		at++
	}
}

// entryPrefix and entrySuffix are what raft-wal's binary codec puts around a frame: index, term, type and length before it, no
// extensions and the zero time after it.
func entryPrefix(dst []byte, index uint64, frameBytes int) []byte {
	dst = binary.AppendUvarint(dst, index)
	dst = append(dst, 0, 0)
	return binary.AppendUvarint(dst, uint64(frameBytes))
}

func entrySuffix() []byte {
	// The zero time always marshals.
	zero, _ := time.Time{}.MarshalBinary()
	return append([]byte{0}, zero...)
}
