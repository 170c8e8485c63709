package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// Sizes of a Reader when ReaderConfig says nothing.
const (
	defaultBlock  = 1 << 20
	defaultBlocks = 16
	maxRun        = 8 // blocks fetched with one request
)

// ReaderConfig bounds a Reader's memory: Blocks × BlockBytes.
type ReaderConfig struct {
	BlockBytes int // what is fetched at least; 1 MiB if 0
	Blocks     int // how many are kept; 16 if 0
}

// Reader reads an object of known size at any offset, in blocks, of which it keeps the last used. Neighbouring blocks that one call
// needs are fetched with one request. It lives as long as its context.
type Reader struct {
	ctx    context.Context
	store  *Store
	name   string
	size   int64
	block  int64
	blocks int

	mu   sync.Mutex
	kept map[int64]*keptBlock
	tick uint64
}

type keptBlock struct {
	data []byte
	used uint64
}

// Reader makes one. It asks nobody.
func (s *Store) Reader(ctx context.Context, name string, size int64, cfg ReaderConfig) *Reader {
	if cfg.BlockBytes <= 0 {
		cfg.BlockBytes = defaultBlock
	}
	if cfg.Blocks <= 0 {
		cfg.Blocks = defaultBlocks
	}
	return &Reader{ctx: ctx, store: s, name: name, size: size, block: int64(cfg.BlockBytes), blocks: cfg.Blocks, kept: map[int64]*keptBlock{}}
}

// Size is the object's.
func (r *Reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read %s at %d: %w", r.name, offset, io.EOF)
	}
	if offset >= r.size {
		return 0, io.EOF
	}
	var end error
	if rest := r.size - offset; int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		data, err := r.blockLocked(at/r.block, (offset+int64(len(p))-1)/r.block)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], data[at%r.block:])
	}
	return done, end
}

// blockLocked returns a block, and fetches with it those missing right after it, up to last.
func (r *Reader) blockLocked(index, last int64) ([]byte, error) {
	r.tick++
	if b, ok := r.kept[index]; ok {
		b.used = r.tick
		return b.data, nil
	}
	until := index + 1
	for until <= last && until-index < int64(min(maxRun, r.blocks)) && r.kept[until] == nil {
		until++
	}
	from, to := index*r.block, min(until*r.block, r.size)
	data := make([]byte, to-from)
	if err := r.store.ReadRange(r.ctx, r.name, data, from); err != nil {
		return nil, err
	}
	for i := index; i < until; i++ {
		r.evictLocked()
		low := (i - index) * r.block
		high := min(low+r.block, int64(len(data)))
		// A copy, so that a block that is kept keeps no others in memory.
		r.kept[i] = &keptBlock{data: bytes.Clone(data[low:high]), used: r.tick}
	}
	return r.kept[index].data, nil
}

func (r *Reader) evictLocked() {
	if len(r.kept) < r.blocks {
		return
	}
	oldest, used := int64(-1), r.tick+1
	for index, b := range r.kept {
		if b.used < used {
			oldest, used = index, b.used
		}
	}
	delete(r.kept, oldest)
}
