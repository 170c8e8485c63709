package wire

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/quipudb/quipu/event"
)

// The binary form of ApplyRequest, version 1. Varints are those of encoding/binary; a string is its length and bytes.
//
//	"QAP1"
//	uvarint partition, epoch, expected, next, windowFrom    varint asOf
//	string incarnation    uvarint checksum
//	uvarint nTypes, then as many strings
//	uvarint nKeys, then as many (uvarint type index, string key)
//	uvarint nRows, then as many rows:
//	    uvarint key index, minute    varint count    byte flags: 1 = values
//	    with values: varint valueCount, sumHi    uvarint sumLo    varint min, max
//	uint32 little-endian CRC-32C of everything before it
const applyMagic = "QAP1"

const rowHasValues = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeApply appends the binary form of r to dst.
func EncodeApply(dst []byte, r *ApplyRequest) []byte {
	start := len(dst)
	dst = append(slices.Grow(dst, likelyBytes(r)), applyMagic...)
	for _, v := range []uint64{uint64(r.Partition), r.Epoch, r.Expected, r.Next, r.WindowFrom} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = binary.AppendVarint(dst, r.AsOf)
	dst = appendString(dst, r.Incarnation)
	dst = binary.AppendUvarint(dst, uint64(r.Checksum))
	dst = appendRows(dst, r.Rows)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// likelyBytes is about what a request takes.
func likelyBytes(r *ApplyRequest) int {
	n := 128 + len(r.Incarnation)
	for i := range r.Rows {
		n += 32 + len(r.Rows[i].Key)
	}
	return n
}

type typedKey struct {
	kind uint64
	key  string
}

func appendRows(dst []byte, rows []Row) []byte {
	types, typeAt := []string(nil), map[string]uint64{}
	keys, keyAt := []typedKey(nil), make(map[typedKey]uint64, len(rows))
	index := make([]uint64, len(rows))
	for i := range rows {
		t, ok := typeAt[rows[i].Type]
		if !ok {
			t = uint64(len(types))
			typeAt[rows[i].Type], types = t, append(types, rows[i].Type)
		}
		k := typedKey{t, rows[i].Key}
		at, ok := keyAt[k]
		if !ok {
			at = uint64(len(keys))
			keyAt[k], keys = at, append(keys, k)
		}
		index[i] = at
	}
	dst = binary.AppendUvarint(dst, uint64(len(types)))
	for _, t := range types {
		dst = appendString(dst, t)
	}
	dst = binary.AppendUvarint(dst, uint64(len(keys)))
	for _, k := range keys {
		dst = appendString(binary.AppendUvarint(dst, k.kind), k.key)
	}
	dst = binary.AppendUvarint(dst, uint64(len(rows)))
	for i := range rows {
		dst = appendRow(dst, index[i], &rows[i])
	}
	return dst
}

func appendRow(dst []byte, key uint64, r *Row) []byte {
	return appendAggregate(binary.AppendUvarint(dst, key), r)
}

// appendAggregate writes a row without its key.
func appendAggregate(dst []byte, r *event.Row) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.Minute))
	dst = binary.AppendVarint(dst, r.Count)
	if !r.HasValues {
		return append(dst, 0)
	}
	dst = append(dst, rowHasValues)
	dst = binary.AppendVarint(dst, r.ValueCount)
	dst = binary.AppendVarint(dst, r.Sum.Hi)
	dst = binary.AppendUvarint(dst, r.Sum.Lo)
	dst = binary.AppendVarint(dst, r.Min)
	return binary.AppendVarint(dst, r.Max)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// DecodeApply reads the binary form. Its strings are copies. Any damage is a bad_request Problem.
func DecodeApply(data []byte) (*ApplyRequest, error) {
	if len(data) < len(applyMagic)+4 || string(data[:len(applyMagic)]) != applyMagic {
		return nil, NewProblem(CodeBadRequest, "apply: body does not start with %s", applyMagic)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, NewProblem(CodeBadRequest, "apply: checksum differs")
	}
	d := applyDecoder{decoder{what: "apply", data: body, at: len(applyMagic)}}
	r := &ApplyRequest{
		Partition: int(d.uvarintMax(1 << 31)), Epoch: d.uvarint(), Expected: d.uvarint(), Next: d.uvarint(),
		WindowFrom: d.uvarint(), AsOf: d.varint(), Incarnation: d.string(64), Checksum: uint32(d.uvarintMax(1<<32 - 1)),
	}
	r.Rows = d.rows()
	if err := d.end(); err != nil {
		return nil, err
	}
	return r, nil
}

// applyDecoder reads the rows of an Apply.
type applyDecoder struct{ decoder }

func (d *applyDecoder) rows() []Row {
	types := make([]string, d.count(MaxApplyRows, 1))
	for i := range types {
		types[i] = d.string(event.MaxTypeBytes)
	}
	type key struct{ kind, name string }
	keys := make([]key, d.count(MaxApplyRows, 2))
	for i := range keys {
		t := d.uvarint()
		if t >= uint64(len(types)) {
			d.fail("type index %d of %d", t, len(types))
			return nil
		}
		keys[i] = key{types[t], d.string(event.MaxKeyBytes)}
	}
	rows := make([]Row, d.count(MaxApplyRows, 4))
	for i := range rows {
		k := d.uvarint()
		if k >= uint64(len(keys)) {
			d.fail("key index %d of %d", k, len(keys))
			return nil
		}
		rows[i].Type, rows[i].Key = keys[k].kind, keys[k].name
		d.aggregate(&rows[i].Minute, &rows[i].Aggregate)
	}
	return rows
}
