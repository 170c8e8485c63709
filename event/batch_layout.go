package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// The batch format, version 1, is described in FORMAT.md. This file holds its header, shared by writing and reading.

// MaxBatchEvents bounds the events of one batch.
const MaxBatchEvents = 1 << 20

// ErrBatch is wrapped by every error about bytes that are not a batch.
var ErrBatch = errors.New("invalid batch")

const (
	batchMagic   = "QEVB"
	batchVersion = 1

	headerBytes  = 40
	trailerBytes = 4
)

// Flags of a batch: which columns it has.
const (
	flagIDs       = 1 << iota // fingerprints and ids; else no event has an id
	flagWeights               // weights; else every weight is 1
	flagValues                // values; else no event has one
	flagAllValues             // every event has a value: no presence bitmap
	flagsKnown    = flagIDs | flagWeights | flagValues | flagAllValues
)

var batchTable = crc32.MakeTable(crc32.Castagnoli)

// layout is the decoded header of a batch.
type layout struct {
	flags      byte
	indexWidth int
	events     int
	types      int
	keys       int
	dictionary int // bytes of each section
	times      int
	weights    int
	values     int
	ids        int
}

func (l *layout) fingerprints() int {
	if l.flags&flagIDs == 0 {
		return 0
	}
	return 8 * l.events
}

// size is what a batch with this header takes, header and trailer included. It can't overflow: each term is below 2³⁵.
func (l *layout) size() int {
	return headerBytes + l.fingerprints() + l.indexWidth*l.events + l.dictionary + l.times + l.weights + l.values + l.ids + trailerBytes
}

func (l *layout) append(dst []byte) []byte {
	dst = append(dst, batchMagic...)
	dst = append(dst, batchVersion, l.flags, byte(l.indexWidth), 0)
	for _, v := range [...]int{l.events, l.types, l.keys, l.dictionary, l.times, l.weights, l.values, l.ids} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
	}
	return dst
}

// indexWidthFor returns how many bytes an index into n keys takes.
func indexWidthFor(n int) int {
	switch width := (bits.Len(uint(max(n-1, 0))) + 7) / 8; width {
	case 0, 1:
		return 1
	case 2:
		return 2
	}
	return 4
}

// parseLayout checks everything that the header alone can tell, and the checksum.
func parseLayout(data []byte) (layout, error) {
	var l layout
	switch {
	case len(data) < headerBytes+trailerBytes:
		return l, fmt.Errorf("%w: %d bytes are too few", ErrBatch, len(data))
	case string(data[:4]) != batchMagic:
		return l, fmt.Errorf("%w: does not start with %s", ErrBatch, batchMagic)
	case data[4] != batchVersion:
		return l, fmt.Errorf("%w: version %d is not known", ErrBatch, data[4])
	case data[5]&^flagsKnown != 0 || data[7] != 0:
		return l, fmt.Errorf("%w: flags %#x are not known", ErrBatch, data[5])
	}
	l.flags, l.indexWidth = data[5], int(data[6])
	at := 8
	for _, v := range [...]*int{&l.events, &l.types, &l.keys, &l.dictionary, &l.times, &l.weights, &l.values, &l.ids} {
		*v = int(binary.LittleEndian.Uint32(data[at:]))
		at += 4
	}
	if err := l.validate(len(data)); err != nil {
		return l, err
	}
	body, sum := data[:len(data)-trailerBytes], binary.LittleEndian.Uint32(data[len(data)-trailerBytes:])
	if crc32.Checksum(body, batchTable) != sum {
		return l, fmt.Errorf("%w: checksum differs", ErrBatch)
	}
	return l, nil
}

func (l *layout) validate(size int) error {
	switch {
	case l.size() != size:
		return fmt.Errorf("%w: has %d bytes, its header says %d", ErrBatch, size, l.size())
	case l.events > MaxBatchEvents:
		return fmt.Errorf("%w: %d events, the limit is %d", ErrBatch, l.events, MaxBatchEvents)
	case l.keys > l.events || l.types > l.keys || (l.events > 0 && l.types == 0):
		return fmt.Errorf("%w: %d events cannot have %d keys of %d types", ErrBatch, l.events, l.keys, l.types)
	case l.indexWidth != indexWidthFor(l.keys):
		return fmt.Errorf("%w: index width is %d for %d keys", ErrBatch, l.indexWidth, l.keys)
	case l.flags&flagAllValues != 0 && l.flags&flagValues == 0:
		return fmt.Errorf("%w: flags %#x contradict each other", ErrBatch, l.flags)
	}
	return nil
}

// DecodeFingerprints appends to dst the fingerprint of every event of a batch, 0 for those without an id, and reads nothing else
// but the header and the checksum.
func DecodeFingerprints(dst []uint64, data []byte) ([]uint64, error) {
	l, err := parseLayout(data)
	if err != nil {
		return dst, err
	}
	return appendFingerprints(dst, data, &l), nil
}

// CountEvents returns how many events a batch has, reading its header and its checksum alone.
func CountEvents(data []byte) (int, error) {
	l, err := parseLayout(data)
	return l.events, err
}

func appendFingerprints(dst []uint64, data []byte, l *layout) []uint64 {
	at := len(dst)
	dst = grow(dst, l.events)
	out := dst[at:]
	if l.flags&flagIDs == 0 {
		clear(out)
		return dst
	}
	column := data[headerBytes:][:8*l.events]
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(column[8*i:])
	}
	return dst
}

// grow returns s with n more elements of any content.
func grow[T any](s []T, n int) []T {
	if need := len(s) + n; need <= cap(s) {
		return s[:need]
	}
	return append(s, make([]T, n)...)
}
