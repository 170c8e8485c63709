package countfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/quipudb/quipu/blob/internal/pages"
	"github.com/quipudb/quipu/blob/internal/sealed"
)

// Query asks for the rows of some keys of a type, in a range of time.
type Query struct {
	Type     string
	Keys     []string // in any order
	From, To int64    // minutes since 1970: starts in [From, To)
}

// searchedColumns tell which rows are wanted, foundColumns what they say.
var (
	searchedColumns = []int{colType, colKey, colStart}
	foundColumns    = []int{colPartition, colEventCount, colValueCount, colValueSum, colValueMin, colValueMax}
)

const wholeGroup = 1 << 20 // a row group up to this size is read with one read

// Lookup yields the rows that a query asks for, in order, without Title and Owner. It reads only the pages that may have such rows, as
// the page index and the bloom filters tell. It ends after an error: ErrDamaged, the reader's own, or the context's.
func (f *File) Lookup(ctx context.Context, r io.ReaderAt, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if !slices.IsSorted(q.Keys) {
			q.Keys = slices.Sorted(slices.Values(q.Keys))
		}
		s := search{file: f, query: q, from: f.pages.Seal.Reader(r), yield: func(row Row) bool { return yield(row, nil) }}
		for i := range f.pages.Groups {
			err := context.Cause(ctx)
			if err == nil {
				err = s.group(ctx, i)
			}
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(Row{}, fmt.Errorf("look up in count file: row group %d: %w", i, err))
				return
			}
		}
	}
}

// search is one Lookup.
type search struct {
	file  *File
	query Query
	from  *sealed.Reader
	yield func(Row) bool

	decoded page
}

// candidate is a page that may have rows, and the keys that they may be of.
type candidate struct {
	page int
	keys []string
}

func (s *search) group(ctx context.Context, i int) error {
	g, candidates := &s.file.pages.Groups[i], s.candidates(i)
	if len(candidates) == 0 {
		return nil
	}
	if g.To-g.From <= wholeGroup {
		if err := s.from.Load(g.From, g.To-g.From); err != nil {
			return err
		}
	}
	candidates, err := s.filter(g, candidates)
	if err != nil || len(candidates) == 0 {
		return err
	}
	reader := pages.NewReader(g, s.from, summedColumns)
	defer reader.Close()
	for _, c := range candidates {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := s.page(reader, g, c); err != nil {
			return fmt.Errorf("page %d: %w", c.page, err)
		}
	}
	return nil
}

// candidates looks at the page index alone.
func (s *search) candidates(i int) []candidate {
	q, g := &s.query, &s.file.pages.Groups[i]
	types, keys, starts := g.Indexes[colType], g.Indexes[colKey], g.Indexes[colStart]
	var found []candidate
	for n := range types.NumPages() {
		if q.Type < string(types.MinValue(n).ByteArray()) || q.Type > string(types.MaxValue(n).ByteArray()) {
			continue
		}
		if starts.MaxValue(n).Int64() < q.From*microsAMinute || starts.MinValue(n).Int64() >= q.To*microsAMinute {
			continue
		}
		low, high := string(keys.MinValue(n).ByteArray()), string(keys.MaxValue(n).ByteArray())
		// A page that has several types says little about its keys of one of them; its neighbours of that type alone say more.
		if _, last, ok := s.keysBeside(i, n-1); ok {
			low = max(low, last)
		}
		if first, _, ok := s.keysBeside(i, n+1); ok {
			high = min(high, first)
		}
		if within := between(q.Keys, low, high); len(within) > 0 {
			found = append(found, candidate{page: n, keys: within})
		}
	}
	return found
}

// keysBeside returns the first and last key of a page, which may be of the row group before or after, if all its rows are of the asked type.
func (s *search) keysBeside(i, n int) (first, last string, ok bool) {
	groups := s.file.pages.Groups
	switch {
	case n < 0 && i > 0:
		i--
		n = groups[i].Indexes[colType].NumPages() - 1
	case n >= groups[i].Indexes[colType].NumPages() && i+1 < len(groups):
		i, n = i+1, 0
	}
	types, keys := groups[i].Indexes[colType], groups[i].Indexes[colKey]
	if n < 0 || n >= types.NumPages() || string(types.MinValue(n).ByteArray()) != s.query.Type || string(types.MaxValue(n).ByteArray()) != s.query.Type {
		return "", "", false
	}
	return string(keys.MinValue(n).ByteArray()), string(keys.MaxValue(n).ByteArray()), true
}

// between returns the sorted keys from low to high, both included.
func between(keys []string, low, high string) []string {
	if low > high {
		return nil
	}
	first, _ := slices.BinarySearch(keys, low)
	last, found := slices.BinarySearch(keys[first:], high)
	if found {
		for last < len(keys)-first && keys[first+last] == high {
			last++
		}
	}
	return keys[first : first+last]
}

// page yields the rows of one page.
func (s *search) page(reader *pages.Reader, g *pages.Group, c candidate) error {
	p := &s.decoded
	if err := p.read(reader, g, c.page, searchedColumns); err != nil {
		return err
	}
	matches := s.match(p, c.keys)
	if len(matches) == 0 {
		return nil
	}
	if err := p.read(reader, g, c.page, foundColumns); err != nil {
		return err
	}
	if err := p.consistent(); err != nil {
		return err
	}
	row := Row{}
	row.Type = s.query.Type
	for _, m := range matches {
		row.Partition = int(p.partitions.At(m.row))
		row.Key = m.key
		row.Minute = p.starts[m.row] / microsAMinute
		row.Aggregate = p.aggregate(m.row)
		if !s.yield(row) {
			return errStop
		}
	}
	return nil
}

type match struct {
	row int
	key string
}

// match finds the rows of the keys: both are sorted, so it goes through them side by side.
func (s *search) match(p *page, keys []string) []match {
	var found []match
	q := &s.query
	lastType, lastKey := int32(-1), int32(-1)
	typeFits, next := false, 0
	for i := range p.rows {
		typeCode, keyCode := p.types.Code(i), p.keys.Code(i)
		if typeCode != lastType {
			lastType, lastKey = typeCode, -1
			typeFits, next = q.Type == string(p.types.At(i)), 0
		}
		if !typeFits {
			continue
		}
		if keyCode != lastKey {
			lastKey = keyCode
			for next < len(keys) && keys[next] < string(p.keys.At(i)) {
				next++
			}
			if next == len(keys) {
				typeFits = false // no more of this type in this page
				continue
			}
		}
		if keys[next] != string(p.keys.At(i)) {
			continue
		}
		if start := p.starts[i]; start >= q.From*microsAMinute && start < q.To*microsAMinute {
			found = append(found, match{row: i, key: keys[next]})
		}
	}
	return found
}
