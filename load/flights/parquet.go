package flights

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// Sentinel errors of ReadParquet.
var (
	ErrColumns = errors.New("not a file of flights")       // the columns are not those of flights-3m.parquet
	ErrDamaged = errors.New("the Parquet file is damaged") // so much so that its content makes no sense
)

const rowsAtOnce = 512

// ReadParquet yields every flight of a Parquet file with the columns of flights-3m.parquet, in the order of the file and numbered
// from 0. It holds one page of each column in memory. An error ends the sequence and names file and row. Pages carry no checksums, so
// that damage may pass for data: Verify tells for certain.
func ReadParquet(path string) iter.Seq2[Flight, error] {
	return func(yield func(Flight, error) bool) {
		r, err := openParquet(path)
		if err != nil {
			yield(Flight{}, fmt.Errorf("open flights %s: %w", path, err))
			return
		}
		defer r.close()
		for {
			f, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Flight{}, fmt.Errorf("read flights %s: row %d: %w", path, r.row, err))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
	}
}

type parquetReader struct {
	file    *os.File
	groups  []parquet.RowGroup // those not begun
	rows    parquet.Rows       // of the group being read; nil between groups
	left    int64              // rows of that group not read
	buffer  []parquet.Row
	pending []parquet.Row // read and not handed out, within buffer
	columns map[int]string
	row     int64
	codes   codes
}

func openParquet(path string) (*parquetReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &parquetReader{file: file, buffer: make([]parquet.Row, rowsAtOnce), codes: codes{}}
	if err := r.openGroups(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

func (r *parquetReader) openGroups() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	return guarded(func() error {
		content, err := parquet.OpenFile(r.file, info.Size(), parquet.SkipBloomFilters(true))
		if err != nil {
			return err
		}
		r.groups = content.RowGroups()
		r.columns, err = columnsOf(content.Schema())
		return err
	})
}

// guarded runs a step of the Parquet library, which panics over indexes and lengths that a damaged file has wrong.
func guarded(step func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, cause)
		}
	}()
	return step()
}

// columnsOf returns the name of each column that a flight is made of by its index.
func columnsOf(schema *parquet.Schema) (map[int]string, error) {
	kinds := map[string]parquet.Kind{
		"date": parquet.Int64, "delay": parquet.Int64, "distance": parquet.Int64,
		"origin": parquet.ByteArray, "destination": parquet.ByteArray,
	}
	names := make(map[int]string, len(kinds))
	for name, kind := range kinds {
		column, ok := schema.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("%w: it has no column %q", ErrColumns, name)
		}
		if got := column.Node.Type().Kind(); got != kind || column.MaxRepetitionLevel > 0 {
			return nil, fmt.Errorf("%w: column %q holds %s, not one %s", ErrColumns, name, column.Node, kind)
		}
		names[column.ColumnIndex] = name
	}
	if date, _ := schema.Lookup("date"); !inMicroseconds(date.Node.Type()) {
		return nil, fmt.Errorf("%w: column \"date\" holds %s, not timestamps in microseconds", ErrColumns, date.Node)
	}
	return names, nil
}

func inMicroseconds(t parquet.Type) bool {
	logical := t.LogicalType()
	if logical == nil {
		return false
	}
	timestamp, ok := logical.Value.(*format.TimestampType)
	if !ok {
		return false
	}
	_, ok = timestamp.Unit.Value.(*format.MicroSeconds)
	return ok
}

func (r *parquetReader) next() (Flight, error) {
	for len(r.pending) == 0 {
		if err := r.fill(); err != nil {
			return Flight{}, err
		}
	}
	f, err := r.flight(r.pending[0])
	if err != nil {
		return Flight{}, err
	}
	r.pending = r.pending[1:]
	r.row++
	return f, nil
}

// fill reads ahead. It returns io.EOF itself only at the end of the last group.
func (r *parquetReader) fill() error {
	if r.rows == nil && len(r.groups) == 0 {
		return io.EOF
	}
	return noEOF(guarded(r.readRows))
}

func (r *parquetReader) readRows() error {
	if r.rows == nil {
		r.rows, r.left, r.groups = r.groups[0].Rows(), r.groups[0].NumRows(), r.groups[1:]
	}
	n, err := r.rows.ReadRows(r.buffer)
	r.pending = r.buffer[:n]
	r.left -= int64(n)
	switch {
	case r.left == 0:
		err = r.rows.Close()
		r.rows = nil
	case n == 0 && err == nil:
		err = io.ErrNoProgress
	}
	return err
}

func (r *parquetReader) flight(row parquet.Row) (f Flight, err error) {
	f.Row = r.row
	for _, v := range row {
		name, ours := r.columns[v.Column()]
		if !ours {
			continue
		}
		if v.IsNull() {
			return Flight{}, fmt.Errorf("%w: %s is missing", ErrFlight, name)
		}
		switch name {
		case "date":
			f.Time = time.UnixMicro(v.Int64()).UTC().Truncate(time.Minute)
		case "delay":
			f.DelayMinutes = int(v.Int64())
		case "distance":
			f.DistanceMiles = int(v.Int64())
		case "origin":
			f.Origin, err = r.codes.intern(name, v.ByteArray())
		case "destination":
			f.Destination, err = r.codes.intern(name, v.ByteArray())
		}
		if err != nil {
			return Flight{}, err
		}
	}
	return f, nil
}

// close gives back what was opened. The file was only read, so that its errors mean nothing.
func (r *parquetReader) close() {
	if r.rows != nil {
		_ = guarded(r.rows.Close)
	}
	_ = r.file.Close()
}
