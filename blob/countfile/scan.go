package countfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/quipudb/quipu/blob/internal/pages"
)

// allColumns and summedColumns are what scans read.
var (
	allColumns    = []int{colPartition, colType, colKey, colTitle, colOwner, colStart, colEventCount, colValueCount, colValueSum, colValueMin, colValueMax}
	summedColumns = []int{colPartition, colType, colKey, colStart, colEventCount, colValueCount, colValueSum, colValueMin, colValueMax}
)

// scan calls visit for each page, in order. It reads every byte of the file's body, with one read a row group.
func (f *File) scan(ctx context.Context, r io.ReaderAt, want []int, visit func(*page) error) error {
	from := f.pages.Seal.Reader(r)
	for i := range f.pages.Groups {
		g := &f.pages.Groups[i]
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := from.Load(g.From, g.To-g.From); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
		if err := scanGroup(g, pages.NewReader(g, from, want), want, visit); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
	}
	return nil
}

func scanGroup(g *pages.Group, reader *pages.Reader, want []int, visit func(*page) error) error {
	defer reader.Close()
	var p page
	for n := range g.Pages() {
		err := p.read(reader, g, n, want)
		if err == nil {
			err = p.consistent()
		}
		if err == nil {
			err = visit(&p)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
	}
	return nil
}

// errStop ends a scan early.
var errStop = errors.New("the consumer stopped")

// All yields every row, in order. It ends after an error.
func (f *File) All(ctx context.Context, r io.ReaderAt) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var row Row
		err := f.scan(ctx, r, allColumns, func(p *page) error {
			for i := range p.rows {
				p.row(i, &row)
				if !yield(row, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(Row{}, fmt.Errorf("read count file: %w", err))
		}
	}
}

// row fills in row i. Texts that it has from the row before are kept.
func (p *page) row(i int, row *Row) {
	row.Partition = int(p.partitions.At(i))
	pages.Keep(&row.Type, p.types.At(i))
	pages.Keep(&row.Key, p.keys.At(i))
	pages.Keep(&row.Title, p.titles.At(i))
	pages.Keep(&row.Owner, p.owners.At(i))
	row.Minute = p.starts[i] / microsAMinute
	row.Aggregate = p.aggregate(i)
}
