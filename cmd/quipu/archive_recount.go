package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/audit/recount"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

// recountOptions are the flags of quipu archive recount.
type recountOptions struct {
	eventType, key, from, to string
	reader, tokenFile        string
	maxIDs, maxKeys          int
}

func newArchiveRecountCommand(s *settings) *cobra.Command {
	var o recountOptions
	c := &cobra.Command{
		Use:   "recount",
		Short: "Count again from the raw events and compare",
		Long: `Counts again by another path: reads the raw events in cold storage, and from the log those
that are not there yet, leaves out duplicates by the definition of them, adds up what lies
in the range by key, and compares count, sum, minimum and maximum of every key with what a
reader says. Fails if anything differs, or if raw events are missing.

It reads all that was appended since the range's beginning, as events may come late: choose a
range that is over, and not long ago. Memory: one partition at a time; 60 bytes for each id
within the de-duplication window and 200 for each key of the range, both with a bound.`,
		Example: `  quipu archive recount --type view --from 2026-11-22T00:00:00Z --to 2026-11-23T00:00:00Z
  quipu archive recount --type view --key v1 --from 2026-11-22T00:00:00Z --to 2026-11-23T00:00:00Z`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			q, err := o.question()
			if err != nil {
				return err
			}
			return withBackups(c, cfg, func(ctx context.Context, in *connected, store *blob.Store) error {
				return o.run(ctx, c.OutOrStdout(), in, store, cfg, q)
			})
		}),
	}
	f := c.Flags()
	f.StringVar(&o.eventType, "type", "", "event `type` to count (needed)")
	f.StringVar(&o.key, "key", "", "only this `key`")
	f.StringVar(&o.from, "from", "", "beginning of the range by event time, an `instant` in RFC 3339, a whole minute (needed)")
	f.StringVar(&o.to, "to", "", "end of the range, `instant` not included (needed)")
	f.StringVar(&o.reader, "reader", "", "base `address` of a reader (default: where the configuration has it)")
	f.StringVar(&o.tokenFile, "token-file", "", "`file` with a bearer token in one line: scope read")
	f.IntVar(&o.maxIDs, "max-ids", 20_000_000, "most event ids of one partition within the de-duplication window")
	f.IntVar(&o.maxKeys, "max-keys", 5_000_000, "most keys of one partition within the range")
	return c
}

func (o *recountOptions) question() (*recount.Range, error) {
	q := &recount.Range{Type: o.eventType, Key: o.key}
	if o.eventType == "" {
		return nil, usagef("flag --type is needed")
	}
	for flag, at := range map[string]*time.Time{"--from": &q.From, "--to": &q.To} {
		text := map[string]string{"--from": o.from, "--to": o.to}[flag]
		if text == "" {
			return nil, usagef("flag %s is needed", flag)
		}
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil || !parsed.Truncate(time.Minute).Equal(parsed) {
			return nil, usagef("flag %s must be a whole minute like 2026-11-22T13:00:00Z, is %q", flag, text)
		}
		*at = parsed
	}
	if !q.To.After(q.From) {
		return nil, usagef("flag --to must be after --from")
	}
	return q, nil
}

// errDifferent is why a recount fails.
var errDifferent = errors.New("the cluster counts otherwise than its raw events say")

// shownDifferences is how many are printed.
const shownDifferences = 20

func (o *recountOptions) run(ctx context.Context, out io.Writer, in *connected, store *blob.Store, cfg *config.Effective, q *recount.Range) error {
	token, err := (&loadOptions{tokenFile: o.tokenFile}).token()
	if err != nil {
		return err
	}
	client := wire.NewClient(wire.ClientConfig{Token: token, Timeout: time.Minute})
	defer client.Close()
	reader := recount.NewReader(recount.ReaderConfig{URL: addresses(nonEmpty(o.reader), cfg.Reader.Advertise, cfg.Reader.Listen)[0], Client: client})
	settings := in.snapshot.Settings
	r := recount.New(recount.Config{
		Objects: recount.NewArchive(store), Log: in.eventLog(), Window: settings.Window, MaxIDs: o.maxIDs, MaxKeys: o.maxKeys,
	})
	hold, err := in.eventLog().Hold(ctx)
	if err != nil {
		return err
	}
	sum := recountSum{}
	for p := range settings.Partitions {
		if q.Key != "" && cluster.Partition(q.Type, q.Key, settings.Partitions) != p {
			continue
		}
		counted, err := r.Count(ctx, q, hold, p)
		if err != nil {
			return err
		}
		different, err := reader.Compare(ctx, q, counted.Totals)
		if err != nil {
			return err
		}
		sum.add(out, counted, different)
	}
	return sum.tell(out)
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// recountSum is what a recount comes to.
type recountSum struct {
	objects, keys, different   int
	events, duplicates, weight int64
}

func (s *recountSum) add(out io.Writer, p *recount.Partition, different []recount.Difference) {
	for i, d := range different {
		if s.different+i < shownDifferences {
			fmt.Fprintln(out, d)
		}
	}
	s.objects, s.keys, s.different = s.objects+p.Objects, s.keys+len(p.Totals), s.different+len(different)
	s.events, s.duplicates = s.events+p.Events, s.duplicates+p.Duplicates
	for _, t := range p.Totals {
		s.weight += t.Count
	}
}

func (s *recountSum) tell(out io.Writer) error {
	fmt.Fprintf(out, "events read: %d from %d objects and the log, %d of them duplicates\nkeys compared: %d, Σ weight %d\ndifferences: %d\n",
		s.events, s.objects, s.duplicates, s.keys, s.weight, s.different)
	if s.different > 0 {
		return fmt.Errorf("%w: %d differences", errDifferent, s.different)
	}
	return nil
}
