package sealed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

func lastIndex(data []byte) int { return bytes.LastIndex(data, []byte(mark)) }

// readAhead is what a Reader fetches at once when it is read without Load.
const readAhead = 4 * BlockBytes

// Bytes is the memory that the seal takes.
func (s *Seal) Bytes() int64 { return int64(len(s.sums)) }

// Reader reads the body of a sealed file and checks whatever it reads.
type Reader struct {
	seal *Seal
	from io.ReaderAt
	data []byte
	at   int64 // of data in the file; a multiple of BlockBytes
	err  error // of the last Load
}

// Reader returns one that fetches bytes from r.
func (s *Seal) Reader(r io.ReaderAt) *Reader { return &Reader{seal: s, from: r} }

// Err is the error with which the last read failed, nil if it did not.
func (r *Reader) Err() error { return r.err }

// Load fetches a range of the body with one read, and checks it. Reads within it need no other.
func (r *Reader) Load(offset, length int64) error {
	from := offset / BlockBytes * BlockBytes
	to := min((offset+length+BlockBytes-1)/BlockBytes*BlockBytes, r.seal.Body)
	if offset < 0 || length < 0 || from > to {
		return fmt.Errorf("%w: bytes %d to %d of %d", ErrDamaged, offset, offset+length, r.seal.Body)
	}
	if from >= r.at && to <= r.at+int64(len(r.data)) {
		return nil
	}
	need := int(to - from)
	if cap(r.data) < need {
		r.data = make([]byte, need)
	}
	r.data, r.at = r.data[:need], from
	err := readFull(r.from, r.data, from)
	if err == nil {
		err = r.seal.check(r.data, from)
	}
	if err != nil {
		r.data = r.data[:0]
	}
	r.err = err
	return err
}

// ReadAt implements io.ReaderAt for the body.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= r.seal.Body {
			return done, io.EOF
		}
		if at < r.at || at >= r.at+int64(len(r.data)) {
			if err := r.Load(at, min(max(int64(len(p)-done), readAhead), r.seal.Body-at)); err != nil {
				return done, err
			}
		}
		done += copy(p[done:], r.data[at-r.at:])
	}
	return done, nil
}

// check compares whole blocks with their checksums.
func (s *Seal) check(data []byte, offset int64) error {
	for block := offset / BlockBytes; len(data) > 0; block++ {
		part := data[:min(len(data), BlockBytes)]
		data = data[len(part):]
		if crc32.Checksum(part, castagnoli) != binary.LittleEndian.Uint32(s.sums[block*4:]) {
			return fmt.Errorf("%w: checksum of the %d bytes from %d", ErrDamaged, len(part), block*BlockBytes)
		}
	}
	return nil
}
