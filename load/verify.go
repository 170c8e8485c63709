package load

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/wire"
)

// VerifierConfig configures a Verifier. Zero values give the defaults named here.
type VerifierConfig struct {
	URLs     []string      // base addresses of readers; at least one
	Token    string        // with the scope read
	Parallel int           // questions at once; 2
	CatchUp  time.Duration // how long counts may take to catch up with the last acknowledgement; 2 minutes
	Timeout  time.Duration // of a question, retries included; 1 minute
}

// Verifier compares what a cluster counted with what was acknowledged. It is safe for concurrent use.
type Verifier struct {
	cfg      VerifierConfig
	reader   *reader
	baseline map[asked]counted // what keys had before the run
}

// NewVerifier returns a verifier. It does no I/O.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	setDefault(&cfg.Parallel, 2)
	setDefault(&cfg.CatchUp, 2*time.Minute)
	setDefault(&cfg.Timeout, time.Minute)
	if len(cfg.URLs) == 0 {
		return nil, fmt.Errorf("%w: no reader to ask", ErrConfig)
	}
	return &Verifier{
		cfg: cfg, baseline: map[asked]counted{},
		reader: &reader{client: wire.NewClient(wire.ClientConfig{Token: cfg.Token, Timeout: cfg.Timeout}), urls: cfg.URLs},
	}, nil
}

// Close drops idle connections.
func (v *Verifier) Close() { v.reader.client.Close() }

// Difference is a key that was counted otherwise than acknowledged.
type Difference struct {
	Type, Key           string
	Count, WantCount    int64
	Sum, WantSum        event.Sum
	Before              int64 // in Count and WantCount: what the key had before the run
	Unknown             int64 // events of it whose outcome is unknown
	sumsAgree, hasValue bool
}

func (d Difference) String() string {
	text := fmt.Sprintf("%s %q: counted %d, acknowledged %d", d.Type, d.Key, d.Count, d.WantCount)
	if d.hasValue && !d.sumsAgree {
		text += fmt.Sprintf("; sum %s, acknowledged %s", d.Sum, d.WantSum)
	}
	if d.Before != 0 {
		text += fmt.Sprintf("; %d of each from before", d.Before)
	}
	if d.Unknown > 0 {
		text += fmt.Sprintf("; %d more events may have been accepted", d.Unknown)
	}
	return text
}

// Verification is the result of a comparison.
type Verification struct {
	Keys        int64
	Events      int64         // Σ of what was acknowledged
	Unknown     int64         // events whose outcome is unknown
	Different   int64         // keys
	Differences []Difference  // the first of them
	CaughtUp    time.Time     // when counts were seen to hold the last acknowledgement
	Took        time.Duration // the whole comparison
}

const maxDifferences = 20

// Baseline asks what keys have before a run sends any of theirs, so that Verify compares what the run added. The run begins at an
// instant: everything acknowledged before it is in. One call at a time, and none beside Verify.
func (v *Verifier) Baseline(ctx context.Context, keys iter.Seq2[string, string], begin time.Time) error {
	var mu sync.Mutex
	all := func(yield func(Expectation) bool) {
		for eventType, key := range keys {
			if !yield(Expectation{Type: eventType, Key: key}) {
				return
			}
		}
	}
	err := v.each(ctx, all, begin, func(e Expectation, c counted) {
		if c != (counted{}) {
			mu.Lock()
			defer mu.Unlock()
			v.baseline[asked{e.Type, e.Key}] = c
		}
	})
	if err != nil {
		return fmt.Errorf("ask what there was before: %w", err)
	}
	return nil
}

// CatchUp waits until counts hold everything acknowledged up to an instant, and returns when that was seen. It asks for the first of the
// given keys, so many that in all likelihood every partition has one of them.
func (v *Verifier) CatchUp(ctx context.Context, keys iter.Seq2[string, string], lastAck time.Time) (time.Time, error) {
	some := make([]asked, 0, catchUpKeys)
	for eventType, key := range keys {
		if some = append(some, asked{eventType, key}); len(some) == catchUpKeys {
			break
		}
	}
	if len(some) == 0 {
		return time.Now(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.cfg.CatchUp)
	defer cancel()
	_, err := v.patiently(ctx, some, lastAck, closePause)
	return time.Now(), err
}

// catchUpKeys: of 16 partitions the chance to miss one is 1 in 25,000.
const catchUpKeys = 200

// Verify waits until counts hold everything acknowledged up to lastAck and compares every expected key. The error wraps ErrDifferent,
// ErrUnsure (nothing else is wrong, but outcomes are unknown), ErrNotReached, or is the reader's.
func (v *Verifier) Verify(ctx context.Context, expected iter.Seq[Expectation], lastAck time.Time) (Verification, error) {
	begin := time.Now()
	var result Verification
	var err error
	if result.CaughtUp, err = v.CatchUp(ctx, keysOf(expected), lastAck); err != nil {
		return result, err
	}
	var mu sync.Mutex
	err = v.each(ctx, expected, lastAck, func(e Expectation, c counted) {
		mu.Lock()
		defer mu.Unlock()
		v.compare(&result, e, c)
	})
	result.Took = time.Since(begin)
	switch {
	case err != nil:
		return result, err
	case result.Different > 0:
		return result, fmt.Errorf("%d of %d keys: %w", result.Different, result.Keys, ErrDifferent)
	case result.Unknown > 0:
		return result, fmt.Errorf("%d events: %w", result.Unknown, ErrUnsure)
	}
	return result, nil
}

func keysOf(expected iter.Seq[Expectation]) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for e := range expected {
			if !yield(e.Type, e.Key) {
				return
			}
		}
	}
}

func (v *Verifier) compare(result *Verification, e Expectation, c counted) {
	before := v.baseline[asked{e.Type, e.Key}]
	d := Difference{
		Type: e.Type, Key: e.Key, Unknown: e.Unknown, hasValue: e.HasValues,
		Count: c.count, WantCount: e.Count + before.count, Sum: c.sum, WantSum: e.Sum.Add(before.sum), Before: before.count,
	}
	d.sumsAgree = d.Sum == d.WantSum
	result.Keys++
	result.Events += e.Count
	result.Unknown += e.Unknown
	if d.Count == d.WantCount && (d.sumsAgree || !e.HasValues) {
		return
	}
	if more := d.Count - d.WantCount; e.Unknown > 0 && more >= e.UnknownLeast && more <= e.UnknownMax {
		return // ErrUnsure tells
	}
	result.Different++
	if len(result.Differences) < maxDifferences {
		result.Differences = append(result.Differences, d)
	}
}

// each asks for every expected key and hands over what was counted, in any order.
func (v *Verifier) each(ctx context.Context, expected iter.Seq[Expectation], asOf time.Time, got func(Expectation, counted)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.cfg.Parallel)
	put := func(chunk []Expectation) {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, v.cfg.Timeout)
			defer cancel()
			keys := make([]asked, len(chunk))
			for i, e := range chunk {
				keys[i] = asked{e.Type, e.Key}
			}
			answers, err := v.patiently(ctx, keys, asOf, longestPause)
			for i := range answers {
				got(chunk[i], answers[i])
			}
			return err
		})
	}
	var chunk []Expectation
	for e := range expected {
		if ctx.Err() != nil {
			break
		}
		if chunk = append(chunk, e); len(chunk) == keysPerAsk {
			put(chunk)
			chunk = nil
		}
	}
	if len(chunk) > 0 {
		put(chunk)
	}
	return group.Wait()
}

// Pauses between questions that have to be put again.
const (
	firstPause   = 20 * time.Millisecond
	closePause   = 50 * time.Millisecond // where the time is measured
	longestPause = time.Second
)

// patiently asks until the answer is complete up to an instant, or ctx ends.
func (v *Verifier) patiently(ctx context.Context, keys []asked, asOf time.Time, longest time.Duration) ([]counted, error) {
	var reached time.Time
	for pause := firstPause; ; pause = min(longest, 2*pause) {
		answers, upTo, err := v.reader.ask(ctx, keys, 0)
		if err == nil && upTo.After(asOf) {
			return answers, nil
		}
		if err == nil {
			reached = upTo
		} else if !wire.Retryable(wire.CodeOf(err)) {
			return nil, err
		}
		if wait.For(ctx, pause) != nil {
			if err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%w: they hold what came before %s, not yet %s", ErrNotReached, stamp(reached), stamp(asOf))
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Print writes the result for people.
func (r Verification) Print(w io.Writer) {
	fmt.Fprintf(w, "verified %d keys with %d events in %s: ", r.Keys, r.Events, r.Took.Round(time.Millisecond))
	if r.Different == 0 {
		fmt.Fprintln(w, "every count is what was acknowledged")
	} else {
		fmt.Fprintf(w, "%d keys differ\n", r.Different)
	}
	for _, d := range r.Differences {
		fmt.Fprintln(w, "  "+d.String())
	}
	if more := r.Different - int64(len(r.Differences)); more > 0 {
		fmt.Fprintf(w, "  and %d more\n", more)
	}
	if r.Unknown > 0 {
		fmt.Fprintf(w, "the outcome of %d events is unknown\n", r.Unknown)
	}
}
