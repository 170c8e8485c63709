package ingest

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/quipudb/quipu/wire"
)

// inFlight bounds the bytes of bodies in progress.
type inFlight struct {
	limit int64
	bytes atomic.Int64
}

func (f *inFlight) take(n int64) bool {
	if f.bytes.Add(n) > f.limit {
		f.bytes.Add(-n)
		return false
	}
	return true
}

func (f *inFlight) giveBack(n int64) { f.bytes.Add(-n) }

// bodyReader reads bodies, decompressed, within the bounds.
type bodyReader struct {
	maxBody  int64
	inFlight *inFlight
	gzips    sync.Pool
	zstds    sync.Pool
}

// firstRead is what is read of a body whose length is not known, before more is asked for.
const firstRead = 64 << 10

// read appends the body of a request to buf. taken is what it took of inFlight, to be given back by the caller, also after an error.
func (b *bodyReader) read(req *http.Request, buf []byte) (body []byte, taken int64, err error) {
	switch encoding := strings.ToLower(strings.TrimSpace(req.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		return b.readPlain(req, buf)
	case "gzip", "x-gzip":
		r, ok := b.gzips.Get().(*gzip.Reader)
		if !ok {
			r = new(gzip.Reader)
		}
		defer func() {
			_ = r.Reset(http.NoBody) // let go of the request; an empty stream is an error that does not matter
			b.gzips.Put(r)
		}()
		if err := r.Reset(req.Body); err != nil {
			return buf, 0, damagedBody("gzip", 0, err)
		}
		return b.readStream(r, buf, "gzip")
	case "zstd":
		r, ok := b.zstds.Get().(*zstd.Decoder)
		if !ok {
			if r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err != nil {
				return buf, 0, fmt.Errorf("make zstd decoder: %w", err)
			}
		}
		defer func() {
			_ = r.Reset(nil)
			b.zstds.Put(r)
		}()
		if err := r.Reset(req.Body); err != nil {
			return buf, 0, damagedBody("zstd", 0, err)
		}
		return b.readStream(r, buf, "zstd")
	default:
		return buf, 0, wire.NewProblem(wire.CodeMediaType, "content encoding %q is not known, gzip and zstd are", encoding).WithField("Content-Encoding")
	}
}

// readPlain reads a body that is not compressed, in one piece if its length is known.
func (b *bodyReader) readPlain(req *http.Request, buf []byte) ([]byte, int64, error) {
	length := req.ContentLength
	if length < 0 {
		return b.readStream(req.Body, buf, "")
	}
	if length > b.maxBody {
		return buf, 0, b.tooLarge()
	}
	if !b.inFlight.take(length) {
		return buf, 0, overloaded()
	}
	if int64(cap(buf)) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	if _, err := io.ReadFull(req.Body, buf); err != nil {
		return buf, length, cutOff(err)
	}
	return buf, length, nil
}

func (b *bodyReader) readStream(r io.Reader, buf []byte, encoding string) (_ []byte, taken int64, err error) {
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), max(firstRead, 2*cap(buf)))
			copy(grown, buf)
			buf = grown
		}
		room := min(int64(cap(buf)), int64(max(firstRead, 2*len(buf))), b.maxBody+1)
		if more := room - taken; more > 0 {
			if !b.inFlight.take(more) {
				return buf, taken, overloaded()
			}
			taken += more
		}
		n, err := r.Read(buf[len(buf):room])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > b.maxBody:
			return buf, taken, b.tooLarge()
		case err == io.EOF: // and not io.ErrUnexpectedEOF
			return buf, taken, nil
		case err != nil && encoding != "":
			return buf, taken, damagedBody(encoding, len(buf), err)
		case err != nil:
			return buf, taken, cutOff(err)
		}
	}
}

func (b *bodyReader) tooLarge() error {
	return wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes, decompressed", b.maxBody)
}

func overloaded() error {
	return wire.NewProblem(wire.CodeOverloaded, "too many bytes are in progress").WithRetryAfter(time.Second)
}

// cutOff is a body that ended before its time.
func cutOff(err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return wire.NewProblem(wire.CodeTooLarge, "the body is longer than %d bytes", tooLong.Limit)
	}
	return wire.NewProblem(wire.CodeBadRequest, "the body was cut off").WithCause(err)
}

// damagedBody is a compressed body that can't be decompressed beyond a byte of what is in it.
func damagedBody(encoding string, at int, err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return cutOff(err)
	}
	p := wire.NewProblem(wire.CodeBadRequest, "the %s body is damaged or cut off after %d decompressed bytes", encoding, at)
	offset := int64(at)
	p.ByteOffset = &offset
	return p.WithCause(err)
}

// shapeOf tells from the content type how a body lists its events. known is false for a type that is not meant for events: then the
// first byte decides whether it is one all the same.
func shapeOf(contentType string) (form shape, known bool) {
	switch contentType {
	case "application/json":
		return shapeJSON, true
	case "application/x-ndjson":
		return shapeLines, true
	case "":
		return shapeSniff, true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return shapeSniff, false
	}
	switch media {
	case "application/json":
		return shapeJSON, true
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return shapeLines, true
	}
	return shapeSniff, false
}
