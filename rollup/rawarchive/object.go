package rawarchive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// readBytes is how much of the log one call reads.
const readBytes = 4 << 20

// gathered are the batches of one object.
type gathered struct {
	name    rawfile.Name
	records []eventlog.Record
	bytes   int64
	events  int
}

// object writes the object that begins at an offset, and checks it.
func (a *Archiver) object(ctx context.Context, hold *wire.LogHold, p wire.LogHeldPartition, at uint64) (rawfile.Name, error) {
	g, err := a.gather(ctx, hold.Incarnation, p, at)
	if err != nil {
		return rawfile.Name{}, err
	}
	object, err := g.name.Object()
	if err != nil {
		return rawfile.Name{}, err
	}
	pace := newPace(a.cfg.Rate, pressing(hold))
	info, err := a.cfg.Store.Upload(ctx, object, func(w io.Writer) error { return a.write(ctx, w, g, pace) })
	if errors.Is(err, blob.ErrExists) {
		return g.name, a.checkRows(ctx, object, g) // of another archiver, or of ourselves and its acknowledgement was lost
	}
	if err != nil {
		return rawfile.Name{}, err
	}
	if err := a.cfg.Store.Check(ctx, object, info); err != nil {
		return rawfile.Name{}, a.discard(ctx, object, err)
	}
	a.metrics.objects.Inc()
	a.metrics.bytes.Add(float64(info.Bytes))
	a.metrics.events.Add(float64(g.events))
	return g.name, nil
}

// checkRows reads an object that was there already: its seal covers every byte, and it must have as many events as were gathered.
func (a *Archiver) checkRows(ctx context.Context, object string, g *gathered) error {
	found, err := a.cfg.Store.Attributes(ctx, object)
	if err != nil {
		return err
	}
	reader, rows := a.cfg.Store.Reader(ctx, object, found.Bytes, blob.ReaderConfig{}), 0
	for _, err := range rawfile.Read(ctx, reader, found.Bytes, g.name) {
		if err != nil {
			return a.discard(ctx, object, err)
		}
		rows++
	}
	if rows != g.events {
		return a.discard(ctx, object, fmt.Errorf("%w: it has %d events, %d are in the log", rawfile.ErrDamaged, rows, g.events))
	}
	return nil
}

// discard deletes an object that is damaged, so that it is written again: the log keeps its batches until it is whole.
func (a *Archiver) discard(ctx context.Context, object string, err error) error {
	if errors.Is(err, blob.ErrDamaged) || errors.Is(err, rawfile.ErrDamaged) {
		a.log.Error("an object of raw events is not what was written; it is deleted and written again", "name", object, "error", err)
		return errors.Join(err, a.cfg.Store.Delete(ctx, object))
	}
	return err
}

// gather reads the batches of one object: as many as it may hold, all of one day, none from beyond where the log ended.
func (a *Archiver) gather(ctx context.Context, incarnation string, p wire.LogHeldPartition, at uint64) (*gathered, error) {
	g := &gathered{name: rawfile.Name{Partition: p.Partition, Incarnation: incarnation, First: at, Next: at}}
	for g.name.Next < p.Next {
		chunk, err := a.cfg.Log.Read(ctx, p.Partition, g.name.Next, readBytes, 0)
		if err != nil {
			return nil, err
		}
		if chunk.Incarnation != incarnation {
			return nil, fmt.Errorf("the log became %s, it was %s: %w", chunk.Incarnation, incarnation, ErrLog)
		}
		if len(chunk.Records) == 0 {
			return nil, fmt.Errorf("the log has no batch at offset %d, before its end at %d: %w", g.name.Next, p.Next, ErrLog)
		}
		for i := range chunk.Records {
			r := &chunk.Records[i]
			if r.Offset != g.name.Next {
				return nil, fmt.Errorf("the log went on at offset %d, not %d: %w", r.Offset, g.name.Next, ErrLog)
			}
			if r.Offset >= p.Next || !a.add(g, r) {
				return g, nil
			}
		}
	}
	return g, nil
}

// add takes a batch in, unless the object is full or of another day.
func (a *Archiver) add(g *gathered, r *eventlog.Record) bool {
	date := rawfile.DateOf(r.AppendTime)
	if len(g.records) == 0 {
		g.name.Date = date
	}
	events := batchEvents(r)
	if date != g.name.Date || len(g.records) > 0 && (g.events+events > a.cfg.MaxEvents || g.bytes+int64(len(r.Data)) > a.cfg.MaxBytes) {
		return false
	}
	g.records = append(g.records, *r)
	g.name.Next, g.bytes, g.events = r.Offset+1, g.bytes+int64(len(r.Data)), g.events+events
	return true
}

// batchEvents counts the events of a batch, 0 if it is none.
func batchEvents(r *eventlog.Record) int {
	n, err := event.CountEvents(r.Data)
	if err != nil {
		return 0
	}
	return n
}

// write encodes the batches, batch by batch and in their order. What is no batch has its place, without events.
func (a *Archiver) write(ctx context.Context, w io.Writer, g *gathered, pace *pace) error {
	file, err := rawfile.NewWriter(w, g.name, a.cfg.Cluster)
	if err != nil {
		return err
	}
	var batch event.Batch
	for i := range g.records {
		r := &g.records[i]
		if err := batch.Decode(r.Data); err != nil { // which leaves it empty
			a.metrics.undecodable.Inc()
			a.log.Error("a batch can't be archived as its bytes are not a batch; the writer keeps it as a dead letter",
				"partition", g.name.Partition, "offset", r.Offset, "error", err)
		}
		if err := file.Add(r.Offset, r.AppendTime, &batch); err != nil {
			return err
		}
		if err := pace.wait(ctx, batch.Len()); err != nil {
			return err
		}
	}
	_, err = file.Close()
	return err
}

// pace keeps work at a rate by pauses.
type pace struct {
	rate  int // events a second; 0: no bound
	begun time.Time
	done  int
}

func newPace(rate int, pressing bool) *pace {
	if pressing {
		rate = 0
	}
	return &pace{rate: rate, begun: time.Now()}
}

// leastPause is not worth waiting for.
const leastPause = 5 * time.Millisecond

// wait notes events, and waits until that many may be done.
func (p *pace) wait(ctx context.Context, events int) error {
	if p.rate <= 0 {
		return ctx.Err()
	}
	p.done += events
	ahead := time.Duration(float64(p.done)/float64(p.rate)*float64(time.Second)) - time.Since(p.begun)
	if ahead < leastPause {
		return ctx.Err()
	}
	return wait.For(ctx, ahead)
}
