package client

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how bodies are sent.
type Compression string

// The compressions.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// minCompressed is the body below which compression is not worth its cost.
const minCompressed = 512

// compressor compresses whole bodies. It is safe for concurrent use.
type compressor struct {
	kind Compression
	zstd *zstd.Encoder
	gzip sync.Pool // of *gzip.Writer
}

func newCompressor(kind Compression) (*compressor, error) {
	c := &compressor{kind: kind}
	switch kind {
	case Plain:
	case Gzip:
		c.gzip.New = func() any {
			w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for levels that don't exist only
			return w
		}
	case Zstd:
		var err error
		if c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2)); err != nil {
			return nil, fmt.Errorf("make zstd encoder: %w", err)
		}
	default:
		return nil, fmt.Errorf("%w: compression %q is none of \"\", gzip, zstd", ErrConfig, kind)
	}
	return c, nil
}

// compress returns the body as it is sent and its Content-Encoding.
func (c *compressor) compress(body []byte) ([]byte, string) {
	if c.kind == Plain || len(body) < minCompressed {
		return body, ""
	}
	if c.kind == Zstd {
		return c.zstd.EncodeAll(body, make([]byte, 0, len(body)/4)), string(Zstd)
	}
	w := c.gzip.Get().(*gzip.Writer)
	defer c.gzip.Put(w)
	out := bytes.NewBuffer(make([]byte, 0, len(body)/4))
	w.Reset(out)
	_, _ = w.Write(body) // a Buffer takes everything
	_ = w.Close()
	return out.Bytes(), string(Gzip)
}
