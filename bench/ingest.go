package main

import (
	"context"
	"fmt"
	"time"

	"github.com/quipudb/quipu/load"
)

// Zipf load as the figures want it.
const (
	exponent   = 1.1
	duplicates = 0.01
	maxValue   = 1000
)

// measureIngest takes ingest_events_per_second: JSON over HTTP in batches of 1,000 with unique ids and values, flat out for a minute, keys
// by Zipf's law. The clock runs from the first event until the last one can be read. Duplicates are sent and not counted in the figure.
func measureIngest(ctx context.Context, b *bench) error {
	source, err := ingestLoad(b)
	if err != nil {
		return err
	}
	verifier, err := b.verifier()
	if err != nil {
		return err
	}
	defer verifier.Close()
	length := either(b, 60*time.Second, 6*time.Second)
	before, begin := b.cpuTimes(), time.Now()
	var summary load.Summary
	err = b.profiled(ctx, "ingest", length, func(ctx context.Context) (err error) {
		summary, err = b.load(ctx, load.Config{Connections: b.options.connections, Duration: length}, source)
		return err
	})
	if err != nil {
		return err
	}
	readable, err := verifier.CatchUp(ctx, source.Keys(), summary.LastAck)
	if err != nil {
		return err
	}
	after := b.cpuTimes()
	expected, err := source.Expected()
	if err != nil {
		return err
	}
	distinct := int64(0)
	for e := range expected {
		distinct += e.Count
	}
	elapsed := readable.Sub(begin)
	b.ingested = float64(distinct) / elapsed.Seconds()
	b.say("%.0f events a second, acknowledged after %.1f s, readable after %.1f s; verifying", b.ingested, summary.Elapsed.Seconds(), elapsed.Seconds())
	verified, err := verifier.Verify(ctx, expected, summary.LastAck)
	if err != nil {
		return fmt.Errorf("%w (%v)", err, verified.Differences)
	}
	b.results.add(figure{Name: "ingest_events_per_second", Value: b.ingested, Unit: "events/s", Target: atLeast(fullLoad), Note: fmt.Sprintf(
		"%d distinct events of %d keys, each verified, in %.1f s until the last was readable", distinct, verified.Keys, elapsed.Seconds())})
	b.results.value("ingest_acknowledged_per_second", summary.PerSecond(), "events/s", "duplicates included, until the last acknowledgement")
	b.results.value("ingest_request_p50_ms", ms(summary.Latency.P50), "ms", fmt.Sprintf("1,000 events each, %d connections", b.options.connections))
	b.results.value("ingest_request_p99_ms", ms(summary.Latency.P99), "ms", "")
	b.results.value("ingest_retries", float64(summary.Retries), "", "requests sent again")
	b.tellCPU(before, after, distinct, elapsed)
	return b.loadIsOver(ctx)
}

// ingestLoad is the source of the load that the rates are measured with.
func ingestLoad(b *bench) (*load.Generator, error) {
	return load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Keys: ingestKeys(b), Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: b.run + "-", Run: b.run, Seed: 1,
	})
}

func ingestKeys(b *bench) int { return either(b, 1_000_000, 100_000) }

// measureSingle takes single_posts_per_second: one event a request, 256 connections, flat out.
func measureSingle(ctx context.Context, b *bench) error {
	source, err := load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: b.run + "s-", Run: b.run + "s", Batch: 1,
	})
	if err != nil {
		return err
	}
	length := either(b, 10*time.Second, 3*time.Second)
	var summary load.Summary
	err = b.profiled(ctx, "single", length, func(ctx context.Context) (err error) {
		summary, err = b.load(ctx, load.Config{Connections: 256, Duration: length}, source)
		return err
	})
	if err != nil {
		return err
	}
	if err := b.verify(ctx, summary, source); err != nil {
		return err
	}
	b.results.add(figure{
		Name: "single_posts_per_second", Value: summary.PerSecond(), Unit: "requests/s", Target: atLeast(15_000),
		Note: fmt.Sprintf("256 connections, p50 %.1f ms, p99 %.1f ms", ms(summary.Latency.P50), ms(summary.Latency.P99)),
	})
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
