package countfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// allColumns and summedColumns are what scans read.
var (
	allColumns    = []int{colPartition, colType, colKey, colTitle, colOwner, colStart, colEventCount, colValueCount, colValueSum, colValueMin, colValueMax}
	summedColumns = []int{colPartition, colType, colKey, colStart, colEventCount, colValueCount, colValueSum, colValueMin, colValueMax}
)

// scan calls visit for each page, in order. It reads every byte of the file's body, with one read a row group.
func (f *File) scan(ctx context.Context, r io.ReaderAt, want []int, visit func(*page) error) error {
	from := f.seal.Reader(r)
	for i := range f.groups {
		g := &f.groups[i]
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := from.Load(g.from, g.to-g.from); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
		if err := g.scan(newPageReader(g, from, want), visit); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
	}
	return nil
}

func (g *group) scan(reader *pageReader, visit func(*page) error) error {
	defer reader.close()
	for n := range len(g.firsts) - 1 {
		p, err := reader.read(n, reader.want)
		if err == nil {
			err = p.consistent()
		}
		if err == nil {
			err = visit(p)
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
	row.Partition = int(p.partitions.at(i))
	keep(&row.Type, p.types.at(i))
	keep(&row.Key, p.keys.at(i))
	keep(&row.Title, p.titles.at(i))
	keep(&row.Owner, p.owners.at(i))
	row.Minute = p.starts[i] / microsAMinute
	row.Aggregate = p.aggregate(i)
}

func keep(text *string, b []byte) {
	if !sameText(*text, b) {
		*text = string(b)
	}
}
