package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
)

const (
	partitions = local.DefaultPartitions
	startLimit = 3 * time.Minute
	stopLimit  = 2 * time.Minute
	bufferPool = 1 << 30
	fullLoad   = 400_000 // events a second that a machine like this has to take; half of it is the load beside which the latencies are measured
)

// Event types of the measures, so that they don't meddle with each other.
const (
	typeIngest = "view"
	typeProbe  = "bench_probe"
	typeDay    = "bench_day"
	typeYear   = "bench_year"
	typeCold   = "bench_cold"
)

// bench is one run on one cluster.
type bench struct {
	options options
	results *results
	began   time.Time
	run     string // unique name
	cluster *local.Cluster
	is      local.Description

	supervised chan error
	release    context.CancelFunc // ends the supervision

	day      *day              // once filled
	ingested float64           // events a second, once measured
	peaks    map[string]uint64 // bytes by process
	ids      float64           // the most in the writer's windows that was seen
	loaded   *peak             // of the writer, when the ingest load was over
}

// newBench starts a cluster in an empty folder.
func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{
		options: o, began: time.Now(), run: fmt.Sprintf("b%x", time.Now().UnixNano()), peaks: map[string]uint64{},
		supervised: make(chan error, 1),
	}
	program, err := filepath.Abs(o.program)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; make build makes it", err)
	}
	if err := os.RemoveAll(o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	if b.results, err = newResults(ctx, o); err != nil {
		return nil, err
	}
	b.cluster = local.NewCluster(local.ClusterConfig{
		Dir: filepath.Join(o.dir, "cluster"), Program: program, Version: "bench", PortBase: local.AnyPorts, EventTypes: eventTypes(),
		Settings: o.sets, BufferPoolBytes: bufferPool, DieWithParent: true, Progress: b.launcherSays,
	})
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := b.cluster.Start(starting); err != nil {
		return nil, errors.Join(err, b.cluster.Kill())
	}
	b.is = b.cluster.Description()
	supervision, release := context.WithCancel(context.WithoutCancel(ctx))
	b.release = release
	go func() { b.supervised <- b.cluster.Supervise(supervision) }()
	b.say("a cluster is up after %.0f s", time.Since(b.began).Seconds())
	return b, b.describeSettings(ctx)
}

func eventTypes() []event.Type {
	const year = 366 * 24 * time.Hour
	return []event.Type{
		{Name: typeIngest, Unit: "ms", AcceptLate: event.DefaultAcceptLate, Description: "for the rates"},
		{Name: typeProbe, AcceptLate: event.DefaultAcceptLate, Description: "for freshness"},
		{Name: typeDay, Unit: "ms", AcceptLate: event.DefaultAcceptLate, Description: "for reads of a day"},
		{Name: typeYear, Unit: "ms", AcceptLate: 2 * year, Description: "for totals of all time"},
		{Name: typeCold, Unit: "ms", AcceptLate: event.DefaultAcceptLate, Description: "for cold storage"},
	}
}

// stop ends the cluster and removes its data.
func (b *bench) stop() error {
	b.release()
	err := <-b.supervised
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return errors.Join(err, b.cluster.Stop(ctx), os.RemoveAll(b.options.dir))
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) launcherSays(line string) {
	if b.options.verbose {
		b.say("%s", line)
	}
}

// either returns the first value in a full run and the second one in a quick one.
func either[T any](b *bench, full, quick T) T {
	if b.options.quick {
		return quick
	}
	return full
}

// load sends a source's batches.
func (b *bench) load(ctx context.Context, cfg load.Config, source load.Source) (load.Summary, error) {
	cfg.Sender = client.SenderConfig{URLs: []string{b.is.URLs["ingest"]}}
	if b.options.verbose {
		cfg.Progress = func(p load.Progress) { b.say("%s", p) }
	}
	summary, err := load.Run(ctx, cfg, source)
	if err != nil {
		return summary, err
	}
	if summary.Lost > 0 {
		var text strings.Builder
		summary.Print(&text)
		return summary, fmt.Errorf("not everything was acknowledged: %s", text.String())
	}
	return summary, ctx.Err()
}

func (b *bench) verifier() (*load.Verifier, error) {
	return load.NewVerifier(load.VerifierConfig{URLs: []string{b.is.URLs["reader"]}, Parallel: 4})
}

// settle sends a source and waits until all of it is counted.
func (b *bench) settle(ctx context.Context, cfg load.Config, source load.Ledger) error {
	summary, err := b.load(ctx, cfg, source)
	if err != nil {
		return err
	}
	return b.verify(ctx, summary, source)
}

// verify waits until what was sent is counted, and compares every key.
func (b *bench) verify(ctx context.Context, sent load.Summary, source load.Ledger) error {
	expected, err := source.Expected()
	if err != nil {
		return err
	}
	verifier, err := b.verifier()
	if err != nil {
		return err
	}
	defer verifier.Close()
	_, err = verifier.Verify(ctx, expected, sent.LastAck)
	return err
}
