package load

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load/zipf"
)

// GeneratorConfig configures a Generator. Zero values give the defaults named here.
type GeneratorConfig struct {
	Type       string  // "view"
	Keys       int     // how many; 1,000,000
	Exponent   float64 // of Zipf's law; 0: every key is as likely
	Prefix     string  // of the keys; what follows is the rank, 0 the most frequent
	Run        string  // unique name of the run, at most 64 bytes: the ids of its events begin with it
	Seed       uint64  // the stream depends on it and on the other settings alone
	Batch      int     // events a request; 1,000
	Count      uint64  // events, duplicates included; 0: no end
	Duplicates float64 // share of events that repeat an earlier one under its id, 0 to 0.5
	MaxValue   int64   // values are 0 to this, evenly; 0: events carry no value
	WithoutIDs bool    // events have no ids; each request has an Idempotency-Key instead
	WithTime   bool    // events carry the time at which their request was made; else the cluster takes the time of arrival
}

func (cfg *GeneratorConfig) complete() error {
	setDefault(&cfg.Type, "view")
	setDefault(&cfg.Keys, 1_000_000)
	setDefault(&cfg.Batch, 1000)
	longest := fmt.Sprint(cfg.Prefix, cfg.Keys)
	switch {
	case !event.ValidTypeName(cfg.Type):
		return fmt.Errorf("%w: %q is not the name of an event type", ErrConfig, cfg.Type)
	case len(longest) > event.MaxKeyBytes:
		return fmt.Errorf("%w: prefix of %d bytes makes keys too long", ErrConfig, len(cfg.Prefix))
	case cfg.Run == "" || len(cfg.Run) > 64:
		return fmt.Errorf("%w: run %q must have 1 to 64 bytes", ErrConfig, cfg.Run)
	case cfg.Batch < 1 || cfg.Batch > 10_000:
		return fmt.Errorf("%w: batches of %d events, must be 1 to 10,000", ErrConfig, cfg.Batch)
	case !(cfg.Duplicates >= 0 && cfg.Duplicates <= 0.5):
		return fmt.Errorf("%w: duplicates %v, must be 0 to 0.5", ErrConfig, cfg.Duplicates)
	case cfg.Duplicates > 0 && cfg.WithoutIDs:
		return fmt.Errorf("%w: without ids there are no duplicates", ErrConfig)
	case cfg.MaxValue < 0 || cfg.MaxValue > math.MaxInt32:
		return fmt.Errorf("%w: values up to %d, must be 0 to %d", ErrConfig, cfg.MaxValue, math.MaxInt32)
	}
	return nil
}

// Generator is a Source of made-up events. Event n of a stream is a pure function of the settings and n, whichever connection
// sends it: so what was acknowledged is computed after the run instead of being counted during it.
type Generator struct {
	cfg   GeneratorConfig
	table *zipf.Table
	next  atomic.Uint64 // block to be filled next

	duplicateBelow uint64
	beforeKey      []byte // {"type":"view","key":"<prefix>
	beforeID       []byte // ","id":"<run>-

	mu      sync.Mutex          // guards what follows
	losses  map[uint64]lostness // by number of the event
	dropped bool                // losses were more than maxLosses
}

type lostness struct{ uncertain bool }

// maxLosses bounds what is remembered of lost events.
const maxLosses = 1 << 20

// NewGenerator returns a generator.
func NewGenerator(cfg GeneratorConfig) (*Generator, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	table, err := zipf.New(cfg.Keys, cfg.Exponent)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	g := &Generator{cfg: cfg, table: table, duplicateBelow: uint64(cfg.Duplicates * math.MaxUint64), losses: map[uint64]lostness{}}
	prefix := client.AppendString(nil, cfg.Prefix)
	g.beforeKey = fmt.Appendf(nil, `{"type":"%s","key":%s`, cfg.Type, prefix[:len(prefix)-1])
	run := client.AppendString(nil, cfg.Run+"-")
	g.beforeID = fmt.Appendf(nil, `","id":%s`, run[:len(run)-1])
	return g, nil
}

// Batch implements Source.
func (g *Generator) Batch() int { return g.cfg.Batch }

// Fill implements Source.
func (g *Generator) Fill(p *Parcel) error {
	p.number = g.next.Add(1) - 1
	first, end := g.block(p.number)
	if first >= end {
		return io.EOF
	}
	if g.cfg.WithoutIDs {
		p.IdempotencyKey = g.cfg.Run + "-" + strconv.FormatUint(p.number, 36)
	}
	now := int64(0)
	if g.cfg.WithTime {
		now = time.Now().UnixMilli()
	}
	p.drawn = p.drawn[:0]
	for n := first; n < end; n++ { // apart from what follows: see Rank
		p.drawn = append(p.drawn, g.event(n))
	}
	for _, e := range p.drawn {
		p.AddFunc(func(dst []byte) []byte { return g.appendEvent(dst, e, now) })
	}
	return nil
}

// block returns the numbers of the events of a block.
func (g *Generator) block(number uint64) (first, end uint64) {
	size := uint64(g.cfg.Batch)
	first, end = number*size, (number+1)*size
	if g.cfg.Count > 0 {
		end = min(end, g.cfg.Count)
	}
	return first, end
}

// generated is one event of the stream.
type generated struct {
	id    uint64 // number of the event, or of the earlier one that it repeats
	rank  int
	value int64
}

func (g *Generator) event(n uint64) generated {
	id := g.origin(n)
	first := mix(g.cfg.Seed + id*golden)
	e := generated{id: id, rank: g.table.Rank(first)}
	if g.cfg.MaxValue > 0 {
		v, _ := bits.Mul64(mix(first), uint64(g.cfg.MaxValue)+1)
		e.value = int64(v)
	}
	return e
}

// farthest is how many events back a duplicate may reach.
const farthest = 100_000

// origin returns n, or the earlier event that event n repeats.
func (g *Generator) origin(n uint64) uint64 {
	if g.duplicateBelow == 0 || n == 0 || !g.repeats(n) {
		return n
	}
	back, _ := bits.Mul64(mix(^g.cfg.Seed-n*golden), min(n, farthest))
	n -= back + 1
	for n > 0 && g.repeats(n) {
		n--
	}
	return n
}

func (g *Generator) repeats(n uint64) bool {
	return n > 0 && mix((g.cfg.Seed^golden)+n*golden) < g.duplicateBelow
}

// golden and mix are SplitMix64 (Steele, Lea, Flood 2014).
const golden = 0x9e3779b97f4a7c15

func mix(z uint64) uint64 {
	z += golden
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (g *Generator) appendEvent(dst []byte, e generated, now int64) []byte {
	dst = append(dst, g.beforeKey...)
	dst = strconv.AppendUint(dst, uint64(e.rank), 10)
	if !g.cfg.WithoutIDs {
		dst = append(dst, g.beforeID...)
		dst = strconv.AppendUint(dst, e.id, 36)
	}
	dst = append(dst, '"')
	if now != 0 {
		dst = append(dst, `,"time":`...)
		dst = strconv.AppendInt(dst, now, 10)
	}
	if g.cfg.MaxValue > 0 {
		dst = append(dst, `,"value":`...)
		dst = strconv.AppendInt(dst, e.value, 10)
	}
	return append(dst, '}')
}
