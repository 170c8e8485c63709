package event

import (
	"encoding/binary"
	"hash/crc32"
)

// BatchBuilder gathers events of one partition into a batch. The zero value is ready; Reset makes it ready again and keeps
// its memory. It is not safe for concurrent use.
type BatchBuilder struct {
	types      []string
	keys       []builderKey
	dictionary []byte // the keys' section, as written
	slots      []int32
	lastType   int

	index        []uint32
	fingerprints []byte
	times        []byte
	weights      []byte
	values       []byte
	present      []byte // bitmap of the events that carry a value
	idLengths    []byte
	ids          []byte

	typeBytes  int
	lastTime   int64
	withID     int
	withValue  int
	withWeight int // events whose weight is not 1
	keyBuffer  []byte
	idBuffer   []byte
}

type builderKey struct {
	hash       uint64
	start, end uint32 // the key's bytes in dictionary
	kind       uint32
}

// Len returns how many events the builder holds.
func (b *BatchBuilder) Len() int { return len(b.index) }

// Bytes estimates what AppendTo will append: never too little.
func (b *BatchBuilder) Bytes() int {
	n := len(b.index)
	return headerBytes + trailerBytes + b.typeBytes + len(b.dictionary) + 12*n + len(b.times) + len(b.weights) + len(b.present) +
		len(b.values) + len(b.idLengths) + len(b.ids)
}

// Reset empties the builder.
func (b *BatchBuilder) Reset() {
	clear(b.types)
	clear(b.slots)
	*b = BatchBuilder{
		types: b.types[:0], keys: b.keys[:0], dictionary: b.dictionary[:0], slots: b.slots,
		index: b.index[:0], fingerprints: b.fingerprints[:0], times: b.times[:0], weights: b.weights[:0], values: b.values[:0],
		present: b.present[:0], idLengths: b.idLengths[:0], ids: b.ids[:0], keyBuffer: b.keyBuffer[:0], idBuffer: b.idBuffer[:0],
	}
}

// Add appends an event that has been validated. keyHash must be a function of (type, key); fingerprint is 0 exactly when the
// event has no id.
func (b *BatchBuilder) Add(e *Event, keyHash, fingerprint uint64) {
	b.keyBuffer = append(b.keyBuffer[:0], e.Key...)
	b.idBuffer = append(b.idBuffer[:0], e.ID...)
	b.AddRaw(&RawEvent{
		Type: e.Type, Key: b.keyBuffer, ID: b.idBuffer, TimeMs: e.TimeMs, Value: e.Value, Weight: e.Weight, HasValue: e.HasValue,
		KeyHash: keyHash, Fingerprint: fingerprint,
	})
}

// RawEvent is an Event on its way into a batch, with its hashes, its key and id still in the buffer they arrived in.
type RawEvent struct {
	Type    string
	Key, ID []byte

	TimeMs, Value, Weight int64

	KeyHash     uint64
	Fingerprint uint64 // 0 exactly when there is no id
	HasValue    bool
}

// AddRaw is Add without the strings. It copies what it keeps, and allocates only to grow.
func (b *BatchBuilder) AddRaw(e *RawEvent) {
	n := len(b.index)
	b.index = append(b.index, b.keyIndex(e))
	b.fingerprints = binary.LittleEndian.AppendUint64(b.fingerprints, e.Fingerprint)
	b.times = binary.AppendVarint(b.times, e.TimeMs-b.lastTime)
	b.lastTime = e.TimeMs
	b.weights = binary.AppendVarint(b.weights, e.Weight)
	if e.Weight != 1 {
		b.withWeight++
	}
	if n&7 == 0 {
		b.present = append(b.present, 0)
	}
	if e.HasValue {
		b.withValue++
		b.present[n>>3] |= 1 << (n & 7)
		b.values = binary.AppendVarint(b.values, e.Value)
	}
	if e.Fingerprint != 0 {
		b.withID++
		b.ids = append(b.ids, e.ID...)
		b.idLengths = binary.AppendUvarint(b.idLengths, uint64(len(e.ID)))
		return
	}
	b.idLengths = append(b.idLengths, 0)
}

// keyIndex returns the dictionary entry of the event's key, making one when it is new.
func (b *BatchBuilder) keyIndex(e *RawEvent) uint32 {
	if 2*len(b.keys) >= len(b.slots) {
		b.growSlots()
	}
	kind := b.typeIndex(e.Type)
	mask := uint64(len(b.slots) - 1)
	at := (e.KeyHash ^ e.KeyHash>>32) & mask
	for ; b.slots[at] != 0; at = (at + 1) & mask {
		i := b.slots[at] - 1
		k := &b.keys[i]
		if k.hash == e.KeyHash && k.kind == kind && string(b.dictionary[k.start:k.end]) == string(e.Key) {
			return uint32(i)
		}
	}
	i := len(b.keys)
	b.slots[at] = int32(i) + 1
	b.dictionary = binary.LittleEndian.AppendUint64(b.dictionary, e.KeyHash)
	b.dictionary = binary.AppendUvarint(b.dictionary, uint64(kind))
	b.dictionary = binary.AppendUvarint(b.dictionary, uint64(len(e.Key)))
	start := uint32(len(b.dictionary))
	b.dictionary = append(b.dictionary, e.Key...)
	b.keys = append(b.keys, builderKey{hash: e.KeyHash, start: start, end: uint32(len(b.dictionary)), kind: kind})
	return uint32(i)
}

func (b *BatchBuilder) typeIndex(name string) uint32 {
	if b.lastType < len(b.types) && b.types[b.lastType] == name {
		return uint32(b.lastType)
	}
	for i, t := range b.types {
		if t == name {
			b.lastType = i
			return uint32(i)
		}
	}
	b.lastType = len(b.types)
	b.types = append(b.types, name)
	b.typeBytes += len(name) + 2
	return uint32(b.lastType)
}

func (b *BatchBuilder) growSlots() {
	b.slots = make([]int32, max(256, 4*len(b.keys)))
	mask := uint64(len(b.slots) - 1)
	for i, k := range b.keys {
		at := (k.hash ^ k.hash>>32) & mask
		for b.slots[at] != 0 {
			at = (at + 1) & mask
		}
		b.slots[at] = int32(i) + 1
	}
}

// AppendTo appends the batch in its binary form to dst.
func (b *BatchBuilder) AppendTo(dst []byte) []byte {
	start := len(dst)
	l := b.layout()
	dst = l.append(dst)
	if l.flags&flagIDs != 0 {
		dst = append(dst, b.fingerprints...)
	}
	dst = b.appendIndex(dst, l.indexWidth)
	for _, t := range b.types {
		dst = append(append(dst, byte(len(t))), t...)
	}
	dst = append(dst, b.dictionary...)
	dst = append(dst, b.times...)
	if l.flags&flagWeights != 0 {
		dst = append(dst, b.weights...)
	}
	if l.flags&flagValues != 0 {
		if l.flags&flagAllValues == 0 {
			dst = append(dst, b.present...)
		}
		dst = append(dst, b.values...)
	}
	if l.flags&flagIDs != 0 {
		dst = append(append(dst, b.idLengths...), b.ids...)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], batchTable))
}

func (b *BatchBuilder) layout() layout {
	l := layout{
		indexWidth: indexWidthFor(len(b.keys)), events: len(b.index), types: len(b.types), keys: len(b.keys),
		dictionary: len(b.dictionary), times: len(b.times),
	}
	for _, t := range b.types {
		l.dictionary += 1 + len(t)
	}
	if b.withID > 0 {
		l.flags |= flagIDs
		l.ids = len(b.idLengths) + len(b.ids)
	}
	if b.withWeight > 0 {
		l.flags |= flagWeights
		l.weights = len(b.weights)
	}
	switch {
	case b.withValue > 0 && b.withValue == len(b.index):
		l.flags |= flagValues | flagAllValues
		l.values = len(b.values)
	case b.withValue > 0:
		l.flags |= flagValues
		l.values = len(b.present) + len(b.values)
	}
	return l
}

func (b *BatchBuilder) appendIndex(dst []byte, width int) []byte {
	switch width {
	case 1:
		for _, i := range b.index {
			dst = append(dst, byte(i))
		}
	case 2:
		for _, i := range b.index {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(i))
		}
	default:
		for _, i := range b.index {
			dst = binary.LittleEndian.AppendUint32(dst, i)
		}
	}
	return dst
}
