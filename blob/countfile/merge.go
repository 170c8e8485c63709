package countfile

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Source is a file to merge, with a reader of its bytes.
type Source struct {
	File   *File
	Reader io.ReaderAt
}

// Merge writes the rows of several files of one resolution and day as one file, in which each cell (partition, type, key, start) has one row: the sum.
// Title and owner of a cell are those of the last source that has it, so sources go from old to new. Memory is a row
// group a source.
//
// The sums of the result are those of the sources together; its number of rows may be less.
func Merge(ctx context.Context, w io.Writer, meta Meta, sources ...Source) (Summary, error) {
	summary, err := merge(ctx, w, meta, sources)
	if err != nil {
		return Summary{}, fmt.Errorf("merge count files: %w", err)
	}
	return summary, nil
}

func merge(ctx context.Context, w io.Writer, meta Meta, sources []Source) (Summary, error) {
	var largest *File
	for _, source := range sources {
		if m := source.File.meta; m.Resolution != meta.Resolution || m.Day != meta.Day {
			return Summary{}, fmt.Errorf("%w: a source is of %s %d, not %s %d", ErrRow, m.Resolution, m.Day, meta.Resolution, meta.Day)
		}
		if largest == nil || source.File.rows > largest.rows {
			largest = source.File
		}
	}
	enc, err := newEncoder(w, meta, largest != nil && largest.pages.Dictionary(colKey))
	if err != nil {
		return Summary{}, err
	}
	queue := make(cursors, 0, len(sources))
	defer func() {
		for _, c := range queue {
			c.stop()
		}
	}()
	for rank, source := range sources {
		next, stop := iter.Pull2(source.File.All(ctx, source.Reader))
		c := &cursor{rank: rank, next: next, stop: stop}
		queue = append(queue, c)
	}
	if err := queue.start(); err != nil {
		return Summary{}, err
	}
	for len(queue) > 0 {
		row, err := queue.cell()
		if err != nil {
			return Summary{}, err
		}
		if err := enc.add(&row); err != nil {
			return Summary{}, err
		}
	}
	return enc.close()
}

// cursor is a source's place.
type cursor struct {
	rank int
	row  Row
	next func() (Row, error, bool)
	stop func()
}

// cursors is a heap of sources by their next row; of equal cells, the older source comes first.
type cursors []*cursor

func (c cursors) Len() int      { return len(c) }
func (c cursors) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c cursors) Less(i, j int) bool {
	if order := compareCells(&c[i].row, &c[j].row); order != 0 {
		return order < 0
	}
	return c[i].rank < c[j].rank
}
func (c *cursors) Push(x any) { *c = append(*c, x.(*cursor)) }
func (c *cursors) Pop() any {
	old := *c
	last := old[len(old)-1]
	*c = old[:len(old)-1]
	return last
}

func compareCells(a, b *Row) int {
	if c := strings.Compare(a.Type, b.Type); c != 0 {
		return c
	}
	if c := strings.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Minute, b.Minute); c != 0 {
		return c
	}
	return cmp.Compare(a.Partition, b.Partition)
}

// start reads the first row of each source.
func (c *cursors) start() error {
	for i := 0; i < len(*c); {
		cursor := (*c)[i]
		row, err, ok := cursor.next()
		if err != nil {
			return fmt.Errorf("source %d: %w", cursor.rank, err)
		}
		if !ok {
			cursor.stop()
			(*c)[i] = (*c)[len(*c)-1]
			*c = (*c)[:len(*c)-1]
			continue
		}
		cursor.row = row
		i++
	}
	heap.Init(c)
	return nil
}

// cell takes the rows of the next cell from all sources and adds them up.
func (c *cursors) cell() (Row, error) {
	total := (*c)[0].row
	if err := c.advance(); err != nil {
		return Row{}, err
	}
	for len(*c) > 0 && compareCells(&(*c)[0].row, &total) == 0 {
		newer := &(*c)[0].row
		total.Title, total.Owner = newer.Title, newer.Owner
		total.Merge(newer.Aggregate)
		if err := c.advance(); err != nil {
			return Row{}, err
		}
	}
	return total, nil
}

// advance moves the first source on.
func (c *cursors) advance() error {
	first := (*c)[0]
	row, err, ok := first.next()
	if err != nil {
		return fmt.Errorf("source %d: %w", first.rank, err)
	}
	if !ok {
		first.stop()
		heap.Pop(c)
		return nil
	}
	first.row = row
	heap.Fix(c, 0)
	return nil
}
