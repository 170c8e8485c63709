// Package recount counts again, by another path: from the archive of raw events, and from the log what is not archived yet. It compares
// the result with what the cluster's readers say.
//
//	object storage (raw/…parquet) ─┐
//	ingest (log: the rest) ────────┴─► recount: de-duplicate → add up by key ──► compare ◄── reader (HTTP)
//
// It shares no code with what counts: duplicates are found by the identity (type, key, id) and append times, not by the fingerprints that
// the writers go by; sums are big integers; whole ranges are added up at once, without minutes.
//
// # Guarantees
//
//   - Every batch that may hold an event of the range, or an earlier sighting of one, is read exactly once, overlapping objects or not. If
//     one is missing, the answer is ErrMissing and never a smaller sum.
//   - Readers are asked after the end of the log was noted, and to wait for it. Events that come for the range while it runs may show as
//     differences: ask for a range that is over, or again.
//   - Memory: one partition at a time; its keys within the range, and its ids within the window, each bounded (Config).
//
// What the writers set aside as dead letters is not counted by the cluster but is here: it shows as a difference, as it should. Keys that
// the cluster counts but were never in the log are not looked for.
package recount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// Errors of a recount.
var (
	ErrMissing     = errors.New("raw events are missing")
	ErrTooManyKeys = errors.New("too many keys in one partition")
)

// Event is one raw event, as accepted.
type Event struct {
	Offset        uint64
	AppendMs      int64
	Type, Key, ID string
	TimeMs        int64
	Weight, Value int64
	HasValue      bool
}

// Objects are the archive of raw events.
type Objects interface {
	Names(ctx context.Context, partition int) ([]rawfile.Name, error)
	// Events visits what an object holds, in its order. The event is the visitor's only during the call.
	Events(ctx context.Context, name rawfile.Name, visit func(*Event) error) error
}

// Log is where events lie that are not archived yet; *remote.Log is one.
type Log interface {
	Read(ctx context.Context, partition int, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error)
	Hold(ctx context.Context) (*wire.LogHold, error)
}

// Config is what a recount needs.
type Config struct {
	Objects Objects
	Log     Log
	Window  time.Duration // W of the cluster
	MaxIDs  int           // within the window of one partition; 20,000,000, at about 60 bytes each
	MaxKeys int           // of one partition; 5,000,000
}

// Range says what is counted: one type, and maybe one key, by event time.
type Range struct {
	Type, Key string    // Key "": all of them
	From, To  time.Time // From ≤ time < To, whole minutes
}

func (r *Range) holds(e *Event) bool {
	return e.Type == r.Type && (r.Key == "" || e.Key == r.Key) && e.TimeMs >= r.From.UnixMilli() && e.TimeMs < r.To.UnixMilli()
}

// Partition is what one partition adds up to.
type Partition struct {
	Totals     map[string]*Total // by key
	Objects    int
	Events     int64 // read
	Duplicates int64 // of all that was read
}

// Recount counts again.
type Recount struct{ cfg Config }

// New does no I/O.
func New(cfg Config) *Recount {
	if cfg.MaxIDs <= 0 {
		cfg.MaxIDs = 20_000_000
	}
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 5_000_000
	}
	return &Recount{cfg: cfg}
}

// earliest is before when an event of a range, or an earlier sighting that makes it a duplicate, can have been appended.
func (r *Recount) earliest(q *Range) int64 {
	return q.From.UnixMilli() - mostAhead.Milliseconds() - 2*r.cfg.Window.Milliseconds()
}

// mostAhead is how far ahead of its append an event's time can lie (ingest.accept_ahead, at most).
const mostAhead = 24 * time.Hour

// Count counts a partition, up to what hold says is its end.
func (r *Recount) Count(ctx context.Context, q *Range, hold *wire.LogHold, partition int) (*Partition, error) {
	names, err := r.cfg.Objects.Names(ctx, partition)
	if err != nil {
		return nil, err
	}
	c := &counting{recount: r, q: q, done: &Partition{Totals: map[string]*Total{}}}
	needed := r.earliest(q)
	for _, log := range logs(names, hold.Incarnation) {
		c.window, c.next = newWindow(r.cfg.Window, r.cfg.MaxIDs), 0
		own := rawfile.OfLog(names, log)
		if err := complete(own, needed, partition); err != nil {
			return nil, err
		}
		if err := c.objects(ctx, own, needed); err != nil {
			return nil, err
		}
		if log == hold.Incarnation {
			if err := c.rest(ctx, hold, partition, needed); err != nil {
				return nil, err
			}
		}
	}
	return c.done, nil
}

// logs lists the incarnations in the order in which they were written; the current one is the last.
func logs(names []rawfile.Name, current string) []string {
	var all []string
	for _, s := range rawfile.InOrder(names) {
		if s.Incarnation != current && !slices.Contains(all, s.Incarnation) {
			all = append(all, s.Incarnation)
		}
	}
	return append(all, current)
}

// complete refuses objects between which others are missing.
func complete(names []rawfile.Name, needed int64, partition int) error {
	var from []rawfile.Name
	for _, s := range names {
		if s.Date >= rawfile.DateOf(needed) {
			from = append(from, s)
		}
	}
	if gaps := rawfile.Cover(from).Gaps; len(gaps) > 0 {
		return fmt.Errorf("%w: partition %d lacks offsets %d to %d", ErrMissing, partition, gaps[0].From, gaps[0].To-1)
	}
	return nil
}

// counting is one partition's recount under way.
type counting struct {
	recount *Recount
	q       *Range
	window  *window
	next    uint64 // the first offset not read yet; 0: none was
	done    *Partition
}

// objects reads the objects that may matter, in the log's order, leaving out what an earlier one held.
func (c *counting) objects(ctx context.Context, names []rawfile.Name, needed int64) error {
	sorted := rawfile.InOrder(names)
	for i, s := range sorted {
		if s.Date < rawfile.DateOf(needed) || s.Next <= c.next {
			continue
		}
		begins := i == 0 && s.First > 1 // what came before is not archived, or no more
		c.done.Objects++
		err := c.recount.cfg.Objects.Events(ctx, s, func(e *Event) error {
			if begins && e.AppendMs > needed {
				return tooLate(s.Partition, e.AppendMs)
			}
			begins = false
			if e.Offset < c.next {
				return nil
			}
			return c.count(e)
		})
		if err != nil {
			return fmt.Errorf("recount offsets %d to %d of partition %d: %w", s.First, s.Next-1, s.Partition, err)
		}
		c.next = s.Next
	}
	if n := len(sorted); n > 0 {
		c.next = max(c.next, rawfile.Cover(sorted).Next)
	}
	return nil
}

const restBytes = 4 << 20

// rest reads from the log what is not archived. Nothing archived means that the log itself must reach back far enough.
func (c *counting) rest(ctx context.Context, hold *wire.LogHold, partition int, needed int64) error {
	p := hold.Partitions[partition]
	at, begins := c.next, false
	if at == 0 {
		at, begins = p.First, p.First > 1
	}
	var batch event.Batch
	for at < p.Next {
		chunk, err := c.recount.cfg.Log.Read(ctx, partition, at, restBytes, 0)
		if errors.Is(err, eventlog.ErrTrimmed) {
			return fmt.Errorf("%w: partition %d is archived before offset %d, and the log begins later: %w", ErrMissing, partition, at, err)
		}
		if err != nil {
			return err
		}
		if len(chunk.Records) == 0 || chunk.Incarnation != hold.Incarnation {
			return fmt.Errorf("%w: the log ends at offset %d of partition %d", ErrMissing, at, partition)
		}
		for i := range chunk.Records {
			record := &chunk.Records[i]
			if begins && record.AppendTime > needed {
				return tooLate(partition, record.AppendTime)
			}
			begins = false
			if record.Offset >= p.Next || batch.Decode(record.Data) != nil {
				continue
			}
			if err := c.batch(record, &batch); err != nil {
				return err
			}
		}
		at = chunk.Next
	}
	return nil
}

func tooLate(partition int, appendMs int64) error {
	return fmt.Errorf("%w: those of partition %d begin at %s, which is too late for this range", ErrMissing, partition,
		time.UnixMilli(appendMs).UTC().Format(time.RFC3339))
}

func (c *counting) batch(r *eventlog.Record, b *event.Batch) error {
	for i := range b.Len() {
		one := b.Event(i)
		e := Event{
			Offset: r.Offset, AppendMs: r.AppendTime, Type: one.Type, Key: one.Key, ID: one.ID, TimeMs: one.TimeMs,
			Weight: one.Weight, Value: one.Value, HasValue: one.HasValue,
		}
		if err := c.count(&e); err != nil {
			return err
		}
	}
	return nil
}

func (c *counting) count(e *Event) error {
	c.done.Events++
	duplicate, err := c.window.duplicate(e)
	if err != nil {
		return err
	}
	if duplicate {
		c.done.Duplicates++
		return nil
	}
	if !c.q.holds(e) {
		return nil
	}
	total := c.done.Totals[e.Key]
	if total == nil {
		if len(c.done.Totals) >= c.recount.cfg.MaxKeys {
			return fmt.Errorf("%w: more than %d: take a shorter range or one key", ErrTooManyKeys, c.recount.cfg.MaxKeys)
		}
		total = &Total{}
		c.done.Totals[strings.Clone(e.Key)] = total
	}
	total.add(e)
	return nil
}
