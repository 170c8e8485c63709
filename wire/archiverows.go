package wire

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/quipudb/quipu/event"
)

// The binary form of ArchiveRows, version 1. Varints are those of encoding/binary; a string is its length and bytes.
//
//	"QAR1"
//	uvarint nextKey
//	uvarint nTypes, then as many strings
//	uvarint nKeys, then as many (uvarint partition, string key, title, owner)
//	uvarint nRows, then as many rows:
//	    uvarint key index, type index, minute    varint count    byte flags: 1 = values
//	    with values: varint valueCount, sumHi    uvarint sumLo    varint min, max
//	uint32 little-endian CRC-32C of everything before it
//
// A key is listed again when its rows don't follow each other.
const archiveRowsMagic = "QAR1"

// Bounds of what is accepted.
const (
	maxArchiveRowsDecoded = 4 * MaxArchiveRows // a key is never divided, so that an answer may have more rows than were asked for
	maxAttributeBytes     = 255
	maxPartition          = 1<<16 - 1
)

// EncodeArchiveRows appends the binary form of a to dst.
func EncodeArchiveRows(dst []byte, a *ArchiveRows) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(append(dst, archiveRowsMagic...), a.NextKey)
	types, typeAt := []string(nil), map[string]uint64{}
	keys := 0
	for i := range a.Rows {
		r := &a.Rows[i]
		if _, ok := typeAt[r.Type]; !ok {
			typeAt[r.Type], types = uint64(len(types)), append(types, r.Type)
		}
		if i == 0 || !sameArchiveKey(r, &a.Rows[i-1]) {
			keys++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(types)))
	for _, t := range types {
		dst = appendString(dst, t)
	}
	dst = binary.AppendUvarint(dst, uint64(keys))
	for i := range a.Rows {
		if r := &a.Rows[i]; i == 0 || !sameArchiveKey(r, &a.Rows[i-1]) {
			dst = appendString(binary.AppendUvarint(dst, uint64(r.Partition)), r.Key)
			dst = appendString(appendString(dst, r.Title), r.Owner)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.Rows)))
	key, last, kind := uint64(0), "", uint64(0)
	for i := range a.Rows {
		r := &a.Rows[i]
		if i > 0 && !sameArchiveKey(r, &a.Rows[i-1]) {
			key++
		}
		if i == 0 || r.Type != last {
			last, kind = r.Type, typeAt[r.Type]
		}
		dst = appendArchiveRow(dst, key, kind, &r.Row)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func sameArchiveKey(a, b *ArchiveRow) bool {
	return a.Partition == b.Partition && a.Key == b.Key && a.Title == b.Title && a.Owner == b.Owner
}

func appendArchiveRow(dst []byte, key, kind uint64, r *event.Row) []byte {
	return appendAggregate(binary.AppendUvarint(binary.AppendUvarint(dst, key), kind), r)
}

// DecodeArchiveRows reads the binary form. All its strings share one copy of the data. Any damage is a bad_request Problem.
func DecodeArchiveRows(data []byte) (*ArchiveRows, error) {
	if len(data) < len(archiveRowsMagic)+4 || string(data[:len(archiveRowsMagic)]) != archiveRowsMagic {
		return nil, NewProblem(CodeBadRequest, "archive rows: body does not start with %s", archiveRowsMagic)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, NewProblem(CodeBadRequest, "archive rows: checksum differs")
	}
	d := archiveDecoder{decoder: decoder{what: "archive rows", data: body, at: len(archiveRowsMagic)}}
	out := &ArchiveRows{NextKey: d.uvarint()}
	out.Rows = d.rows()
	if err := d.end(); err != nil {
		return nil, err
	}
	return out, nil
}

// archiveDecoder reads rows of an archive.
type archiveDecoder struct {
	decoder
	text string // a copy of data up to where the strings end, made at the first row
}

// listedKey is a key of the list.
type listedKey struct {
	partition          int
	name, title, owner span
}

func (d *archiveDecoder) rows() []ArchiveRow {
	types := make([]span, d.count(1<<16, 1))
	for i := range types {
		types[i] = d.span(event.MaxTypeBytes)
	}
	keys := make([]listedKey, d.count(maxArchiveRowsDecoded, 4))
	for i := range keys {
		keys[i] = listedKey{int(d.uvarintMax(maxPartition)), d.span(event.MaxKeyBytes), d.span(maxAttributeBytes), d.span(maxAttributeBytes)}
	}
	d.text = string(d.data[:d.at])
	rows := make([]ArchiveRow, d.count(maxArchiveRowsDecoded, 5))
	for i := range rows {
		k, t := d.uvarint(), d.uvarint()
		if k >= uint64(len(keys)) || t >= uint64(len(types)) {
			d.fail("row %d is of key %d of %d and type %d of %d", i, k, len(keys), t, len(types))
			return nil
		}
		d.row(&rows[i], &keys[k], types[t])
		if d.err != nil {
			return nil
		}
	}
	return rows
}

func (d *archiveDecoder) row(r *ArchiveRow, key *listedKey, kind span) {
	r.Partition, r.Key, r.Type = key.partition, d.text[key.name.from:key.name.to], d.text[kind.from:kind.to]
	r.Title, r.Owner = d.text[key.title.from:key.title.to], d.text[key.owner.from:key.owner.to]
	d.aggregate(&r.Minute, &r.Aggregate)
}
