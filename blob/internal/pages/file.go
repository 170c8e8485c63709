package pages

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

// readBuffer is of the library's reader, which copies from what is loaded already.
const readBuffer = 16 << 10

// File is what is known of a file without reading its rows: the footer, the page index and the checksums, all of them checked. It
// holds no reader: each use brings its own, for the same bytes.
type File struct {
	Parquet *parquet.File // its own reader knows the tail alone
	Seal    *sealed.Seal
	Groups  []Group
	Memory  int64 // bytes that it takes, about
}

// Group is a row group.
type Group struct {
	Rows     int64
	From, To int64   // bytes of the file: those of all groups are the whole body
	Firsts   []int64 // the first row of each page, and the number of rows
	Chunks   []*parquet.FileColumnChunk
	Indexes  []parquet.ColumnIndex
	Offsets  []parquet.OffsetIndex

	BloomAt, BloomBytes []int64 // of each column's bloom filter; 0: it has none
}

// Pages is how many each column has.
func (g *Group) Pages() int { return len(g.Firsts) - 1 }

// Open reads the end of a file of a known size, which must have the columns named. The error is sealed.ErrDamaged or the reader's own.
func Open(r io.ReaderAt, size int64, names []string) (*File, error) {
	seal, tail, err := sealed.Open(r, size)
	if err != nil {
		return nil, err
	}
	at := &tailReader{tail: tail, offset: size - int64(len(tail))}
	file, err := parquet.OpenFile(at, size, parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true),
		parquet.FileReadMode(parquet.ReadModeSync), parquet.ReadBufferSize(readBuffer))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", sealed.ErrDamaged, err)
	}
	if err := checkColumns(file.Schema().Columns(), names); err != nil {
		return nil, err
	}
	// The parsed index takes several times what it took in the file.
	f := &File{Parquet: file, Seal: seal, Memory: 6*int64(len(tail)) + seal.Bytes(), Groups: make([]Group, len(file.RowGroups()))}
	for i := range f.Groups {
		if err := f.Groups[i].read(file, i, names); err != nil {
			return nil, fmt.Errorf("row group %d: %w", i, err)
		}
		f.Groups[i].To = seal.Body
		if i == 0 {
			f.Groups[0].From = 0
		} else {
			f.Groups[i-1].To = f.Groups[i].From
		}
	}
	return f, nil
}

func checkColumns(paths [][]string, names []string) error {
	same := len(paths) == len(names)
	for i := 0; same && i < len(names); i++ {
		same = len(paths[i]) == 1 && paths[i][0] == names[i]
	}
	if !same {
		return fmt.Errorf("%w: its columns are %v, not %v", sealed.ErrDamaged, paths, names)
	}
	return nil
}

func (g *Group) read(file *parquet.File, i int, names []string) error {
	rowGroup, written := file.RowGroups()[i], &file.Metadata().RowGroups[i]
	g.Rows, g.From = rowGroup.NumRows(), written.FileOffset
	for c, chunk := range rowGroup.ColumnChunks() {
		index, err := chunk.ColumnIndex()
		if err != nil {
			return fmt.Errorf("%w: column %s: %v", sealed.ErrDamaged, names[c], err)
		}
		offsets, err := chunk.OffsetIndex()
		if err != nil {
			return fmt.Errorf("%w: column %s: %v", sealed.ErrDamaged, names[c], err)
		}
		if c == 0 {
			g.readFirsts(offsets)
		}
		if !g.alike(index, offsets) {
			return fmt.Errorf("%w: column %s has pages of its own", sealed.ErrDamaged, names[c])
		}
		g.Chunks = append(g.Chunks, chunk.(*parquet.FileColumnChunk))
		g.Indexes, g.Offsets = append(g.Indexes, index), append(g.Offsets, offsets)
		g.BloomAt = append(g.BloomAt, written.Columns[c].MetaData.BloomFilterOffset)
		g.BloomBytes = append(g.BloomBytes, int64(written.Columns[c].MetaData.BloomFilterLength))
	}
	return nil
}

func (g *Group) readFirsts(offsets parquet.OffsetIndex) {
	for page := range offsets.NumPages() {
		g.Firsts = append(g.Firsts, offsets.FirstRowIndex(page))
	}
	g.Firsts = append(g.Firsts, g.Rows)
}

// alike says whether a column's pages have the same rows as the first column's.
func (g *Group) alike(index parquet.ColumnIndex, offsets parquet.OffsetIndex) bool {
	if index.NumPages() != g.Pages() || offsets.NumPages() != g.Pages() {
		return false
	}
	for page := range g.Pages() {
		if offsets.FirstRowIndex(page) != g.Firsts[page] {
			return false
		}
	}
	return true
}

// Dictionary says whether a column of the file is encoded with dictionaries.
func (f *File) Dictionary(column int) bool {
	groups := f.Parquet.Metadata().RowGroups
	return len(groups) > 0 && groups[0].Columns[column].MetaData.DictionaryPageOffset != 0
}

// Damage says what an error in the middle of reading means: the reader's own error stays what it is, one of decoding is damage.
func Damage(r *sealed.Reader, err error) error {
	if failed := r.Err(); failed != nil {
		return failed
	}
	if errors.Is(err, sealed.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %v", sealed.ErrDamaged, err)
}

// tailReader serves the end of a file that is in memory already.
type tailReader struct {
	tail   []byte
	offset int64
}

func (t *tailReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < t.offset || offset > t.offset+int64(len(t.tail)) {
		return 0, fmt.Errorf("%w: the footer refers to byte %d as its own", sealed.ErrDamaged, offset)
	}
	n := copy(p, t.tail[offset-t.offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
