package rawfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/pages"
)

// Read yields every event of the file of that name, in the order of the log, and checks each byte and that the order is right. It ends after an error:
// ErrDamaged, the reader's own, or the context's.
func Read(ctx context.Context, r io.ReaderAt, size int64, name Name) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		err := read(ctx, r, size, name, func(row *Row) bool { return yield(*row, nil) })
		if err != nil && !errors.Is(err, errStop) {
			yield(Row{}, fmt.Errorf("read raw file: %w", err))
		}
	}
}

// errStop ends reading early.
var errStop = errors.New("the consumer stopped")

func read(ctx context.Context, r io.ReaderAt, size int64, name Name, yield func(*Row) bool) error {
	file, err := pages.Open(r, size, columnNames)
	if err != nil {
		return err
	}
	if err := checkMeta(file, name); err != nil {
		return err
	}
	from := file.Seal.Reader(r)
	place := place{name: name, offset: name.First, index: -1}
	for i := range file.Groups {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		g := &file.Groups[i]
		if err := from.Load(g.From, g.To-g.From); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
		if err := readGroup(g, pages.NewReader(g, from, allColumns), &place, yield); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
	}
	return nil
}

func readGroup(g *pages.Group, reader *pages.Reader, place *place, yield func(*Row) bool) error {
	defer reader.Close()
	var p page
	var row Row
	for n := range g.Pages() {
		p.rows = int(g.Firsts[n+1] - g.Firsts[n])
		for _, c := range allColumns {
			column, err := reader.Read(c, n)
			if err == nil {
				err = p.set(c, column)
			}
			if err != nil {
				return fmt.Errorf("page %d: %w", n, err)
			}
		}
		if err := p.consistent(); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		for i := range p.rows {
			p.row(i, &row)
			if err := place.move(int(p.partitions.At(i)), &row); err != nil {
				return fmt.Errorf("page %d: row %d: %w", n, i, err)
			}
			if !yield(&row) {
				return errStop
			}
		}
	}
	return nil
}

// place checks that rows follow each other as in the log.
type place struct {
	name   Name
	offset uint64
	index  int
	time   int64
	any    bool
}

func (p *place) move(partition int, row *Row) error {
	next := row.Offset == p.offset && row.Index == p.index+1 && (p.index < 0 || row.AppendTimeMs == p.time)
	begins := row.Offset > p.offset && row.Index == 0
	switch {
	case partition != p.name.Partition, row.Offset >= p.name.Next, !next && !begins, p.any && row.AppendTimeMs < p.time:
		return fmt.Errorf("%w: partition %d, offset %d, index %d is out of order", ErrDamaged, partition, row.Offset, row.Index)
	}
	p.offset, p.index, p.time, p.any = row.Offset, row.Index, row.AppendTimeMs, true
	return nil
}

// page is one page of each column.
type page struct {
	rows         int
	partitions   pages.Numbers32
	offsets      []int64
	indexes      pages.Numbers32
	appendTimes  []int64
	types, keys  pages.Texts
	ids          pages.Texts
	hasPrint     []int32
	fingerprints []uint64
	times        []int64
	weights      []int64
	hasValue     []int32
	values       []int64
}

func (p *page) set(c int, read parquet.Page) error {
	data := read.Data()
	var err error
	switch c {
	case colPartition:
		err = p.partitions.Set(read)
	case colIndex:
		err = p.indexes.Set(read)
	case colType:
		err = p.types.Set(read)
	case colKey:
		err = p.keys.Set(read)
	case colID:
		err = p.ids.Set(read)
	case colOffset:
		p.offsets = data.Int64()
	case colAppendTime:
		p.appendTimes = data.Int64()
	case colTime:
		p.times = data.Int64()
	case colWeight:
		p.weights = data.Int64()
	case colFingerprint:
		p.hasPrint = pages.Places(p.hasPrint, read.DefinitionLevels())
		p.fingerprints = data.Uint64()
	case colValue:
		p.hasValue = pages.Places(p.hasValue, read.DefinitionLevels())
		p.values = data.Int64()
	}
	if err != nil {
		return fmt.Errorf("%w: column %s: %v", ErrDamaged, columnNames[c], err)
	}
	return nil
}

// consistent checks that each column has as many values as its rows need.
func (p *page) consistent() error {
	some := func(places []int32) int {
		n := 0
		for _, place := range places {
			if place >= 0 {
				n++
			}
		}
		return n
	}
	if len(p.hasPrint) != p.rows || len(p.hasValue) != p.rows || len(p.fingerprints) != some(p.hasPrint) || len(p.values) != some(p.hasValue) {
		return fmt.Errorf("%w: columns differ in their rows", ErrDamaged)
	}
	return nil
}

// row fills in row i. Texts that it has from the row before are kept.
func (p *page) row(i int, row *Row) {
	row.Offset, row.Index, row.AppendTimeMs = uint64(p.offsets[i]), int(p.indexes.At(i)), p.appendTimes[i]
	pages.Keep(&row.Type, p.types.At(i))
	pages.Keep(&row.Key, p.keys.At(i))
	pages.Keep(&row.ID, p.ids.At(i))
	row.Fingerprint = 0
	if place := p.hasPrint[i]; place >= 0 {
		row.Fingerprint = p.fingerprints[place]
	}
	row.TimeMs, row.Weight = p.times[i], p.weights[i]
	row.Value, row.HasValue = 0, false
	if place := p.hasValue[i]; place >= 0 {
		row.Value, row.HasValue = p.values[place], true
	}
}
