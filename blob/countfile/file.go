package countfile

import (
	"fmt"
	"io"

	"github.com/quipudb/quipu/blob/internal/pages"
)

// File is what is known of a file without reading its rows: the footer, the page index and the checksums, all of them checked. It
// holds no reader: each use brings its own, for the same bytes.
type File struct {
	meta  Meta
	rows  int64
	size  int64
	pages *pages.File
}

// Open reads the end of a file of a known size. The error is ErrDamaged or the reader's own.
func Open(r io.ReaderAt, size int64) (*File, error) {
	opened, err := pages.Open(r, size, columnNames)
	if err != nil {
		return nil, fmt.Errorf("open count file: %w", err)
	}
	meta, err := readMeta(opened.Parquet)
	if err != nil {
		return nil, fmt.Errorf("open count file: %w", err)
	}
	return &File{meta: meta, rows: opened.Parquet.NumRows(), size: size, pages: opened}, nil
}

// Meta is what the file says of its rows.
func (f *File) Meta() Meta { return f.meta }

// Rows is how many there are.
func (f *File) Rows() int64 { return f.rows }

// Size is the file's, in bytes.
func (f *File) Size() int64 { return f.size }

// MemoryBytes is about what the File itself takes in memory, for a cache's bound.
func (f *File) MemoryBytes() int64 { return f.pages.Memory }
