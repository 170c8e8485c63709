package countfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Sum reads a whole file, each byte of it, checks that its rows are in order and of its day, and adds them up. The error is
// ErrDamaged, the reader's own, or the context's.
func Sum(ctx context.Context, r io.ReaderAt, size int64) (Meta, Summary, error) {
	f, err := Open(r, size)
	if err != nil {
		return Meta{}, Summary{}, err
	}
	summary, err := f.Sum(ctx, r)
	return f.Meta(), summary, err
}

// Sum is the function Sum for a file that is open already.
func (f *File) Sum(ctx context.Context, r io.ReaderAt) (Summary, error) {
	t := tally{meta: f.meta, step: step(f.meta.Resolution)}
	if err := f.scan(ctx, r, summedColumns, t.page); err != nil {
		return Summary{}, fmt.Errorf("sum up count file: %w", err)
	}
	summary := t.parts.summary()
	if summary.Rows != f.rows {
		return Summary{}, fmt.Errorf("sum up count file: %w: it has %d rows, want %d", ErrDamaged, summary.Rows, f.rows)
	}
	return summary, nil
}

// tally adds up pages and remembers the last row, to compare the next with.
type tally struct {
	meta  Meta
	step  int64
	parts partSums

	any       bool
	kind, key []byte
	start     int64
	partition int32
}

func (t *tally) page(p *page) error {
	lastType, lastKey := int32(-1), int32(-1)
	for i := range p.rows {
		start := p.starts[i] / microsAMinute
		if start < t.meta.Day || start >= t.meta.Day+minutesADay || (start-t.meta.Day)%t.step != 0 || p.starts[i]%microsAMinute != 0 {
			return fmt.Errorf("%w: row %d starts at %d µs", ErrDamaged, i, p.starts[i])
		}
		partition := p.partitions.At(i)
		typeCode, keyCode := p.types.Code(i), p.keys.Code(i)
		same := typeCode == lastType && keyCode == lastKey
		if !same {
			order := t.compareKey(p, i)
			if order > 0 {
				return fmt.Errorf("%w: row %d is out of order", ErrDamaged, i)
			}
			same = order == 0
			t.kind, t.key = append(t.kind[:0], p.types.At(i)...), append(t.key[:0], p.keys.At(i)...)
			lastType, lastKey = typeCode, keyCode
		}
		if same && t.any && (start < t.start || start == t.start && partition < t.partition) {
			return fmt.Errorf("%w: row %d is out of order", ErrDamaged, i)
		}
		t.any, t.start, t.partition = true, start, partition
		a := p.aggregate(i)
		t.parts.addRow(int(partition), &a)
	}
	return nil
}

// compareKey compares the last row's type and key with row i's.
func (t *tally) compareKey(p *page, i int) int {
	if !t.any {
		return -1
	}
	if c := bytes.Compare(t.kind, p.types.At(i)); c != 0 {
		return c
	}
	return bytes.Compare(t.key, p.keys.At(i))
}
