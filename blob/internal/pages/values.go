package pages

import (
	"errors"
	"unsafe"

	"github.com/parquet-go/parquet-go"
)

// Numbers32 is a page of a column of numbers, maybe by dictionary, without nulls.
type Numbers32 struct{ index, values []int32 }

// Set takes a page's values, which stay the page's.
func (n *Numbers32) Set(page parquet.Page) error {
	data := page.Data()
	n.index, n.values = nil, data.Int32()
	if dictionary := page.Dictionary(); dictionary != nil {
		values := dictionary.Page().Data()
		n.index, n.values = n.values, values.Int32()
		return within(n.index, len(n.values))
	}
	return nil
}

// At is row i's number.
func (n *Numbers32) At(i int) int32 {
	if n.index != nil {
		i = int(n.index[i])
	}
	return n.values[i]
}

// Texts is a page of a column of texts, maybe by dictionary, maybe with nulls.
type Texts struct {
	present []byte  // by row; nil: all are
	places  []int32 // by row, where present says which are
	index   []int32
	data    []byte
	offsets []uint32
}

// Set takes a page's values, which stay the page's.
func (t *Texts) Set(page parquet.Page) error {
	t.present = page.DefinitionLevels()
	if len(t.present) == 0 {
		t.present = nil
	} else {
		t.places = Places(t.places, t.present)
	}
	data := page.Data()
	if dictionary := page.Dictionary(); dictionary != nil {
		t.index = data.Int32()
		values := dictionary.Page().Data()
		t.data, t.offsets = values.ByteArray()
		return within(t.index, len(t.offsets)-1)
	}
	t.index = nil
	t.data, t.offsets = data.ByteArray()
	return nil
}

// Code is a number that, within a row group, is the same only for the same text, if the column is one with a dictionary and without
// nulls; else it is another for each row.
func (t *Texts) Code(i int) int32 {
	if t.index != nil {
		return t.index[i]
	}
	return int32(i)
}

// At is row i's text, nil for null.
func (t *Texts) At(i int) []byte {
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

// Keep makes a text of bytes, unless it is the same already.
func Keep(text *string, b []byte) {
	if *text != string(b) {
		*text = string(b)
	}
}

// Places says for each row which of the values that are not null is its own; -1 for null.
func Places(dst []int32, levels []byte) []int32 {
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

// Text makes a value of a string without copying it; Writer copies it.
func Text(s string, column int) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s))).Level(0, 0, column)
}

// OptionalText is Text for a column in which the empty text is null.
func OptionalText(s string, column int) parquet.Value {
	if s == "" {
		return Null(column)
	}
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s))).Level(0, 1, column)
}

// Null is a value that is not there.
func Null(column int) parquet.Value { return parquet.NullValue().Level(0, 0, column) }

// Int64 is a value of a column without nulls.
func Int64(v int64, column int) parquet.Value { return parquet.Int64Value(v).Level(0, 0, column) }

// OptionalInt64 is a value of a column with nulls.
func OptionalInt64(v int64, column int) parquet.Value {
	return parquet.Int64Value(v).Level(0, 1, column)
}

// Int32 is a value of a column without nulls.
func Int32(v int32, column int) parquet.Value { return parquet.Int32Value(v).Level(0, 0, column) }
