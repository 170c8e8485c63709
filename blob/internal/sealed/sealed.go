// Package sealed makes every byte of a Parquet file accountable: its pages carry checksums of their own, but the headers of pages, the page index,
// bloom filters and the footer do not, and a flipped bit in one of those would hide rows without a trace.
//
//	┌──────────────────────────────┬───────────────────────────────────────────────┐
//	│ body: magic, row groups,     │ tail: page index, footer with the seal, magic │
//	│ bloom filters                │                                               │
//	└──────────────────────────────┴───────────────────────────────────────────────┘
//	  a CRC-32C for each 64 KiB       one CRC-32C, taken with its own place zeroed
//
// The seal is a value in the footer's metadata, under the key quipu.seal, which other programs ignore:
//
//	quipu-seal:1:<body bytes, 16 hex digits>:<CRC of the tail, 8 hex digits>:<CRCs of the body's blocks, 4 bytes each, in base64>
//
// It is the last of the metadata, so the last place in the file that looks like one, and is read and checked before anything
// else of the footer is looked at.
//
// A Writer is used by one goroutine. A Seal may be used by any number; a Reader by one.
package sealed

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Key is that of the metadata entry that holds the seal. Keys of other entries must sort before it.
const Key = "quipu.seal"

// BlockBytes is how much of the body one checksum covers.
const BlockBytes = 64 << 10

const (
	mark      = "quipu-seal:1:"
	bodyAt    = len(mark)
	sumAt     = bodyAt + 16 + 1
	blocksAt  = sumAt + 8 + 1
	noSum     = "00000000"
	firstRead = 256 << 10
)

// ErrDamaged is returned for bytes that are not what was written.
var ErrDamaged = errors.New("file is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer passes a file on and adds up its checksums.
type Writer struct {
	to     io.Writer
	body   int64
	sums   []byte // of finished blocks
	sum    uint32 // of the block under way
	filled int
	tail   []byte
	inTail bool
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{to: w} }

// Write takes bytes of the body and, after Seal, of the tail.
func (w *Writer) Write(p []byte) (int, error) {
	if w.inTail {
		w.tail = append(w.tail, p...)
		return len(p), nil
	}
	n, err := w.to.Write(p)
	w.account(p[:n])
	return n, err
}

func (w *Writer) account(p []byte) {
	w.body += int64(len(p))
	for len(p) > 0 {
		part := p[:min(len(p), BlockBytes-w.filled)]
		w.sum = crc32.Update(w.sum, castagnoli, part)
		w.filled += len(part)
		p = p[len(part):]
		if w.filled == BlockBytes {
			w.endBlock()
		}
	}
}

func (w *Writer) endBlock() {
	w.sums = binary.LittleEndian.AppendUint32(w.sums, w.sum)
	w.sum, w.filled = 0, 0
}

// Seal ends the body and returns the value for the footer's metadata. What is written from here on is the tail.
func (w *Writer) Seal() string {
	if w.filled > 0 {
		w.endBlock()
	}
	w.inTail = true
	return fmt.Sprintf("%s%016x:%s:%s", mark, w.body, noSum, base64.RawStdEncoding.EncodeToString(w.sums))
}

// Close puts the tail's checksum into it and writes it.
func (w *Writer) Close() error {
	at := lastIndex(w.tail)
	if at < 0 {
		return errors.New("seal file: the footer was written without its seal")
	}
	sum := crc32.Checksum(w.tail, castagnoli)
	copy(w.tail[at+sumAt:], fmt.Appendf(nil, "%08x", sum))
	_, err := w.to.Write(w.tail)
	return err
}

// Seal is what a file says of its own bytes.
type Seal struct {
	Size, Body int64
	sums       []byte
}

// Open reads the tail of a file, checks it, and returns it with the seal. What is wrong with the bytes is ErrDamaged.
func Open(r io.ReaderAt, size int64) (*Seal, []byte, error) {
	tail, err := readEnd(r, size, min(size, firstRead))
	if err != nil {
		return nil, nil, err
	}
	at := lastIndex(tail)
	if at < 0 && int64(len(tail)) < size {
		// A footer of very many row groups.
		if tail, err = readEnd(r, size, min(size, 16*firstRead)); err != nil {
			return nil, nil, err
		}
		at = lastIndex(tail)
	}
	if at < 0 || len(tail)-at < blocksAt {
		return nil, nil, fmt.Errorf("%w: there is no seal in its last %d bytes", ErrDamaged, len(tail))
	}
	body, err := readNumber(tail[at+bodyAt : at+bodyAt+16])
	if err != nil || body < 0 || body >= size {
		return nil, nil, fmt.Errorf("%w: the seal cannot be read", ErrDamaged)
	}
	if want := size - body; want > int64(len(tail)) {
		at += int(want) - len(tail)
		if tail, err = readEnd(r, size, want); err != nil {
			return nil, nil, err
		}
	} else {
		at -= len(tail) - int(want)
		tail = tail[len(tail)-int(want):]
	}
	return check(tail, at, size, body)
}

func check(tail []byte, at int, size, body int64) (*Seal, []byte, error) {
	if at < 0 {
		return nil, nil, fmt.Errorf("%w: the seal cannot be read", ErrDamaged)
	}
	want := string(tail[at+sumAt : at+sumAt+8])
	copy(tail[at+sumAt:], noSum)
	if got := fmt.Sprintf("%08x", crc32.Checksum(tail, castagnoli)); got != want {
		return nil, nil, fmt.Errorf("%w: checksum of the footer and the page index", ErrDamaged)
	}
	blocks := (body + BlockBytes - 1) / BlockBytes
	encoded := tail[at+blocksAt:]
	length := base64.RawStdEncoding.EncodedLen(int(blocks) * 4)
	if len(encoded) < length {
		return nil, nil, fmt.Errorf("%w: the seal is too short", ErrDamaged)
	}
	sums, err := base64.RawStdEncoding.DecodeString(string(encoded[:length]))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the seal cannot be read", ErrDamaged)
	}
	return &Seal{Size: size, Body: body, sums: sums}, tail, nil
}

func readEnd(r io.ReaderAt, size, length int64) ([]byte, error) {
	data := make([]byte, length)
	return data, readFull(r, data, size-length)
}

// readFull takes a file that ends too early for damage; other errors are the reader's.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ends at %d, %d bytes too early", ErrDamaged, offset+int64(n), len(p)-n)
	}
	return err
}

// readNumber reads hexadecimal digits, as many as there are.
func readNumber(digits []byte) (int64, error) {
	var number [8]byte
	if _, err := hex.Decode(number[8-len(digits)/2:], digits); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(number[:])), nil
}
