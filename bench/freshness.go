package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/load"
	"github.com/quipudb/quipu/load/latency"
	"github.com/quipudb/quipu/wire"
)

const (
	probeEvery = 500 * time.Millisecond // to every partition
	askEvery   = 20 * time.Millisecond  // adds up to this much to what is measured
)

// measureFreshness takes freshness_p99_ms: under half of the full load, single events are posted to every partition, and the time is
// taken from sending each until a reader's answer holds it. The load is of keys that are known, as most of those of a service that has run
// for a while are: those of the ingest load. It runs for some seconds before the first probe. Then freshness_at_half_of_highest_p99_ms: the same under half of
// what the ingest load reached in this run.
func measureFreshness(ctx context.Context, b *bench) error {
	if b.ingested == 0 {
		if err := b.makeKeysKnown(ctx); err != nil {
			return err
		}
	}
	f := freshness{
		name: "freshness", rate: b.halfLoad(), keys: b.run + "-", seed: 2,
		lead: either(b, 5*time.Second, 2*time.Second), length: either(b, 25*time.Second, 5*time.Second),
	}
	found, err := b.timeProbes(ctx, f)
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "freshness_p99_ms", Value: ms(found.Percentile(99)), Unit: "ms", Target: atLeast(2000), AtMost: true,
		Note: fmt.Sprintf("from send to readable at %.0f events/s of known keys, after %.0f s of that; %d probes over %d partitions, p50 %.0f ms, longest %.0f ms",
			f.rate, f.lead.Seconds(), found.Count(), partitions, ms(found.Percentile(50)), ms(found.Max())),
	})
	if b.ingested == 0 {
		return nil
	}
	f.name, f.rate, f.seed, f.length = "freshness_at_half_of_highest", b.ingested/2, 4, either(b, 12*time.Second, 3*time.Second)
	if found, err = b.timeProbes(ctx, f); err != nil {
		return err
	}
	b.results.value("freshness_at_half_of_highest_p99_ms", ms(found.Percentile(99)), "ms", fmt.Sprintf(
		"the same at %.0f events/s; p50 %.0f ms, longest %.0f ms", f.rate, ms(found.Percentile(50)), ms(found.Max())))
	return nil
}

// measureCold takes freshness_cold_p99_ms: the same from the very start of a load whose million keys no shard has seen.
func measureCold(ctx context.Context, b *bench) error {
	f := freshness{name: "freshness_cold", rate: b.halfLoad(), keys: b.run + "c-", seed: 3, length: either(b, 12*time.Second, 3*time.Second)}
	found, err := b.timeProbes(ctx, f)
	if err != nil {
		return err
	}
	b.results.value("freshness_cold_p99_ms", ms(found.Percentile(99)), "ms", fmt.Sprintf(
		"the same from the start of a load whose keys no shard has seen, at %.0f events/s; p50 %.0f ms, longest %.0f ms",
		f.rate, ms(found.Percentile(50)), ms(found.Max())))
	return nil
}

// halfLoad is half of the full load.
func (b *bench) halfLoad() float64 { return cmp.Or(b.options.rate, fullLoad/2) }

// makeKeysKnown sends what the ingest load would have.
func (b *bench) makeKeysKnown(ctx context.Context) error {
	source, err := ingestLoad(b)
	if err != nil {
		return err
	}
	verifier, err := b.verifier()
	if err != nil {
		return err
	}
	defer verifier.Close()
	summary, err := b.load(ctx, load.Config{Connections: b.options.connections, Duration: either(b, 30*time.Second, 3*time.Second)}, source)
	if err != nil {
		return err
	}
	_, err = verifier.CatchUp(ctx, source.Keys(), summary.LastAck)
	return err
}

// freshness is one load with probes.
type freshness struct {
	name         string
	rate         float64
	keys         string // prefix
	seed         uint64
	lead, length time.Duration // of the load, before and while it is probed
}

func (b *bench) timeProbes(ctx context.Context, f freshness) (*latency.Snapshot, error) {
	source, err := load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Keys: ingestKeys(b), Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: f.keys, Run: b.run + f.name, Seed: f.seed,
	})
	if err != nil {
		return nil, err
	}
	p := newProbes(b, f.name)
	defer p.client.Close()
	group, probing := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := b.load(probing, load.Config{Rate: f.rate, Duration: f.lead + f.length}, source)
		return err
	})
	group.Go(func() error {
		if err := wait.For(probing, f.lead); err != nil {
			return err
		}
		group.Go(func() error { return p.ask(probing, f.length+time.Minute) })
		return b.profiled(probing, f.name, f.length, func(probing context.Context) error {
			return b.brokenDown(probing, f.name, func() error { return p.send(probing, f.length-time.Second) })
		})
	})
	err = group.Wait()
	return p.fresh.Snapshot(), err
}

// probes are the events whose way is timed: one key a partition.
type probes struct {
	client         *wire.Client
	ingest, reader string
	run, name      string
	keys           [partitions]string
	fresh          latency.Histogram

	mu    sync.Mutex // guards what follows
	sent  [partitions][]time.Time
	seen  [partitions]int
	ended bool // no more are sent
}

func newProbes(b *bench, name string) *probes {
	p := &probes{client: wire.NewClient(wire.ClientConfig{}), ingest: b.is.URLs["ingest"], reader: b.is.URLs["reader"], run: b.run + name, name: name}
	for i, found := 0, 0; found < partitions; i++ {
		key := fmt.Sprintf("%s-%d", name, i)
		if at := cluster.Partition(typeProbe, key, partitions); p.keys[at] == "" {
			p.keys[at] = key
			found++
		}
	}
	return p
}

func (p *probes) send(ctx context.Context, length time.Duration) error {
	ticker := time.NewTicker(probeEvery / partitions)
	defer ticker.Stop()
	for n, end := 0, time.Now().Add(length); time.Now().Before(end); n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		at := n % partitions
		body := fmt.Appendf(nil, `{"type":%q,"key":%q,"id":"%s-%d"}`, typeProbe, p.keys[at], p.run, n)
		begin := time.Now()
		if _, err := p.client.Bytes(ctx, http.MethodPost, p.ingest+"/v1/events", wire.JSONType, body); err != nil {
			return fmt.Errorf("send probe: %w", err)
		}
		p.mu.Lock()
		p.sent[at] = append(p.sent[at], begin)
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	return nil
}

func (p *probes) ask(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type query struct {
		Key string `json:"key"`
	}
	request := struct {
		Type    string  `json:"type"`
		Queries []query `json:"queries"`
	}{Type: typeProbe}
	for _, key := range p.keys {
		request.Queries = append(request.Queries, query{key})
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		reply, err := p.client.Bytes(ctx, http.MethodPost, p.reader+"/v1/stats:batch", wire.JSONType, body)
		if err != nil {
			return fmt.Errorf("ask for probes: %w", err)
		}
		done, err := p.take(reply.Body, time.Now())
		if done || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("ask for probes: %w", ctx.Err())
		}
	}
}

// take notes which probes an answer holds, and tells whether that is all of them.
func (p *probes) take(body []byte, now time.Time) (done bool, err error) {
	var answer struct {
		Results []struct {
			Value *int            `json:"value"`
			Error json.RawMessage `json:"error"`
		} `json:"results"`
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&answer); err != nil || len(answer.Results) != partitions {
		return false, fmt.Errorf("ask for probes: answer with %d results: %w", len(answer.Results), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	done = p.ended
	for at, result := range answer.Results {
		if result.Value == nil {
			return false, fmt.Errorf("ask for probe %s: %s", p.keys[at], result.Error)
		}
		for p.seen[at] < min(*result.Value, len(p.sent[at])) {
			p.fresh.Add(now.Sub(p.sent[at][p.seen[at]]))
			p.seen[at]++
		}
		done = done && p.seen[at] == len(p.sent[at])
	}
	return done, nil
}
