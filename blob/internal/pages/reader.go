package pages

import (
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

// Reader reads pages of some columns of a row group, in ascending order.
type Reader struct {
	group   *Group
	columns []int
	from    *sealed.Reader
	readers []*parquet.FilePages // by column, nil for those not wanted
	windows []*window
	held    []parquet.Page // released when the next of its column is read
}

// NewReader returns a reader of a group.
func NewReader(g *Group, from *sealed.Reader, columns []int) *Reader {
	n := len(g.Chunks)
	r := &Reader{
		group: g, columns: columns, from: from,
		readers: make([]*parquet.FilePages, n), windows: make([]*window, n), held: make([]parquet.Page, n),
	}
	for _, c := range columns {
		r.windows[c] = &window{from: from}
		r.readers[c] = g.Chunks[c].PagesFrom(r.windows[c])
	}
	return r
}

// Close ends the reading.
func (r *Reader) Close() {
	for _, c := range r.columns {
		r.release(c)
		_ = r.readers[c].Close() // only gives back memory
	}
}

func (r *Reader) release(c int) {
	if r.held[c] != nil {
		parquet.Release(r.held[c])
		r.held[c] = nil
	}
}

// Read reads page n of a column. It is good until the column's next page is read.
func (r *Reader) Read(c, n int) (parquet.Page, error) {
	page, err := r.read(c, n)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", r.group.Chunks[c].Node().(*parquet.Column).Name(), Damage(r.from, err))
	}
	return page, nil
}

func (r *Reader) read(c, n int) (parquet.Page, error) {
	r.release(c)
	r.windows[c].end = r.group.Offsets[c].Offset(n) + r.group.Offsets[c].CompressedPageSize(n)
	if err := r.readers[c].SeekToRow(r.group.Firsts[n]); err != nil {
		return nil, err
	}
	page, err := r.readers[c].ReadPage()
	if err != nil {
		return nil, err
	}
	r.held[c] = page
	if page.NumRows() != r.group.Firsts[n+1]-r.group.Firsts[n] {
		return nil, errors.New("a page has other rows than its index says")
	}
	return page, nil
}

// window ends where a page ends, so that the library's buffer reads no further. Unlike other readers of this kind it then returns
// less without an error: the buffer would keep the error and return it when the next page is wanted.
type window struct {
	from *sealed.Reader
	end  int64
}

func (w *window) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= w.end {
		return 0, io.EOF
	}
	return w.from.ReadAt(p[:min(int64(len(p)), w.end-offset)], offset)
}
