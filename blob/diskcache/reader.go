package diskcache

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
)

// Reader reads an object of a known size through the cache. It lives as long as its context.
type Reader struct {
	ctx   context.Context
	cache *Cache
	name  string
	size  int64
	last  atomic.Pointer[held] // spares small reads of one block after the other the way to the disk
}

type held struct {
	number int64
	data   []byte
}

// Reader makes one. It asks nobody.
func (c *Cache) Reader(ctx context.Context, name string, size int64) *Reader {
	return &Reader{ctx: ctx, cache: c, name: name, size: size}
}

// Size is the object's.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt. Its errors are the source's, or the context's.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= r.size {
		return 0, io.EOF
	}
	var end error
	if rest := r.size - offset; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if len(p) == 0 {
		return 0, end
	}
	block, done := r.cache.block, 0
	first, last := offset/block, (offset+int64(len(p))-1)/block
	take := func(number int64, data []byte) {
		if at := offset + int64(done); at/block == number {
			done += copy(p[done:], data[at%block:])
		}
		r.last.Store(&held{number: number, data: data})
	}
	if h := r.last.Load(); h != nil && h.number == first {
		take(first, h.data)
		first++
	}
	if err := r.cache.read(r.ctx, r.name, r.size, first, last, take); err != nil {
		return done, fmt.Errorf("read %s through the cache: %w", r.name, err)
	}
	return done, end
}
