package load

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load/flights"
	"github.com/quipudb/quipu/wire"
)

// Marks notes in the cluster what was done, once. zookeeper.Client is one.
type Marks interface {
	Mark(ctx context.Context, name string, data []byte) (already bool, err error)
	Marked(ctx context.Context, name string) (data []byte, marked bool, err error)
}

// KeyImporter sets titles and owners of keys. proxyclient.Client is one.
type KeyImporter interface {
	ImportKeys(ctx context.Context, r *wire.KeysImport) (*wire.KeysImported, error)
}

// TypeRegistrar registers event types. zookeeper.Client is one.
type TypeRegistrar interface {
	CreateEventType(ctx context.Context, t event.Type) (created bool, err error)
}

// FlightsConfig configures Flights.
type FlightsConfig struct {
	Run      Config
	Marks    Marks
	Types    TypeRegistrar    // registers the event types first; nil: they must be there
	Keys     KeyImporter      // gets titles and owners of the keys; nil: they are left as they are
	Verifier *Verifier        // compares every key afterwards; nil: nothing is compared. No other source may send these types then
	All      bool             // the whole data set, not only the sample
	File     string           // the whole data set as a file; "": it is fetched into CacheDir
	CacheDir string           // for fetching
	Say      func(string)     // told what happens, a line each; nil: nobody is
	Now      func() time.Time // time.Now
}

// FlightsResult is what Flights did.
type FlightsResult struct {
	Already      bool // everything was loaded before, nothing was sent
	Weeks        int  // by which the flights were moved
	First, Last  time.Time
	LeftOut      int64 // flights whose load was cut off too long ago to be repeated safely
	Summary      Summary
	Verification Verification // of what was loaded, now or before; with a Verifier
}

// ErrIncomplete is returned when some flights were not acknowledged. Loading again within the de-duplication window repeats them safely.
var ErrIncomplete = errors.New("not every flight was acknowledged")

// Flights loads the flights' sample, or all of them, into a cluster once: marks in the cluster make a second call do nothing, and a call
// after one that was cut off go on where that stopped. What was under way at a cut is repeated under the same ids while the
// de-duplication window is sure to hold them, and later left out and told, for then a repetition could count twice.
func Flights(ctx context.Context, cfg FlightsConfig) (FlightsResult, error) {
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &flightLoad{cfg: cfg}
	if err := l.run(ctx); err != nil {
		return l.result, fmt.Errorf("load flights: %w", err)
	}
	return l.result, nil
}

// flightLoad is one call of Flights.
type flightLoad struct {
	cfg    FlightsConfig
	path   string // of the whole data set; "" for the sample
	shift  time.Duration
	result FlightsResult
}

func (l *flightLoad) run(ctx context.Context) (err error) {
	if l.cfg.All {
		if l.path, err = l.fetch(ctx); err != nil {
			return err
		}
	}
	if err := l.register(ctx); err != nil {
		return err
	}
	if err := l.decideShift(ctx); err != nil {
		return err
	}
	sample, rest := samplePart(), restPart()
	for _, part := range []*flightPart{sample, rest} {
		if err := part.recall(ctx, l.cfg.Marks, l.cfg.Now()); err != nil {
			return err
		}
	}
	l.result.Already = sample.whole && (rest.whole || !l.cfg.All)
	if err := l.send(ctx, sample, flights.Sample()); err != nil {
		return err
	}
	if l.cfg.All {
		if err := l.send(ctx, rest, flights.ReadParquet(l.path)); err != nil {
			return err
		}
	}
	if l.result.Already {
		l.say("loaded before: nothing is sent")
	}
	if l.result.LeftOut = sample.leftOut() + rest.leftOut(); l.result.LeftOut > 0 {
		l.say("%d flights were under way when an earlier load was cut off; whether they were counted is unknown, they are left as they are", l.result.LeftOut)
	}
	return l.verify(ctx, sample, rest)
}

// decideShift says by how much the flights are moved.
func (l *flightLoad) decideShift(ctx context.Context) (err error) {
	if l.shift, err = markedShift(ctx, l.cfg.Marks, l.cfg.Now()); err != nil {
		return err
	}
	first, last := flights.SampleSpan()
	if l.cfg.All {
		first, last = flights.Span()
	}
	l.result.First, l.result.Last = first.Add(l.shift), last.Add(l.shift)
	l.result.Weeks = int(l.shift / (7 * 24 * time.Hour))
	const day = "2 January 2006"
	l.say("flights of %s to %s, moved by %d weeks to %s to %s",
		first.Format(day), last.Format(day), l.result.Weeks, l.result.First.Format(day), l.result.Last.Format(day))
	return nil
}

func (l *flightLoad) say(format string, args ...any) { l.cfg.Say(fmt.Sprintf(format, args...)) }

func (l *flightLoad) fetch(ctx context.Context) (string, error) {
	if l.cfg.File != "" {
		return l.cfg.File, flights.Verify(l.cfg.File)
	}
	l.say("getting the whole data set (13 MB)")
	return flights.FetchAll(ctx, l.cfg.CacheDir, nil)
}

func (l *flightLoad) register(ctx context.Context) error {
	if l.cfg.Types == nil {
		return nil
	}
	for _, t := range flights.Types() {
		t.CreatedAt = l.cfg.Now().UTC().Truncate(time.Second)
		if _, err := l.cfg.Types.CreateEventType(ctx, t); err != nil {
			return fmt.Errorf("register event type %s: %w", t.Name, err)
		}
	}
	return nil
}

// send sends what is not yet loaded of a part.
func (l *flightLoad) send(ctx context.Context, part *flightPart, rows iter.Seq2[flights.Flight, error]) error {
	if part.whole {
		return nil
	}
	if err := l.importKeys(ctx, rows); err != nil {
		return err
	}
	source := newFlightSource(ctx, l, part, rows)
	summary, err := Run(ctx, l.cfg.Run, source)
	err = errors.Join(err, source.close())
	l.result.Summary = summary.after(l.result.Summary)
	switch {
	case err != nil:
		return err
	case summary.Lost > 0:
		return fmt.Errorf("%w: %d of %d events", ErrIncomplete, summary.Lost, summary.Posted)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
	}
	return part.finish(ctx, l.cfg.Marks)
}

// importKeys sets title and owner of every key.
func (l *flightLoad) importKeys(ctx context.Context, rows iter.Seq2[flights.Flight, error]) error {
	if l.cfg.Keys == nil {
		return nil
	}
	var text bytes.Buffer
	if err := flights.WriteKeys(&text, rows); err != nil {
		return err
	}
	records, err := csv.NewReader(&text).ReadAll()
	if err != nil {
		return fmt.Errorf("read keys of flights: %w", err)
	}
	all := make([]wire.KeyAttributes, 0, len(records))
	for _, r := range records[1:] {
		all = append(all, wire.KeyAttributes{Type: r[0], Key: r[1], Title: &r[2], Owner: &r[3]})
	}
	for len(all) > 0 {
		n := min(len(all), wire.MaxKeysPerImport)
		if _, err := l.cfg.Keys.ImportKeys(ctx, &wire.KeysImport{Keys: all[:n]}); err != nil {
			return fmt.Errorf("import keys: %w", err)
		}
		all = all[n:]
	}
	return nil
}

// verify compares every key with all that was ever loaded.
func (l *flightLoad) verify(ctx context.Context, sample, rest *flightPart) error {
	if l.cfg.Verifier == nil {
		return nil
	}
	if !l.cfg.All && rest.stints[0].state != fresh {
		return errors.New("all flights are loaded, not the sample alone: verify with --all")
	}
	t := newTally()
	if err := l.account(t, sample, flights.Sample()); err != nil {
		return err
	}
	if l.cfg.All {
		if err := l.account(t, rest, flights.ReadParquet(l.path)); err != nil {
			return err
		}
	}
	expected, err := t.expected()
	if err != nil {
		return err
	}
	lastAck := l.result.Summary.LastAck
	if lastAck.IsZero() {
		lastAck = time.Now()
	}
	l.result.Verification, err = l.cfg.Verifier.Verify(ctx, expected, lastAck)
	return err
}

// account adds what was loaded of a part, now or before, to a tally.
func (l *flightLoad) account(t *tally, part *flightPart, rows iter.Seq2[flights.Flight, error]) error {
	for f, err := range rows {
		if err != nil {
			return err
		}
		s := part.of(f.Row)
		if s == nil {
			continue
		}
		both := flights.Events(f, l.shift)
		report := client.Report{Accepted: len(both)}
		if s.state == leftOut {
			report = client.Report{Losses: []client.Loss{{Index: 0, Uncertain: true}, {Index: 1, Uncertain: true}}}
		}
		t.settle(both[:], report)
	}
	return nil
}
