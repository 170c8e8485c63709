package ingest

import (
	"bytes"
	"fmt"
	"time"
	"unsafe"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// Codes of rejected events.
const (
	codeInvalidEvent  = "invalid_event"
	codeUnknownType   = "unknown_type"
	codeInvalidKey    = "invalid_key"
	codeInvalidID     = "invalid_id"
	codeInvalidTime   = "invalid_time"
	codeTooOld        = "too_old"
	codeTooFarAhead   = "too_far_ahead"
	codeInvalidValue  = "invalid_value"
	codeInvalidWeight = "invalid_weight"
	codeNegative      = "negative_not_allowed"
	codeLogFull       = "log_full"
	codeUnavailable   = "unavailable"
)

// rejection says why one event of a body was not accepted.
type rejection struct {
	index     int
	code      string
	message   string
	retryable bool
}

// entry is an event of a body that passed every check.
type entry struct {
	event.RawEvent
	index     int32
	partition int32
}

// rules are what events of one request are judged by.
type rules struct {
	types          map[string]event.Type
	partitions     int
	fingerprinter  event.Fingerprinter
	now            int64 // log time
	ahead          time.Duration
	late           time.Duration // for types that don't say
	maxEvents      int
	idempotencyKey string // "" if the request has none
}

// parser turns a body into entries and rejections. It is reused from request to request; entries alias the body and the parser.
type parser struct {
	scanner
	rules
	entries  []entry
	rejected []rejection
	ids      []byte // derived ids
	withID   int

	count    int
	lastType event.Type
	current  fields
}

// fields is the event being read.
type fields struct {
	seen     uint8
	bad      rejection
	rawStart int
	kind     []byte
	key, id  []byte
	time     int64
	value    int64
	weight   int64
}

// Bits of fields.seen.
const (
	seenType = 1 << iota
	seenKey
	seenID
	seenTime
	seenValue
	seenWeight
)

// tooManyEvents is returned for a body with more events than rules allow.
type tooManyEvents struct{ limit int }

func (e *tooManyEvents) Error() string {
	return fmt.Sprintf("the body has more than %d events", e.limit)
}

// shape says how a body lists its events.
type shape int

const (
	shapeSniff shape = iota // an array, or objects one after another, by the first byte
	shapeJSON               // an array or one object
	shapeLines              // one object a line
)

// parse reads a whole body. A *syntaxError or *tooManyEvents means that nothing of it counts.
func (p *parser) parse(body []byte, form shape, r rules) error {
	p.scanner.reset(body)
	p.rules = r
	clear(p.rejected)
	p.entries, p.rejected, p.ids, p.withID, p.count = p.entries[:0], p.rejected[:0], p.ids[:0], 0, 0
	p.lastType = event.Type{}
	first := p.space()
	switch {
	case p.at >= len(p.data):
		return p.fail(p.at, "the body is empty")
	case first == '[' && form != shapeLines:
		return p.array()
	case form == shapeJSON && first == '{':
		if err := p.element(); err != nil {
			return err
		}
		return p.end()
	case form == shapeJSON, form == shapeSniff && first != '{':
		return p.unexpected("an array or an object")
	}
	return p.lines()
}

func (p *parser) array() error {
	p.at++
	if p.space() == ']' {
		p.at++
		return p.end()
	}
	for {
		if err := p.element(); err != nil {
			return err
		}
		more, err := p.more(']')
		if err != nil {
			return err
		}
		if !more {
			return p.end()
		}
	}
}

func (p *parser) end() error {
	if p.space(); p.at < len(p.data) {
		return p.unexpected("the end of the body")
	}
	return nil
}

func (p *parser) lines() error {
	for p.at < len(p.data) {
		if err := p.element(); err != nil {
			return err
		}
		from := p.at
		p.space()
		if p.at < len(p.data) && bytes.IndexByte(p.data[from:p.at], '\n') < 0 {
			return p.unexpected("a new line")
		}
	}
	return nil
}

// element reads one event. What is wrong with its values is a rejection.
func (p *parser) element() error {
	if p.count >= p.maxEvents {
		return &tooManyEvents{limit: p.maxEvents}
	}
	index := p.count
	p.count++
	if p.space() != '{' {
		kind, err := p.skip(0)
		if err == nil {
			p.rejected = append(p.rejected, rejection{index: index, code: codeInvalidEvent, message: "an event must be an object, this is " + kind})
		}
		return err
	}
	p.current = fields{rawStart: p.at, weight: 1}
	if err := p.object(); err != nil {
		return err
	}
	p.judge(index)
	return nil
}

func (p *parser) object() error {
	p.at++
	if p.space() == '}' {
		p.at++
		return nil
	}
	for {
		name, err := p.name()
		if err == nil {
			err = p.field(name)
		}
		if err != nil {
			return err
		}
		more, err := p.more('}')
		if err != nil || !more {
			return err
		}
	}
}

// judge checks the current event as a whole and makes it an entry or a rejection.
func (p *parser) judge(index int) {
	f := &p.current
	if f.bad.code == "" {
		p.checkFields()
	}
	if f.bad.code != "" {
		f.bad.index = index
		p.rejected = append(p.rejected, f.bad)
		return
	}
	kind := p.lastType.Name
	hash := cluster.KeyHash(kind, unsafe.String(unsafe.SliceData(f.key), len(f.key)))
	e := entry{
		RawEvent: event.RawEvent{
			Type: kind, Key: f.key, ID: f.id, TimeMs: f.time, Value: f.value, Weight: f.weight, KeyHash: hash, HasValue: f.seen&seenValue != 0,
		},
		index: int32(index), partition: int32(cluster.PartitionOf(hash, p.partitions)),
	}
	if f.seen&seenID == 0 && p.idempotencyKey != "" {
		start := len(p.ids)
		p.ids = p.fingerprinter.AppendDerivedID(p.ids, p.idempotencyKey, index, p.data[f.rawStart:p.at])
		e.ID = p.ids[start:len(p.ids):len(p.ids)]
	}
	if len(e.ID) > 0 {
		e.Fingerprint = p.fingerprinter.FingerprintBytes(kind, e.Key, e.ID)
		p.withID++
	}
	p.entries = append(p.entries, e)
}

func (p *parser) checkFields() {
	f := &p.current
	switch {
	case f.seen&seenType == 0:
		f.reject(codeInvalidEvent, "field \"type\" is missing")
	case f.seen&seenKey == 0:
		f.reject(codeInvalidEvent, "field \"key\" is missing")
	case !p.known(f.kind):
		f.reject(codeUnknownType, "type %s is not registered", quoted(f.kind))
	case len(f.key) == 0 || len(f.key) > event.MaxKeyBytes:
		f.reject(codeInvalidKey, "key must have 1 to %d bytes, has %d", event.MaxKeyBytes, len(f.key))
	case f.seen&seenID != 0 && (len(f.id) == 0 || len(f.id) > event.MaxIDBytes):
		f.reject(codeInvalidID, "id must have 1 to %d bytes, has %d", event.MaxIDBytes, len(f.id))
	case f.weight == 0:
		f.reject(codeInvalidWeight, "weight must not be 0")
	case f.weight < 0 && !p.lastType.AllowNegative:
		f.reject(codeNegative, "type %q does not allow negative weights", p.lastType.Name)
	case f.seen&seenTime == 0:
		f.time = p.now
	default:
		p.checkTime()
	}
}

func (p *parser) checkTime() {
	f := &p.current
	late := p.lastType.AcceptLate
	if late == 0 {
		late = p.late
	}
	if f.time > p.now+p.ahead.Milliseconds() {
		f.reject(codeTooFarAhead, "time %s is %s ahead, the limit is %s", instant(f.time), distance(f.time-p.now, p.ahead), event.FormatDuration(p.ahead))
	}
	if f.time < p.now-late.Milliseconds() {
		f.reject(codeTooOld, "time %s is %s ago, type %q accepts events up to %s old",
			instant(f.time), distance(p.now-f.time, late), p.lastType.Name, event.FormatDuration(late))
	}
}

// instant shows a time as it was understood, so that seconds taken for milliseconds are noticed.
func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z") }

// distance shows how far a time is off, in seconds where that is still more than the limit.
func distance(ms int64, limit time.Duration) string {
	d := time.Duration(ms) * time.Millisecond
	if whole := d.Truncate(time.Second); whole > limit {
		d = whole
	}
	return event.FormatDuration(d)
}

// known finds the type of the current event; events of one body mostly share theirs.
func (p *parser) known(name []byte) bool {
	if len(name) > 0 && string(name) == p.lastType.Name {
		return true
	}
	t, ok := p.types[string(name)]
	if ok {
		p.lastType = t
	}
	return ok
}
