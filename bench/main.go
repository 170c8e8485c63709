// Command bench measures a whole cluster on this machine and writes bench/results.json.
//
// It starts a private cluster of real processes (two shards, each with a replica, full durability), sends it load from its own
// process, so that the load's cost counts against the figures, and verifies every count. What each figure means is said where it is
// taken; its target is beside it in the table. A missed target is no failure; a wrong count is.
//
//	go run ./bench [-quick] [-only ingest,freshness] [-set section.key=value] [-profiles folder]
//
// make bench takes at most ten minutes, make bench-quick at most one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	quick   bool
	only    []string
	program string
	out     string
	dir     string
	sets    []string
	verbose bool

	connections int           // of the ingest load
	heldBack    time.Duration // of the replica in measure failover
	profiles    string
	rate        float64 // events a second beside which latencies are measured; 0: half of the full load
}

// measure is one thing that is measured. They run in this order, on one cluster.
type measure struct {
	name string
	run  func(context.Context, *bench) error
}

func measures() []measure {
	return []measure{
		{"ingest", measureIngest},
		{"window", measureWindow},
		{"upsert", measureUpsert},
		{"single", measureSingle},
		{"freshness", measureFreshness},
		{"cold", measureCold},
		{"reads", measureReads},
		{"cached", measureCached},
		{"runaway", measureRunaway},
		{"total", measureTotal},
		{"rollup", measureRollup},
		{"archive", measureArchive},   // what is older than its day is cold afterwards
		{"failover", measureFailover}, // last: a shard has another primary afterwards
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	begun := time.Now()
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	err = b.measureAll(ctx)
	if stopped := b.stop(); err == nil {
		err = stopped
	}
	b.results.Took = time.Since(begun).Seconds()
	b.results.print(os.Stdout)
	if err != nil {
		return err
	}
	return b.results.write(o.out)
}

func parse(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "measure roughly, within a minute")
	f.StringVar(&only, "only", "", "measure only these, with commas between: "+strings.Join(names(), ", "))
	f.StringVar(&o.program, "program", "bin/quipu", "the quipu program")
	f.StringVar(&o.out, "out", "bench/results.json", "file for the results")
	f.StringVar(&o.dir, "dir", "bench/data", "folder for the cluster's data, emptied before and after")
	f.Func("set", "set one setting of every role, section.key=value; may be repeated", func(text string) error {
		o.sets = append(o.sets, text)
		return nil
	})
	f.IntVar(&o.connections, "connections", 32, "connections of the ingest load")
	f.Float64Var(&o.rate, "rate", 0, "events a second beside which freshness and Apply are measured; 0: half of the 400,000 that must be reached")
	f.DurationVar(&o.heldBack, "held-back", 0, "how long the replica that is to be promoted executes nothing before the primary is killed (measure failover)")
	f.StringVar(&o.profiles, "profiles", "", "folder for CPU profiles of every role under the loads")
	f.BoolVar(&o.verbose, "v", false, "tell what the launcher does, and progress each second")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.profiles != "" {
		o.sets = append(o.sets, "http.profiles=true")
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return o, fmt.Errorf("nothing is called %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

func names() []string {
	var all []string
	for _, m := range measures() {
		all = append(all, m.name)
	}
	return all
}

// errMeasure marks a measure that could not be taken.
var errMeasure = errors.New("could not measure")

func (b *bench) measureAll(ctx context.Context) error {
	for _, m := range measures() {
		if len(b.options.only) > 0 && !slices.Contains(b.options.only, m.name) {
			continue
		}
		begun := time.Now()
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%w %s: %w", errMeasure, m.name, err)
		}
		if err := b.watchWindows(ctx); err != nil {
			return err
		}
		b.say("%s took %.0f s", m.name, time.Since(begun).Seconds())
	}
	b.tellMemory()
	return nil
}
