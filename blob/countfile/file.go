package countfile

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

// File is what is known of a file without reading its rows: the footer, the page index and the checksums, all of them checked. It
// holds no reader: each use brings its own, for the same bytes.
type File struct {
	meta   Meta
	rows   int64
	size   int64
	memory int64
	seal   *sealed.Seal
	groups []group
}

// group is a row group. Page i of each column has the same rows.
type group struct {
	rows     int64
	from, to int64 // bytes of the file: those of all groups cover the body
	firsts   []int64
	chunks   [columns]*parquet.FileColumnChunk
	indexes  [columns]parquet.ColumnIndex
	offsets  [columns]parquet.OffsetIndex
	bloom    int64 // where the filter of the keys is; 0: there is none
	bloomLen int64
}

// readBuffer is of the library's reader, which copies from what is loaded already.
const readBuffer = 16 << 10

// Open reads the end of a file of a known size. The error is ErrDamaged or the reader's own.
func Open(r io.ReaderAt, size int64) (*File, error) {
	seal, tail, err := sealed.Open(r, size)
	if err != nil {
		return nil, fmt.Errorf("open count file: %w", err)
	}
	at := &tailReader{tail: tail, offset: size - int64(len(tail))}
	file, err := parquet.OpenFile(at, size, parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true),
		parquet.FileReadMode(parquet.ReadModeSync), parquet.ReadBufferSize(readBuffer))
	if err != nil {
		return nil, fmt.Errorf("open count file: %w: %v", ErrDamaged, err)
	}
	meta, err := readMeta(file)
	if err != nil {
		return nil, fmt.Errorf("open count file: %w", err)
	}
	f := &File{meta: meta, rows: file.NumRows(), size: size, seal: seal, memory: 6*int64(len(tail)) + seal.Bytes()}
	f.groups = make([]group, len(file.RowGroups()))
	for i, rowGroup := range file.RowGroups() {
		if err := f.groups[i].read(rowGroup, file.Metadata().RowGroups[i].FileOffset); err != nil {
			return nil, fmt.Errorf("open count file: row group %d: %w", i, err)
		}
	}
	f.cover()
	return f, nil
}

// cover divides the body among the groups, so that reading all groups reads all of it.
func (f *File) cover() {
	for i := range f.groups {
		f.groups[i].to = f.seal.Body
		if i == 0 {
			f.groups[i].from = 0
		} else {
			f.groups[i-1].to = f.groups[i].from
		}
	}
}

func (g *group) read(rowGroup parquet.RowGroup, offset int64) error {
	g.rows, g.from = rowGroup.NumRows(), offset
	for c, chunk := range rowGroup.ColumnChunks() {
		g.chunks[c] = chunk.(*parquet.FileColumnChunk)
		var err error
		if g.indexes[c], err = chunk.ColumnIndex(); err != nil {
			return fmt.Errorf("%w: column %s: %v", ErrDamaged, columnNames[c], err)
		}
		if g.offsets[c], err = chunk.OffsetIndex(); err != nil {
			return fmt.Errorf("%w: column %s: %v", ErrDamaged, columnNames[c], err)
		}
	}
	pages := g.offsets[0].NumPages()
	g.firsts = make([]int64, pages+1)
	g.firsts[pages] = g.rows
	for page := range pages {
		g.firsts[page] = g.offsets[0].FirstRowIndex(page)
	}
	for c := range g.offsets {
		if g.offsets[c].NumPages() != pages || g.indexes[c].NumPages() != pages {
			return fmt.Errorf("%w: column %s has pages of its own", ErrDamaged, columnNames[c])
		}
		for page := range pages {
			if g.offsets[c].FirstRowIndex(page) != g.firsts[page] {
				return fmt.Errorf("%w: column %s has pages of its own", ErrDamaged, columnNames[c])
			}
		}
	}
	key := g.chunks[colKey].File().Metadata().RowGroups
	for i := range key {
		if key[i].FileOffset == offset {
			g.bloom = key[i].Columns[colKey].MetaData.BloomFilterOffset
			g.bloomLen = int64(key[i].Columns[colKey].MetaData.BloomFilterLength)
		}
	}
	return nil
}

// Meta is what the file says of its rows.
func (f *File) Meta() Meta { return f.meta }

// Rows is how many there are.
func (f *File) Rows() int64 { return f.rows }

// Size is the file's, in bytes.
func (f *File) Size() int64 { return f.size }

// MemoryBytes is about what the File itself takes in memory, for a cache's bound.
func (f *File) MemoryBytes() int64 { return f.memory }

// manyRowsAKey tells how the keys are encoded.
func (f *File) manyRowsAKey() bool {
	return len(f.groups) > 0 && f.groups[0].chunks[colKey].File().Metadata().RowGroups[0].Columns[colKey].MetaData.DictionaryPageOffset != 0
}

// damage says what an error in the middle of reading means: the reader's own error stays what it is, one of decoding is damage.
func damage(r *sealed.Reader, err error) error {
	if failed := r.Err(); failed != nil {
		return failed
	}
	if errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}

// tailReader serves the end of a file that is in memory already.
type tailReader struct {
	tail   []byte
	offset int64
}

func (t *tailReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < t.offset || offset > t.offset+int64(len(t.tail)) {
		return 0, fmt.Errorf("%w: the footer refers to byte %d as its own", ErrDamaged, offset)
	}
	n := copy(p, t.tail[offset-t.offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
