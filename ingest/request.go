package ingest

import (
	"slices"
	"sync/atomic"
	"time"
)

// request is one POST in progress. It is pooled: everything in it is reused.
type request struct {
	parser parser
	body   []byte
	answer []byte

	order  []int32 // entries by partition
	counts []int32 // by partition
	parts  []part

	left  atomic.Int32  // parts whose fate is open
	done  chan struct{} // gets a token when left reaches 0, unless the request is abandoned
	timer *time.Timer

	fate atomic.Int32

	inFlight *inFlight
	taken    int64 // of inFlight, for the body
}

// What is known of a request's parts.
const (
	fateOpen      = iota
	fateKnown     // every part is settled, and its caller waits for the answer
	fateAbandoned // its caller does not wait any longer
)

// part is entries of a request that belong to one partition: order[from:to].
type part struct {
	partition int32
	from, to  int32
	err       error
}

func newRequest(f *inFlight) *request {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &request{done: make(chan struct{}, 1), timer: t, inFlight: f}
}

// maxPooledBytes and maxPooledEvents bound what a pooled request may keep.
const (
	maxPooledBytes  = 4 << 20
	maxPooledEvents = 16 << 10
)

func (r *request) reusable() bool {
	return cap(r.body) <= maxPooledBytes && cap(r.answer) <= maxPooledBytes && cap(r.parser.arena) <= maxPooledBytes &&
		cap(r.parser.ids) <= maxPooledBytes && cap(r.parser.entries) <= maxPooledEvents
}

// split sorts the entries by partition, keeping their order within one. A partition has one part, unless that would be more than a share
// may be.
func (r *request) split(partitions int) {
	entries := r.parser.entries
	r.parts, r.order = r.parts[:0], append(r.order[:0], make([]int32, len(entries))...)
	if len(r.counts) != partitions {
		r.counts = make([]int32, partitions)
	}
	clear(r.counts)
	for i := range entries {
		r.counts[entries[i].partition]++
	}
	at := int32(0)
	for p, n := range r.counts {
		if n > 0 {
			r.parts = append(r.parts, part{partition: int32(p), from: at, to: at + n})
		}
		r.counts[p] = at
		at += n
	}
	for i := range entries {
		slot := &r.counts[entries[i].partition]
		r.order[*slot] = int32(i)
		*slot++
	}
	if len(entries) > maxShareEvents || len(r.body)+len(entries)*overheadBytes > maxShareBytes {
		r.cut()
	}
}

// overheadBytes is more than an event takes in a batch besides its key and id.
const overheadBytes = 64

// cut divides the parts that are larger than a share may be.
func (r *request) cut() {
	whole := slices.Clone(r.parts)
	r.parts = r.parts[:0]
	for _, p := range whole {
		size := 0
		for i := p.from; i < p.to; i++ {
			e := &r.parser.entries[r.order[i]]
			size += len(e.Key) + len(e.ID) + overheadBytes
			if size > maxShareBytes || i-p.from >= maxShareEvents {
				r.parts = append(r.parts, part{partition: p.partition, from: p.from, to: i})
				p.from, size = i, len(e.Key)+len(e.ID)+overheadBytes
			}
		}
		r.parts = append(r.parts, p)
	}
}

// settle notes what became of a part.
func (r *request) settle(part int, err error) {
	r.parts[part].err = err
	if r.left.Add(-1) > 0 {
		return
	}
	if r.fate.CompareAndSwap(fateOpen, fateKnown) {
		r.done <- struct{}{}
		return
	}
	r.giveBack()
}

// abandonedBytes is what an abandoned request takes beside its events.
const abandonedBytes = 1 << 10

// abandon leaves the request to the log, which gives back what it took of inFlight once every part has been settled: until then its
// events take memory, in batches that wait. It returns false if that is so already.
func (r *request) abandon() bool {
	r.inFlight.bytes.Add(abandonedBytes)
	r.taken += abandonedBytes
	if !r.fate.CompareAndSwap(fateOpen, fateAbandoned) {
		return false
	}
	r.body, r.answer, r.order, r.counts, r.parser = nil, nil, nil, nil, parser{} // the batches have copies
	return true
}

func (r *request) giveBack() {
	r.inFlight.giveBack(r.taken)
	r.taken = 0
}
