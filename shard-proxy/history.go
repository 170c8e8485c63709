package shardproxy

import (
	"cmp"
	"slices"
	"sync"

	"github.com/quipudb/quipu/mysql"
)

// touch is a range of minutes that a change has added to.
type touch struct {
	partition int
	offset    uint64 // of the checkpoint that it was committed with
	from, to  int64
	all       bool // of a type's touches: every key of the partition may be touched
}

// Bounds of what a history keeps of one change of a type, and about what an entry of it costs.
const (
	maxTypeRuns = 16
	touchBytes  = 96
)

// typeIn is an event type in a partition.
type typeIn struct {
	partition int
	kind      string
}

// followed is what is known of a partition: every change after floor and up to position, which has an as-of.
type followed struct {
	floor, position uint64
	asOf            int64
}

// verdict is what a history says of an answer.
type verdict int

const (
	unknown   verdict = iota // its place in the history is not there
	untouched                // it is still the answer
	touched                  // something was added since
)

// history is what late changes were told since a while: enough to tell of an answer of some offset whether it still holds. It is safe for concurrent use.
type history struct {
	limit int64

	mu         sync.RWMutex // guards all below
	term       uint64
	partitions map[int]*followed
	byKey      map[uint64][]touch // by hash, ascending by offset
	byType     map[typeIn][]touch // ascending by offset
	log        []logged           // in the order of their arrival
	bytes      int64
}

// logged is a change and what it costs.
type logged struct {
	partition int
	offset    uint64
	bytes     int64
}

func newHistory(limit int64) *history {
	h := &history{limit: limit}
	h.resetLocked(0)
	return h
}

func (h *history) resetLocked(term uint64) {
	h.term, h.bytes, h.log = term, 0, nil
	h.partitions, h.byKey, h.byType = map[int]*followed{}, map[uint64][]touch{}, map[typeIn][]touch{}
}

// after returns the offsets up to which the partitions are known.
func (h *history) after() map[int]uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	after := make(map[int]uint64, len(h.partitions))
	for partition, f := range h.partitions {
		after[partition] = f.position
	}
	return after
}

// taken says what came of changes.
type taken struct {
	newTerm bool // all that was known belonged to an earlier term
	full    bool // more is held than there is room for
	dropped int  // partitions whose changes could not all be told
	touches int
}

// take adds changes that were asked for with after. A database that lags tells nothing new, and one of an earlier term nothing at all.
func (h *history) take(c *mysql.Changes) (out taken) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.Term < h.term {
		return out
	}
	if c.Term > h.term {
		out.newTerm = h.term > 0
		h.resetLocked(c.Term)
	}
	for partition := range h.partitions {
		if _, owned := c.Positions[partition]; !owned {
			delete(h.partitions, partition) // should it come back, it begins anew
		}
	}
	gapless := make(map[int]bool, len(c.Positions))
	for partition, now := range c.Positions {
		f := h.partitions[partition]
		switch {
		case f == nil:
			h.partitions[partition] = &followed{floor: now.NextOffset, position: now.NextOffset, asOf: now.AsOf}
		case now.NextOffset < f.position || now.AsOf < f.asOf:
		case now.NextOffset > f.position && (c.Cut || now.AsOf-f.asOf >= mysql.ChangesKept.Milliseconds()):
			f.floor, f.position, f.asOf = now.NextOffset, now.NextOffset, now.AsOf
			out.dropped++
		default:
			gapless[partition] = true
		}
	}
	for i := range c.List {
		change := &c.List[i]
		if gapless[change.Partition] && change.NextOffset > h.partitions[change.Partition].position {
			out.touches += h.addLocked(change)
		}
	}
	for partition := range gapless {
		f, now := h.partitions[partition], c.Positions[partition]
		f.position, f.asOf = now.NextOffset, now.AsOf
	}
	out.full = h.bytes > h.limit
	return out
}

func (h *history) addLocked(c *mysql.Change) (touches int) {
	for i := range c.Touched {
		t := &c.Touched[i]
		for _, k := range t.Keys {
			h.byKey[k.Hash] = append(h.byKey[k.Hash], touch{partition: c.Partition, offset: c.NextOffset, from: k.From, to: k.To})
		}
		at := typeIn{c.Partition, t.Type}
		runs := typeRuns(t)
		for j := range runs {
			runs[j].partition, runs[j].offset = c.Partition, c.NextOffset
		}
		h.byType[at] = append(h.byType[at], runs...)
		touches += len(t.Keys) + len(runs)
	}
	cost := int64(touches) * touchBytes
	h.log = append(h.log, logged{c.Partition, c.NextOffset, cost})
	h.bytes += cost
	return touches
}

// typeRuns returns the minutes that a change touched of a type, of whichever keys.
func typeRuns(t *mysql.TouchedType) []touch {
	whole := []touch{{from: t.From, to: t.To, all: len(t.Keys) == 0}}
	runs := make([]touch, 0, len(t.Keys))
	for _, k := range t.Keys {
		runs = append(runs, touch{from: k.From, to: k.To})
	}
	slices.SortFunc(runs, func(a, b touch) int { return cmp.Compare(a.from, b.from) })
	joined := runs[:0]
	for _, r := range runs {
		if n := len(joined); n > 0 && joined[n-1].to >= r.from {
			joined[n-1].to = max(joined[n-1].to, r.to)
			continue
		}
		joined = append(joined, r)
	}
	if len(joined) == 0 || len(joined) > maxTypeRuns {
		return whole
	}
	return slices.Clone(joined)
}

// forget makes room: the older half of the changes is no longer told. Whatever is to outlast that must have been looked at before.
func (h *history) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, goal := 0, h.limit/2
	for h.bytes > goal && n < len(h.log) {
		one := h.log[n]
		h.bytes -= one.bytes
		if f := h.partitions[one.partition]; f != nil {
			f.floor = max(f.floor, one.offset)
		}
		n++
	}
	h.log = slices.Clone(h.log[n:])
	gone := func(t touch) bool {
		f := h.partitions[t.partition]
		return f == nil || t.offset <= f.floor
	}
	for hash, touches := range h.byKey {
		if kept := slices.DeleteFunc(touches, gone); len(kept) > 0 {
			h.byKey[hash] = kept
		} else {
			delete(h.byKey, hash)
		}
	}
	for at, touches := range h.byType {
		if kept := slices.DeleteFunc(touches, gone); len(kept) > 0 {
			h.byType[at] = kept
		} else {
			delete(h.byType, at)
		}
	}
}

// since tells whether a range was added to after an offset: of the key with a hash, or, with no hash, of any key of the type. If it was not, what held at
// that offset still holds at a position, which has an as-of.
func (h *history) since(at typeIn, term, offset, hash uint64, from, to int64) (v verdict, position uint64, asOf int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f := h.partitions[at.partition]
	if f == nil || term != h.term || offset < f.floor {
		return unknown, 0, 0
	}
	if offset < f.position {
		if hash != 0 && overlaps(h.byKey[hash], offset, from, to, false) || overlaps(h.byType[at], offset, from, to, hash != 0) {
			return touched, 0, 0
		}
	}
	return untouched, max(offset, f.position), f.asOf
}

// overlaps tells whether touches after an offset meet a range. With wide, only those of all keys count.
func overlaps(touches []touch, offset uint64, from, to int64, wide bool) bool {
	for i := len(touches) - 1; i >= 0 && touches[i].offset > offset; i-- {
		if t := &touches[i]; t.from < to && t.to > from && (t.all || !wide) {
			return true
		}
	}
	return false
}

// size returns what is held.
func (h *history) size() (term uint64, bytes int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.term, h.bytes
}
