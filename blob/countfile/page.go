package countfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/sealed"
	"github.com/quipudb/quipu/event"
)

// page is one page of each column that was asked for. Its values are good until the next is read.
type page struct {
	rows       int
	partitions numbers32
	types      texts
	keys       texts
	titles     texts
	owners     texts
	starts     []int64
	counts     []int64
	values     []int32 // for each row its place in the columns below; -1: no event had a value
	valueCount []int64
	valueSum   []byte
	valueMin   []int64
	valueMax   []int64
}

// numbers32 is a column of numbers, maybe by dictionary.
type numbers32 struct{ index, values []int32 }

func (n *numbers32) at(i int) int32 {
	if n.index != nil {
		i = int(n.index[i])
	}
	return n.values[i]
}

// texts is a column of texts, maybe by dictionary, maybe with nulls.
type texts struct {
	present []byte  // by row; nil: all are
	places  []int32 // by row, where present says which are
	index   []int32
	data    []byte
	offsets []uint32
}

// code is a number that is the same only for the same text, within a page with a dictionary.
func (t *texts) code(i int) int32 {
	if t.index != nil {
		return t.index[i]
	}
	return int32(i)
}

func (t *texts) at(i int) []byte {
	if t.present != nil {
		if t.present[i] == 0 {
			return nil
		}
		i = int(t.places[i])
	}
	if t.index != nil {
		i = int(t.index[i])
	}
	return t.data[t.offsets[i]:t.offsets[i+1]]
}

// pageReader reads pages of a row group, in ascending order.
type pageReader struct {
	group  *group
	want   []int // columns
	from   *sealed.Reader
	pages  [columns]*parquet.FilePages
	opened [columns]parquet.Page // released when the next is read
	window [columns]*window
	page   page
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

func newPageReader(g *group, from *sealed.Reader, want []int) *pageReader {
	r := &pageReader{group: g, want: want, from: from}
	for _, c := range want {
		r.window[c] = &window{from: from}
		r.pages[c] = g.chunks[c].PagesFrom(r.window[c])
	}
	return r
}

func (r *pageReader) close() {
	for _, c := range r.want {
		r.release(c)
		// It only gives back memory.
		_ = r.pages[c].Close()
	}
}

func (r *pageReader) release(c int) {
	if r.opened[c] != nil {
		parquet.Release(r.opened[c])
		r.opened[c] = nil
	}
}

// read reads page number n of some of the wanted columns.
func (r *pageReader) read(n int, some []int) (*page, error) {
	r.page.rows = int(r.group.firsts[n+1] - r.group.firsts[n])
	for _, c := range some {
		if err := r.readColumn(c, n); err != nil {
			return nil, fmt.Errorf("column %s: %w", columnNames[c], damage(r.from, err))
		}
	}
	return &r.page, nil
}

func (r *pageReader) readColumn(c, n int) error {
	r.release(c)
	offsets := r.group.offsets[c]
	r.window[c].end = offsets.Offset(n) + offsets.CompressedPageSize(n)
	if err := r.pages[c].SeekToRow(r.group.firsts[n]); err != nil {
		return err
	}
	read, err := r.pages[c].ReadPage()
	if err != nil {
		return err
	}
	r.opened[c] = read
	if read.NumRows() != int64(r.page.rows) {
		return errors.New("a page has other rows than its index says")
	}
	return r.page.set(c, read)
}

func (p *page) set(c int, read parquet.Page) error {
	switch c {
	case colPartition:
		return p.partitions.set(read)
	case colType:
		return p.types.set(read)
	case colKey:
		return p.keys.set(read)
	case colTitle:
		return p.titles.set(read)
	case colOwner:
		return p.owners.set(read)
	}
	data := read.Data()
	switch c {
	case colStart:
		p.starts = data.Int64()
	case colEventCount:
		p.counts = data.Int64()
	case colValueCount:
		p.values = places(p.values, read.DefinitionLevels())
		p.valueCount = data.Int64()
	case colValueSum:
		p.valueSum, _ = data.FixedLenByteArray()
	case colValueMin:
		p.valueMin = data.Int64()
	case colValueMax:
		p.valueMax = data.Int64()
	}
	return nil
}

func (n *numbers32) set(read parquet.Page) error {
	data := read.Data()
	n.index, n.values = nil, data.Int32()
	if dictionary := read.Dictionary(); dictionary != nil {
		values := dictionary.Page().Data()
		n.index, n.values = n.values, values.Int32()
		return within(n.index, len(n.values))
	}
	return nil
}

func (t *texts) set(read parquet.Page) error {
	t.present = read.DefinitionLevels()
	if len(t.present) == 0 {
		t.present = nil
	} else {
		t.places = places(t.places, t.present)
	}
	data := read.Data()
	if dictionary := read.Dictionary(); dictionary != nil {
		t.index = data.Int32()
		values := dictionary.Page().Data()
		t.data, t.offsets = values.ByteArray()
		return within(t.index, len(t.offsets)-1)
	}
	t.index = nil
	t.data, t.offsets = data.ByteArray()
	return nil
}

// places says for each row which of the values that are not null is its own; -1 for null.
func places(dst []int32, levels []byte) []int32 {
	dst = dst[:0]
	next := int32(0)
	for _, level := range levels {
		if level == 0 {
			dst = append(dst, -1)
			continue
		}
		dst = append(dst, next)
		next++
	}
	return dst
}

func within(index []int32, length int) error {
	for _, i := range index {
		if uint(i) >= uint(length) {
			return errors.New("an index is beyond its dictionary")
		}
	}
	return nil
}

// consistent checks that the columns of values have the same rows.
func (p *page) consistent() error {
	some := 0
	for _, place := range p.values {
		if place >= 0 {
			some++
		}
	}
	if len(p.values) != p.rows || len(p.valueCount) != some || len(p.valueSum) != 16*some || len(p.valueMin) != some || len(p.valueMax) != some {
		return fmt.Errorf("%w: the columns of values differ in their nulls", ErrDamaged)
	}
	return nil
}

// aggregate composes row i's.
func (p *page) aggregate(i int) event.Aggregate {
	a := event.NewAggregate()
	a.Count = p.counts[i]
	if place := p.values[i]; place >= 0 {
		a.HasValues = true
		a.ValueCount = p.valueCount[place]
		a.Sum = p.sum(place)
		a.Min, a.Max = p.valueMin[place], p.valueMax[place]
	}
	return a
}

func (p *page) sum(place int32) event.Sum {
	raw := p.valueSum[16*place : 16*place+16]
	return event.Sum{Hi: int64(binary.BigEndian.Uint64(raw)), Lo: binary.BigEndian.Uint64(raw[8:])}
}

// sameText says whether a text equals bytes, without making another text.
func sameText(s string, b []byte) bool { return s == string(b) }

func compare(a, b []byte) int { return bytes.Compare(a, b) }
