package mysql

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

const (
	// ClosedAfter is for how long after its end a minute is still open: rows of it are expected, and no change is told.
	ClosedAfter = 2 * time.Minute
	// ChangesKept is the log time for which at least changes can be read after they were committed.
	ChangesKept = 10 * time.Minute
)

// ClosedBefore returns the minute that closed minutes of a partition come before at an as-of: whoever adds to one of them from then on tells it.
func ClosedBefore(asOf int64) int64 {
	return max(0, (asOf-ClosedAfter.Milliseconds())/time.Minute.Milliseconds())
}

// Change is what one flush added to minutes that had been closed.
type Change struct {
	Partition  int
	NextOffset uint64 // of the checkpoint that it was committed with
	Touched    []TouchedType
}

// TouchedType is what a change touched of one event type: keys, or, with no keys told, maybe all of the partition.
type TouchedType struct {
	Type     string
	From, To int64 // minutes
	Keys     []TouchedKey
}

// TouchedKey is a run of minutes of a key, which is known by cluster.KeyHash: two keys of one hash are both taken for touched.
type TouchedKey struct {
	Hash     uint64
	From, To int64 // minutes
}

const (
	touchedVersion = 1
	// maxTouchedKeys bounds what one change tells by key. Its row stays within a page, and what else a flush costs is far more.
	maxTouchedKeys = 512
	maxTouchedType = 1 << 16 // types have 16-bit ids
	maxMinutes     = uint64(event.MaxMinute + 1)
)

// touchedBy returns what rows before a minute touch, by type, hash and minute; nil if there are none.
func touchedBy(rows []event.Row, before int64) []TouchedType {
	byType := map[string]*TouchedType{}
	keys := 0
	for i := range rows {
		row := &rows[i]
		if row.Minute >= before {
			continue
		}
		t := byType[row.Type]
		if t == nil {
			t = &TouchedType{Type: row.Type, From: row.Minute, To: row.Minute + 1}
			byType[row.Type] = t
		}
		t.From, t.To = min(t.From, row.Minute), max(t.To, row.Minute+1)
		if keys++; keys <= 4*maxTouchedKeys { // runs of minutes may make them few
			t.Keys = append(t.Keys, TouchedKey{cluster.KeyHash(row.Type, row.Key), row.Minute, row.Minute + 1})
		}
	}
	if len(byType) == 0 {
		return nil
	}
	touched, runs := make([]TouchedType, 0, len(byType)), 0
	for _, t := range byType {
		t.Keys = joinRuns(t.Keys)
		runs += len(t.Keys)
		touched = append(touched, *t)
	}
	if keys > 4*maxTouchedKeys || runs > maxTouchedKeys {
		for i := range touched {
			touched[i].Keys = nil
		}
	}
	slices.SortFunc(touched, func(a, b TouchedType) int { return strings.Compare(a.Type, b.Type) })
	return touched
}

// joinRuns sorts by hash and minute, and joins runs of a key that meet.
func joinRuns(keys []TouchedKey) []TouchedKey {
	slices.SortFunc(keys, func(a, b TouchedKey) int { return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.From, b.From)) })
	joined := keys[:0]
	for _, k := range keys {
		if n := len(joined); n > 0 && joined[n-1].Hash == k.Hash && joined[n-1].To >= k.From {
			joined[n-1].To = max(joined[n-1].To, k.To)
			continue
		}
		joined = append(joined, k)
	}
	return joined
}

// appendTouched appends the stored form: a version, and the number of types; for each its name, first minute, minutes, and number of runs; for each of these
// the hash in 8 bytes, its first minute after that of the type, and its minutes. Numbers are uvarints.
func appendTouched(dst []byte, touched []TouchedType) []byte {
	dst = binary.AppendUvarint(append(dst, touchedVersion), uint64(len(touched)))
	for i := range touched {
		t := &touched[i]
		dst = append(binary.AppendUvarint(dst, uint64(len(t.Type))), t.Type...)
		dst = binary.AppendUvarint(dst, uint64(t.From))
		dst = binary.AppendUvarint(dst, uint64(t.To-t.From))
		dst = binary.AppendUvarint(dst, uint64(len(t.Keys)))
		for _, k := range t.Keys {
			dst = binary.LittleEndian.AppendUint64(dst, k.Hash)
			dst = binary.AppendUvarint(dst, uint64(k.From-t.From))
			dst = binary.AppendUvarint(dst, uint64(k.To-k.From))
		}
	}
	return dst
}

var errTouched = errors.New("what a change touched can't be read")

// parseTouched reads what appendTouched wrote.
func parseTouched(data []byte) ([]TouchedType, error) {
	p := touchedParser{data: data}
	if version := p.bytes(1); p.err != nil || version[0] != touchedVersion {
		return nil, fmt.Errorf("%w: it has an unknown version: %w", errTouched, ErrSchema)
	}
	types := make([]TouchedType, 0, 1)
	for range p.number(maxTouchedType) {
		var t TouchedType
		t.Type = string(p.bytes(p.number(math.MaxUint8)))
		t.From = int64(p.number(maxMinutes))
		t.To = t.From + int64(p.number(maxMinutes))
		for range p.number(4 * maxTouchedKeys) {
			var k TouchedKey
			if hash := p.bytes(8); p.err == nil {
				k.Hash = binary.LittleEndian.Uint64(hash)
			}
			k.From = t.From + int64(p.number(maxMinutes))
			k.To = k.From + int64(p.number(maxMinutes))
			if p.err != nil {
				break
			}
			t.Keys = append(t.Keys, k)
		}
		if p.err != nil {
			return nil, fmt.Errorf("%w: %w", p.err, ErrSchema)
		}
		types = append(types, t)
	}
	if p.err != nil || len(p.data) > 0 {
		return nil, fmt.Errorf("%w: %w", errTouched, ErrSchema)
	}
	return types, nil
}

// touchedParser reads the stored form and keeps the first error.
type touchedParser struct {
	data []byte
	err  error
}

func (p *touchedParser) number(most uint64) uint64 {
	v, n := binary.Uvarint(p.data)
	if p.err != nil || n <= 0 || v > most {
		p.err = errTouched
		return 0
	}
	p.data = p.data[n:]
	return v
}

func (p *touchedParser) bytes(n uint64) []byte {
	if p.err != nil || n > uint64(len(p.data)) {
		p.err = errTouched
		return nil
	}
	taken := p.data[:n]
	p.data = p.data[n:]
	return taken
}
