package event

// BatchKey is an entry of a batch's dictionary.
type BatchKey struct {
	Type, Key string
	Hash      uint64 // the routing hash of (Type, Key)
}

// Batch is a decoded batch, column by column: element i of each column belongs to event i. Decode fills it and reuses its slices.
//
// The strings of Keys share one allocation per batch and do not alias the encoded bytes; clone one to keep it for long. Ids are
// read lazily and do alias them: the bytes given to Decode must not change while ID is used.
type Batch struct {
	Keys         []BatchKey
	KeyIndex     []uint32 // into Keys
	Fingerprints []uint64 // 0: the event has no id
	TimesMs      []int64
	Weights      []int64 // nil: all 1
	Values       []int64 // 0 where there is none; nil when HasValue is
	HasValue     []bool  // nil: no event has a value

	ids       []byte // lengths, then bytes
	idStarts  []uint32
	idsRead   bool
	typeNames []string
	weights   []int64
	values    []int64
	hasValue  []bool
}

// Len returns the number of events.
func (b *Batch) Len() int { return len(b.KeyIndex) }

// Weight returns the weight of event i.
func (b *Batch) Weight(i int) int64 {
	if b.Weights == nil {
		return 1
	}
	return b.Weights[i]
}

// ID returns the id of event i, "" if it has none. The first call reads the lengths of all ids.
func (b *Batch) ID(i int) string {
	if !b.idsRead {
		b.readIDs()
	}
	if len(b.idStarts) == 0 {
		return ""
	}
	return string(b.ids[b.idStarts[i]:b.idStarts[i+1]])
}

// Event returns event i with strings of its own.
func (b *Batch) Event(i int) Event {
	k := b.Keys[b.KeyIndex[i]]
	e := Event{Type: k.Type, Key: k.Key, ID: b.ID(i), TimeMs: b.TimesMs[i], Weight: b.Weight(i)}
	if b.HasValue != nil && b.HasValue[i] {
		e.Value, e.HasValue = b.Values[i], true
	}
	return e
}

func (b *Batch) readIDs() {
	b.idsRead = true
	if len(b.ids) == 0 {
		return
	}
	b.idStarts = grow(b.idStarts[:0], b.Len()+1)
	at, total := 0, uint32(0)
	for i := range b.Len() {
		size, n := uvarint(b.ids, at)
		b.idStarts[i] = total
		total += uint32(size)
		at += n
	}
	b.idStarts[b.Len()] = total
	b.ids = b.ids[at:]
}
