package event

import (
	"encoding/binary"
	"fmt"
)

// Decode reads a batch. Whatever the bytes, it returns an error that wraps ErrBatch or a batch in which every index, length
// and number is within its limits, and allocates no more than a small multiple of len(data). After an error b is empty.
func (b *Batch) Decode(data []byte) error {
	l, err := parseLayout(data)
	if err == nil {
		err = b.decode(data, &l)
	}
	if err != nil {
		b.clear()
		return err
	}
	return nil
}

func (b *Batch) clear() {
	b.Keys, b.KeyIndex, b.Fingerprints, b.TimesMs = b.Keys[:0], b.KeyIndex[:0], b.Fingerprints[:0], b.TimesMs[:0]
	b.Weights, b.Values, b.HasValue = nil, nil, nil
	b.ids, b.idStarts, b.idsRead = nil, b.idStarts[:0], false
}

func (b *Batch) decode(data []byte, l *layout) error {
	b.clear()
	b.Fingerprints = appendFingerprints(b.Fingerprints, data, l)
	rest := data[headerBytes+l.fingerprints() : len(data)-trailerBytes]
	next := func(n int) []byte {
		section := rest[:n:n]
		rest = rest[n:]
		return section
	}
	index, dictionary, times := next(l.indexWidth*l.events), next(l.dictionary), next(l.times)
	weights, values := next(l.weights), next(l.values)
	b.ids = next(l.ids)
	if err := b.decodeDictionary(dictionary, l); err != nil {
		return err
	}
	if err := b.decodeIndex(index, l); err != nil {
		return err
	}
	if err := b.decodeTimes(times, l.events); err != nil {
		return err
	}
	if err := b.decodeWeights(weights, l); err != nil {
		return err
	}
	if err := b.decodeValues(values, l); err != nil {
		return err
	}
	return b.checkIDs(l)
}

func (b *Batch) decodeDictionary(section []byte, l *layout) error {
	if least := 2*l.types + 11*l.keys; least > len(section) {
		return fmt.Errorf("%w: dictionary of %d keys in %d bytes", ErrBatch, l.keys, len(section))
	}
	text := string(section)
	at := 0
	b.typeNames = b.typeNames[:0]
	for range l.types {
		n := 0
		if at < len(section) {
			n = int(section[at])
		}
		at++
		if n == 0 || n > MaxTypeBytes || at+n > len(section) {
			return fmt.Errorf("%w: name of a type has %d bytes", ErrBatch, n)
		}
		b.typeNames = append(b.typeNames, text[at:at+n])
		at += n
	}
	for range l.keys {
		if at+8 > len(section) {
			return fmt.Errorf("%w: dictionary is cut off", ErrBatch)
		}
		hash := binary.LittleEndian.Uint64(section[at:])
		at += 8
		kind, n := binary.Uvarint(section[at:])
		if n <= 0 || kind >= uint64(l.types) {
			return fmt.Errorf("%w: type %d of %d", ErrBatch, kind, l.types)
		}
		at += n
		size, n := binary.Uvarint(section[at:])
		at += max(n, 0)
		if n <= 0 || size == 0 || size > MaxKeyBytes || int(size) > len(section)-at {
			return fmt.Errorf("%w: key has %d bytes", ErrBatch, size)
		}
		b.Keys = append(b.Keys, BatchKey{Type: b.typeNames[kind], Key: text[at : at+int(size)], Hash: hash})
		at += int(size)
	}
	if at != len(section) {
		return fmt.Errorf("%w: %d bytes too many in the dictionary", ErrBatch, len(section)-at)
	}
	return nil
}

func (b *Batch) decodeIndex(section []byte, l *layout) error {
	b.KeyIndex = grow(b.KeyIndex, l.events)
	out, highest := b.KeyIndex, uint32(0)
	switch l.indexWidth {
	case 1:
		for i := range out {
			out[i] = uint32(section[i])
			highest = max(highest, out[i])
		}
	case 2:
		for i := range out {
			out[i] = uint32(binary.LittleEndian.Uint16(section[2*i:]))
			highest = max(highest, out[i])
		}
	default:
		for i := range out {
			out[i] = binary.LittleEndian.Uint32(section[4*i:])
			highest = max(highest, out[i])
		}
	}
	if l.events > 0 && highest >= uint32(l.keys) {
		return fmt.Errorf("%w: key %d of %d", ErrBatch, highest, l.keys)
	}
	return nil
}

func (b *Batch) decodeTimes(section []byte, events int) error {
	b.TimesMs = grow(b.TimesMs, events)
	at, last := 0, int64(0)
	for i := range b.TimesMs {
		delta, n := varint(section, at)
		last += delta
		// A delta as large as an int64 wraps to a negative time at worst.
		if n <= 0 || last < MinTimeMs || last >= MaxTimeMs {
			return fmt.Errorf("%w: time of event %d", ErrBatch, i)
		}
		b.TimesMs[i] = last
		at += n
	}
	if at != len(section) {
		return fmt.Errorf("%w: %d bytes too many after the times", ErrBatch, len(section)-at)
	}
	return nil
}

func (b *Batch) decodeWeights(section []byte, l *layout) error {
	if l.flags&flagWeights == 0 {
		if len(section) != 0 {
			return fmt.Errorf("%w: weights without their flag", ErrBatch)
		}
		return nil
	}
	b.weights = grow(b.weights[:0], l.events)
	at := 0
	for i := range b.weights {
		w, n := varint(section, at)
		if n <= 0 || w == 0 || w > MaxWeight || w < -MaxWeight {
			return fmt.Errorf("%w: weight of event %d", ErrBatch, i)
		}
		b.weights[i] = w
		at += n
	}
	if at != len(section) {
		return fmt.Errorf("%w: %d bytes too many after the weights", ErrBatch, len(section)-at)
	}
	b.Weights = b.weights
	return nil
}

func (b *Batch) decodeValues(section []byte, l *layout) error {
	if l.flags&flagValues == 0 {
		if len(section) != 0 {
			return fmt.Errorf("%w: values without their flag", ErrBatch)
		}
		return nil
	}
	at := 0
	if l.flags&flagAllValues == 0 {
		at = (l.events + 7) / 8
	}
	if at > len(section) {
		return fmt.Errorf("%w: presence of values is cut off", ErrBatch)
	}
	present := section[:at]
	b.values, b.hasValue = grow(b.values[:0], l.events), grow(b.hasValue[:0], l.events)
	for i := range b.values {
		if len(present) > 0 && present[i>>3]>>(i&7)&1 == 0 {
			b.values[i], b.hasValue[i] = 0, false
			continue
		}
		v, n := varint(section, at)
		if n <= 0 || v > MaxValue || v < -MaxValue {
			return fmt.Errorf("%w: value of event %d", ErrBatch, i)
		}
		b.values[i], b.hasValue[i] = v, true
		at += n
	}
	if at != len(section) {
		return fmt.Errorf("%w: %d bytes too many after the values", ErrBatch, len(section)-at)
	}
	b.Values, b.HasValue = b.values, b.hasValue
	return nil
}

// checkIDs verifies the lengths of the ids against their section and the fingerprints, without keeping them.
func (b *Batch) checkIDs(l *layout) error {
	if l.flags&flagIDs == 0 {
		if len(b.ids) != 0 {
			return fmt.Errorf("%w: ids without their flag", ErrBatch)
		}
		return nil
	}
	at, total := 0, 0
	for i, f := range b.Fingerprints {
		size, n := uvarint(b.ids, at)
		if n <= 0 || size > MaxIDBytes || (size == 0) != (f == 0) {
			return fmt.Errorf("%w: id of event %d", ErrBatch, i)
		}
		at += n
		total += int(size)
	}
	if at+total != len(b.ids) {
		return fmt.Errorf("%w: ids take %d bytes, not %d", ErrBatch, at+total, len(b.ids))
	}
	return nil
}

// uvarint is binary.Uvarint at an offset, quick for one byte.
func uvarint(data []byte, at int) (uint64, int) {
	if at < len(data) && data[at] < 0x80 {
		return uint64(data[at]), 1
	}
	return binary.Uvarint(data[min(at, len(data)):])
}

func varint(data []byte, at int) (int64, int) {
	u, n := uvarint(data, at)
	return int64(u>>1) ^ -int64(u&1), n
}
