package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/quipudb/quipu/event"
)

// decoder reads a binary body forward and keeps the first error, after which everything reads as zero.
type decoder struct {
	what string // for errors
	data []byte
	at   int
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = NewProblem(CodeBadRequest, "%s: %s", d.what, fmt.Sprintf(format, args...))
		d.data, d.at = nil, 0
	}
}

// end refuses what follows the last thing that was to be read.
func (d *decoder) end() error {
	if d.err == nil && d.at < len(d.data) {
		d.fail("%d bytes too many", len(d.data)-d.at)
	}
	return d.err
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data[d.at:])
	if n <= 0 {
		d.fail("number is cut off")
		return 0
	}
	d.at += n
	return v
}

func (d *decoder) uvarintMax(limit uint64) uint64 {
	v := d.uvarint()
	if v > limit {
		d.fail("number %d is above %d", v, limit)
		return 0
	}
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data[d.at:])
	if n <= 0 {
		d.fail("number is cut off")
		return 0
	}
	d.at += n
	return v
}

// span is the place of a string.
type span struct{ from, to int }

func (d *decoder) span(limit uint64) span {
	n := d.uvarintMax(limit)
	if n > uint64(len(d.data)-d.at) {
		d.fail("text is cut off")
		return span{}
	}
	s := span{d.at, d.at + int(n)}
	d.at = s.to
	return s
}

// string returns a copy.
func (d *decoder) string(limit uint64) string {
	s := d.span(limit)
	return string(d.data[s.from:s.to])
}

// count reads how many things follow, each of which takes some bytes.
func (d *decoder) count(limit uint64, bytesEach int) int {
	return int(d.uvarintMax(min(limit, uint64((len(d.data)-d.at)/bytesEach))))
}

// aggregate reads what appendAggregate wrote.
func (d *decoder) aggregate(minute *int64, a *event.Aggregate) {
	*a = event.NewAggregate()
	*minute = int64(d.uvarintMax(uint64(event.MaxMinute)))
	a.Count = d.varint()
	if d.at >= len(d.data) {
		d.fail("row is cut off")
		return
	}
	flags := d.data[d.at]
	d.at++
	switch flags {
	case 0:
	case rowHasValues:
		a.HasValues = true
		a.ValueCount = d.varint()
		a.Sum = event.Sum{Hi: d.varint(), Lo: d.uvarint()}
		a.Min, a.Max = d.varint(), d.varint()
	default:
		d.fail("flags %d are unknown", flags)
	}
}
