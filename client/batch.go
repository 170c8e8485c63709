package client

import (
	"github.com/quipudb/quipu/event"
)

// Batch is a JSON array of events under construction. The zero value is an empty batch.
type Batch struct {
	// IdempotencyKey makes retries of events without ids safe: the cluster derives their ids from it. A batch that has one is always
	// sent again as a whole. At most 128 visible ASCII characters.
	IdempotencyKey string

	body   []byte   // '[' and the events, each followed by a comma
	starts []uint32 // where each event begins in body
}

// Add appends an event. A zero weight stands for 1, a zero time is left to the server, an empty id is left out.
func (b *Batch) Add(e *event.Event) {
	b.begin()
	b.body = AppendEvent(b.body, e)
	b.body = append(b.body, ',')
}

// AddJSON appends an event that is encoded already: one JSON object.
func (b *Batch) AddJSON(object []byte) {
	b.begin()
	b.body = append(b.body, object...)
	b.body = append(b.body, ',')
}

// AddFunc appends the JSON object that encode appends to its argument: AddJSON without a copy.
func (b *Batch) AddFunc(encode func(dst []byte) []byte) {
	b.begin()
	b.body = append(encode(b.body), ',')
}

func (b *Batch) begin() {
	if len(b.body) == 0 {
		b.body = append(b.body, '[')
	} else if len(b.starts) > 0 {
		b.body[len(b.body)-1] = ','
	}
	b.starts = append(b.starts, uint32(len(b.body)))
}

// Len returns the number of events.
func (b *Batch) Len() int { return len(b.starts) }

// Bytes returns the length of the encoded batch.
func (b *Batch) Bytes() int { return len(b.body) }

// Event returns the encoded event at a place, valid until the batch changes.
func (b *Batch) Event(i int) []byte {
	end := len(b.body)
	if i+1 < len(b.starts) {
		end = int(b.starts[i+1])
	}
	return b.body[b.starts[i] : end-1]
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.body, b.starts, b.IdempotencyKey = b.body[:0], b.starts[:0], ""
}

// whole returns the array of all events. It ends in place of the last comma, which begin puts back.
func (b *Batch) whole() []byte {
	if len(b.starts) == 0 {
		return []byte("[]")
	}
	b.body[len(b.body)-1] = ']'
	return b.body
}

// some appends the array of the events at the given places to dst.
func (b *Batch) some(dst []byte, places []int) []byte {
	dst = append(dst, '[')
	for n, i := range places {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, b.Event(i)...)
	}
	return append(dst, ']')
}
