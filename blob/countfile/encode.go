package countfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/quipudb/quipu/blob/internal/pages"
	"github.com/quipudb/quipu/event"
)

// encoder writes rows that come in order.
type encoder struct {
	meta  Meta
	step  int64
	file  *pages.Writer
	sums  []byte // of value_sum, 16 bytes a row of the page
	rows  int    // in the page
	parts partSums

	lastType, lastKey, lastTitle, lastOwner string // that were checked
}

func newEncoder(w io.Writer, meta Meta, dictionary bool) (*encoder, error) {
	if err := meta.check(); err != nil {
		return nil, err
	}
	schema := schemaOfFew
	if dictionary {
		schema = schemaOfMany
	}
	return &encoder{
		meta: meta, step: step(meta.Resolution),
		file: pages.NewWriter(w, columnNames, options(schema, meta)...), sums: make([]byte, 16*pages.PageRows),
	}, nil
}

// add takes the next row. Its strings must stay as they are until close.
func (e *encoder) add(row *Row) error {
	if err := e.check(row); err != nil {
		return err
	}
	i, v := e.rows, e.file.Values
	v[colPartition][i] = pages.Int32(int32(row.Partition), colPartition)
	v[colType][i] = pages.Text(row.Type, colType)
	v[colKey][i] = pages.Text(row.Key, colKey)
	v[colTitle][i] = pages.OptionalText(row.Title, colTitle)
	v[colOwner][i] = pages.OptionalText(row.Owner, colOwner)
	v[colStart][i] = pages.Int64(row.Minute*microsAMinute, colStart)
	v[colEventCount][i] = pages.Int64(row.Count, colEventCount)
	if row.HasValues {
		sum := e.sums[16*i : 16*i+16 : 16*i+16]
		binary.BigEndian.PutUint64(sum, uint64(row.Sum.Hi))
		binary.BigEndian.PutUint64(sum[8:], row.Sum.Lo)
		v[colValueCount][i] = pages.OptionalInt64(row.ValueCount, colValueCount)
		v[colValueSum][i] = parquet.FixedLenByteArrayValue(sum).Level(0, 1, colValueSum)
		v[colValueMin][i] = pages.OptionalInt64(row.Min, colValueMin)
		v[colValueMax][i] = pages.OptionalInt64(row.Max, colValueMax)
	} else {
		for c := colValueCount; c <= colValueMax; c++ {
			v[c][i] = pages.Null(c)
		}
	}
	e.parts.addRow(row.Partition, &row.Aggregate)
	if e.rows++; e.rows < pages.PageRows {
		return nil
	}
	e.rows = 0
	return e.file.EndPage(pages.PageRows)
}

const microsAMinute = 60_000_000

func (e *encoder) check(row *Row) error {
	switch {
	case row.Partition < 0 || row.Partition > 1<<20:
		return fmt.Errorf("%w: partition %d", ErrRow, row.Partition)
	case row.Minute < e.meta.Day || row.Minute >= e.meta.Day+minutesADay || (row.Minute-e.meta.Day)%e.step != 0:
		return fmt.Errorf("%w: start %d of key %q is no %s of day %d", ErrRow, row.Minute, row.Key, e.meta.Resolution, e.meta.Day)
	case row.HasValues && !fits(row.Sum):
		return fmt.Errorf("%w: sum %s of key %q has more than 38 digits", ErrRow, row.Sum, row.Key)
	}
	return e.checkTexts(row)
}

// checkTexts looks at what a row has not in common with the one before. Other engines refuse files with texts that are not UTF-8.
func (e *encoder) checkTexts(row *Row) error {
	if row.Key == e.lastKey && row.Type == e.lastType && row.Title == e.lastTitle && row.Owner == e.lastOwner {
		return nil
	}
	if row.Type == "" || row.Key == "" {
		return fmt.Errorf("%w: type %q, key %q: empty", ErrRow, row.Type, row.Key)
	}
	for _, text := range []string{row.Type, row.Key, row.Title, row.Owner} {
		if len(text) > maxText || !utf8.ValidString(text) {
			return fmt.Errorf("%w: type %q, key %q: a text of %d bytes is too long or not UTF-8", ErrRow, row.Type, row.Key, len(text))
		}
	}
	e.lastType, e.lastKey, e.lastTitle, e.lastOwner = row.Type, row.Key, row.Title, row.Owner
	return nil
}

const maxText = 4096

// fits says whether a sum has at most 38 digits.
func fits(s event.Sum) bool {
	const hi, lo = 0x4b3b4ca85a86c47a, 0x098a224000000000 // 10³⁸
	if s.Hi < 0 {
		negated := event.Sum{Hi: ^s.Hi, Lo: ^s.Lo}.Add(event.SumOf(1))
		if s = negated; s.Hi < 0 {
			return false
		}
	}
	return s.Hi < hi || s.Hi == hi && s.Lo < lo
}

// close ends the file.
func (e *encoder) close() (Summary, error) {
	if e.rows > 0 {
		if err := e.file.EndPage(e.rows); err != nil {
			return Summary{}, err
		}
	}
	if err := e.file.Close(); err != nil {
		return Summary{}, err
	}
	return e.parts.summary(), nil
}
