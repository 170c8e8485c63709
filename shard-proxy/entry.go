package shardproxy

import (
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// question is what an entry answers: the points of a key, or a ranking, which has no key.
type question struct {
	kind, key string
	from, to  int64
	step      wire.Step
	n         int // of a ranking
}

// entryOverhead is about what an entry costs besides what it holds: its nodes in the list and in the map, its places.
const entryOverhead = 512

// place is where in the history of a partition an entry was read.
type place struct {
	partition int
	read      uint64        // offset
	seen      atomic.Uint64 // the highest offset at which nothing had touched it yet
	asOf      int64
}

// entry is an answer to one question, read from one snapshot. Only what is atomic in it ever changes.
type entry struct {
	body   []byte // the JSON of a wire.KeyStats, or of a wire.TopAnswer without its provenance: an object that isn't closed
	points int
	cold   []wire.ColdPart

	together int // keys that cold speaks of

	provenance *wire.Provenance // of a ranking, as it was read

	term    uint64
	places  []place
	asOf    int64 // the least of the places
	closed  bool  // nothing is added to the range but what the history tells
	lasting bool  // it may be answered for as long as nothing is

	database   string
	role       string
	resolution string
	stale      bool
	fetched    time.Time
}

func (e *entry) size(q question) int64 {
	size := entryOverhead + len(q.kind) + 2*len(q.key) + len(e.body) + len(e.database) + len(e.resolution) + 64*len(e.places)
	for i := range e.cold {
		for j := range e.cold[i].Objects {
			size += 192 + len(e.cold[i].Objects[j].Object)
		}
	}
	return int64(size)
}

// look asks the history whether an entry still holds, and as of when.
func (h *history) look(q *question, hash uint64, e *entry) (v verdict, asOf int64) {
	if !e.closed {
		return unknown, e.asOf
	}
	for i := range e.places {
		p := &e.places[i]
		verdict, position, told := h.since(typeIn{p.partition, q.kind}, e.term, p.seen.Load(), hash, q.from, q.to)
		if verdict != untouched {
			return verdict, e.asOf
		}
		p.seen.Store(position)
		if told = max(told, p.asOf); i == 0 || told < asOf {
			asOf = told
		}
	}
	return untouched, asOf
}

// isClosed tells whether all partitions of a header had closed the minutes before to.
func isClosed(asOf, to int64) bool { return to <= mysql.ClosedBefore(asOf) }

// hash is what changes know the question's key by; 0: it is about all keys.
func (q *question) hash() uint64 {
	if q.key == "" {
		return 0
	}
	return cluster.KeyHash(q.kind, q.key)
}
