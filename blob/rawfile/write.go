package rawfile

import (
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/pages"
	"github.com/quipudb/quipu/event"
)

// Writer writes a file batch by batch.
type Writer struct {
	name Name
	file *pages.Writer
	next uint64
	last int64 // append time of the batch before
	rows int   // in the page
	all  int64
}

// NewWriter begins the file of that name; cluster is noted in it. Nothing that it wrote is a file before Close.
func NewWriter(w io.Writer, name Name, cluster string) (*Writer, error) {
	if _, err := name.Object(); err != nil {
		return nil, err
	}
	if name.Next > math.MaxInt64 {
		return nil, fmt.Errorf("%w: offset %d", ErrName, name.Next)
	}
	return &Writer{name: name, file: pages.NewWriter(w, columnNames, options(name, cluster)...), next: name.First, last: math.MinInt64}, nil
}

// Add writes the batch at an offset, which must be the one after the last's. The batch may be used again afterwards.
func (w *Writer) Add(offset uint64, appendTimeMs int64, batch *event.Batch) error {
	switch {
	case offset != w.next || offset >= w.name.Next:
		return fmt.Errorf("%w: offset %d, want %d of [%d, %d)", ErrBatch, offset, w.next, w.name.First, w.name.Next)
	case appendTimeMs < w.last:
		return fmt.Errorf("%w: offset %d was appended before the one before it", ErrBatch, offset)
	case offset == w.name.First && DateOf(appendTimeMs) != w.name.Date:
		return fmt.Errorf("%w: the first one was appended at %d ms, on another date", ErrBatch, appendTimeMs)
	}
	for i := range batch.Len() {
		w.set(offset, appendTimeMs, batch, i)
		if w.rows++; w.rows == pages.PageRows {
			w.rows = 0
			if err := w.file.EndPage(pages.PageRows); err != nil {
				return fmt.Errorf("write raw file: %w", err)
			}
		}
	}
	w.all += int64(batch.Len())
	w.next, w.last = offset+1, appendTimeMs
	return nil
}

func (w *Writer) set(offset uint64, appendTimeMs int64, batch *event.Batch, i int) {
	v, row := w.file.Values, w.rows
	key := &batch.Keys[batch.KeyIndex[i]]
	v[colPartition][row] = pages.Int32(int32(w.name.Partition), colPartition)
	v[colOffset][row] = pages.Int64(int64(offset), colOffset)
	v[colIndex][row] = pages.Int32(int32(i), colIndex)
	v[colAppendTime][row] = pages.Int64(appendTimeMs, colAppendTime)
	v[colType][row] = pages.Text(key.Type, colType)
	v[colKey][row] = pages.Text(key.Key, colKey)
	v[colID][row] = pages.OptionalText(batch.ID(i), colID)
	v[colFingerprint][row] = pages.Null(colFingerprint)
	if len(batch.Fingerprints) > 0 && batch.Fingerprints[i] != 0 {
		v[colFingerprint][row] = parquet.Int64Value(int64(batch.Fingerprints[i])).Level(0, 1, colFingerprint)
	}
	v[colTime][row] = pages.Int64(batch.TimesMs[i], colTime)
	v[colWeight][row] = pages.Int64(batch.Weight(i), colWeight)
	v[colValue][row] = pages.Null(colValue)
	if batch.HasValue != nil && batch.HasValue[i] {
		v[colValue][row] = pages.OptionalInt64(batch.Values[i], colValue)
	}
}

// Close ends the file, when all batches of its name were added, and returns how many events it has.
func (w *Writer) Close() (int64, error) {
	if w.next != w.name.Next {
		return 0, fmt.Errorf("%w: the file ends at offset %d, want %d", ErrBatch, w.next, w.name.Next)
	}
	if w.rows > 0 {
		if err := w.file.EndPage(w.rows); err != nil {
			return 0, fmt.Errorf("write raw file: %w", err)
		}
	}
	if err := w.file.Close(); err != nil {
		return 0, fmt.Errorf("write raw file: %w", err)
	}
	return w.all, nil
}
