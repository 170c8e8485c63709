package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/load"
)

// loadOptions are the flags that every kind of load has.
type loadOptions struct {
	ingest, reader []string
	tokenFile      string
	connections    int
	rate           float64
	compress       string
	verify         bool
	catchUp        time.Duration
}

// streamOptions are the flags of files and made-up events.
type streamOptions struct {
	batch    int
	duration time.Duration
	run      string

	format, mapping string

	generator load.GeneratorConfig
	percent   float64 // duplicates
}

func newLoadCommand(s *settings) *cobra.Command {
	var l loadOptions
	var o streamOptions
	l.catchUp = 2 * time.Minute
	c := &cobra.Command{
		Use:   "load [FILE...]",
		Short: "Send events from files, or made-up ones",
		Long: `Sends events to a cluster: those of files, or with --zipf made-up ones. It tells each second
how many are acknowledged and how long requests take, and sums up at the end, or at Ctrl-C.
What gets no answer is sent again under the same id until it does.

Files are NDJSON or CSV, also compressed (.gz, .zst); - is the standard input. An NDJSON line
has the fields that POST /v1/events takes. --map says which columns of a CSV file make which
field of an event (type, key, id, time, value, weight): field=column, or field={column} within
a text; the type may be a text of its own. Without --map the columns have the fields' names.
Events without an id get one, those without a time the time at which they are sent.

--zipf S makes the k-th most frequent of --keys keys as likely as 1/k^S. The stream depends on
--seed and --run alone. Keys begin with --prefix: by default with the run's name, so that they
are new.

--verify asks for every key that was sent, once the counts hold the last acknowledgement, and
fails unless each has grown by what was acknowledged. What keys had before is asked first where
it may not be zero; nobody else may send these keys meanwhile. Events whose ids were sent before,
within the de-duplication window, are acknowledged and not counted again, so they differ.

Times in the summary are those of requests, retries included; with --rate from when a request
was due, so that nothing is hidden when the cluster falls behind.`,
		Example: `  quipu load events.ndjson --verify
  quipu load flights.csv.gz --map 'type=departure,key={origin},value=delay,time=date'
  quipu load --zipf 1.1 --keys 1000000 --rate 200000 --duration 60s --duplicates 1 --verify
  quipu load --zipf 1.1 --batch 1 --connections 256 --duration 10s`,
		Args: cobra.ArbitraryArgs,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			generate := c.Flags().Changed("zipf")
			if generate == (len(args) > 0) {
				return usagef("either FILEs or --zipf say what to send")
			}
			return l.stream(c, cfg, o, args)
		}),
	}
	l.addTo(c)
	o.addTo(c)
	c.AddCommand(newLoadFlightsCommand(s, &l))
	return c
}

func (l *loadOptions) addTo(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringSliceVar(&l.ingest, "ingest", nil, "base `addresses` of ingest (default: where the configuration has it)")
	f.StringSliceVar(&l.reader, "reader", nil, "base `addresses` of readers, for --verify (default: where the configuration has it)")
	f.StringVar(&l.tokenFile, "token-file", "", "`file` with a bearer token in one line: scope write, and read for --verify")
	f.IntVar(&l.connections, "connections", 8, "connections, each with one request at a time")
	f.Float64Var(&l.rate, "rate", 0, "events a second; 0: as fast as they are taken")
	f.StringVar(&l.compress, "compress", "", "compress requests: gzip or zstd")
	f.BoolVar(&l.verify, "verify", false, "compare every key's count and sum with what was acknowledged")
	f.Var(durationFlag{&l.catchUp}, "catch-up", "how long --verify waits for the counts to hold the last acknowledgement")
}

func (o *streamOptions) addTo(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&o.batch, "batch", 1000, "events a request")
	f.Var(durationFlag{&o.duration}, "duration", "send no more after so long; 0s: no bound")
	f.StringVar(&o.run, "run", "", "`name` of the run, in the ids of its events (default random)")
	f.StringVar(&o.format, "format", "", "format of the files: ndjson or csv (default by their names; standard input: ndjson)")
	f.StringVar(&o.mapping, "map", "", "`mapping` of CSV columns: type=departure,key=origin,value=delay,time=date")
	g := &o.generator
	f.Float64Var(&g.Exponent, "zipf", 0, "make events up, keys by Zipf's law with this `exponent`; 0: all as likely")
	f.IntVar(&g.Keys, "keys", 1_000_000, "how many keys")
	f.StringVar(&g.Type, "type", "view", "event type of made-up events")
	f.StringVar(&g.Prefix, "prefix", "", "what keys begin with (default the run's name)")
	f.Uint64Var(&g.Count, "count", 0, "how many events, duplicates included; 0: no bound")
	f.Uint64Var(&g.Seed, "seed", 1, "seed of the stream")
	f.Float64Var(&o.percent, "duplicates", 0, "`percent` of the events that repeat an earlier one, 0 to 50")
	f.Int64Var(&g.MaxValue, "max-value", 1000, "values are 0 to this; 0: no values")
	f.BoolVar(&g.WithoutIDs, "no-ids", false, "give events no ids, but each request an Idempotency-Key")
	f.BoolVar(&g.WithTime, "with-time", false, "give events the time at which they are sent, instead of leaving it to the cluster")
}

// stream sends files or made-up events.
func (l *loadOptions) stream(c *cobra.Command, cfg *config.Effective, o streamOptions, paths []string) error {
	if o.run == "" {
		o.run = newRunName()
	}
	run, err := l.config(c, cfg)
	if err != nil {
		return err
	}
	run.Duration = o.duration
	verifier, err := l.verifier(cfg)
	if err != nil {
		return err
	}
	if verifier != nil {
		defer verifier.Close()
	}
	source, closeSource, err := o.source(c, paths, verifier)
	if err != nil {
		return asUsage(err)
	}
	defer closeSource()
	if keys := o.knownKeys(c, source); verifier != nil && keys != nil {
		fmt.Fprintln(c.ErrOrStderr(), "asking what the keys have already")
		if err := verifier.Baseline(c.Context(), keys, time.Now()); err != nil {
			return err
		}
	}
	summary, err := load.Run(c.Context(), run, source)
	summary.Print(c.OutOrStdout())
	if err != nil {
		return asUsage(err)
	}
	err = lostError(summary)
	if verifier != nil {
		// Ctrl-C ended the sending; what was sent is verified all the same. A second one ends the process.
		err = errors.Join(verify(context.WithoutCancel(c.Context()), c, verifier, source, summary), err)
	}
	return err
}

// source is where the events come from. The verifier, if there is one, hears of the keys in files before they are sent.
func (o *streamOptions) source(c *cobra.Command, paths []string, verifier *load.Verifier) (load.Ledger, func(), error) {
	if len(paths) == 0 {
		g := o.generator
		g.Run, g.Batch, g.Duplicates = o.run, o.batch, o.percent/100
		if !c.Flags().Changed("prefix") {
			g.Prefix = o.run + "-"
		}
		source, err := load.NewGenerator(g)
		return source, func() {}, err
	}
	input := load.Input{Paths: paths, Format: load.Format(o.format), Stdin: c.InOrStdin()}
	if o.mapping != "" {
		var err error
		if input.Mapping, err = load.ParseMapping(o.mapping); err != nil {
			return nil, nil, err
		}
	}
	replay := load.ReplayConfig{Batch: o.batch, Run: o.run}
	if verifier != nil {
		begin := time.Now()
		replay.Tally = true
		replay.Before = func(keys iter.Seq2[string, string]) error {
			return verifier.Baseline(context.WithoutCancel(c.Context()), keys, begin)
		}
	}
	source, err := load.NewReplay(replay, input.Events())
	if err != nil {
		return nil, nil, err
	}
	return source, source.Close, nil
}

// knownKeys returns the keys that may have counts before the run, if they are known before it; nil if there are none.
func (o *streamOptions) knownKeys(c *cobra.Command, source load.Ledger) iter.Seq2[string, string] {
	if g, ok := source.(*load.Generator); ok && (c.Flags().Changed("prefix") || c.Flags().Changed("run")) {
		return g.Keys()
	}
	return nil
}

// config makes the configuration of a run.
func (l *loadOptions) config(c *cobra.Command, cfg *config.Effective) (load.Config, error) {
	if !slices.Contains([]string{"", "gzip", "zstd"}, l.compress) {
		return load.Config{}, usagef("flag --compress must be gzip or zstd, is %q", l.compress)
	}
	token, err := l.token()
	if err != nil {
		return load.Config{}, err
	}
	errs := c.ErrOrStderr()
	return load.Config{
		Sender:      client.SenderConfig{URLs: addresses(l.ingest, cfg.Ingest.Advertise, cfg.Ingest.Listen), Token: token, Compression: client.Compression(l.compress)},
		Connections: l.connections, Rate: l.rate,
		Progress: func(p load.Progress) { fmt.Fprintln(errs, p) },
	}, nil
}

// verifier is nil unless --verify is given.
func (l *loadOptions) verifier(cfg *config.Effective) (*load.Verifier, error) {
	if !l.verify {
		return nil, nil
	}
	token, err := l.token()
	if err != nil {
		return nil, err
	}
	return load.NewVerifier(load.VerifierConfig{
		URLs: addresses(l.reader, cfg.Reader.Advertise, cfg.Reader.Listen), Token: token, CatchUp: l.catchUp,
	})
}

func (l *loadOptions) token() (string, error) {
	if l.tokenFile == "" {
		return "", nil
	}
	content, err := os.ReadFile(l.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// addresses are the given ones, or where a role of this configuration is reached.
func addresses(given []string, advertise, listen string) []string {
	switch {
	case len(given) > 0:
		return given
	case advertise != "":
		return []string{advertise}
	}
	return []string{"http://" + listen}
}

func verify(ctx context.Context, c *cobra.Command, verifier *load.Verifier, source load.Ledger, summary load.Summary) error {
	expected, err := source.Expected()
	if err != nil {
		return err
	}
	result, err := verifier.Verify(ctx, expected, summary.LastAck)
	if result.Took > 0 {
		result.Print(c.OutOrStdout())
	}
	return err
}

func lostError(s load.Summary) error {
	if s.Lost == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d events were not acknowledged", s.Lost, s.Posted)
}

// asUsage tells mistakes of the command line from failures.
func asUsage(err error) error {
	if errors.Is(err, load.ErrConfig) {
		return &usageError{err}
	}
	return err
}

func newRunName() string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return "run" + hex.EncodeToString(random[:])
}
