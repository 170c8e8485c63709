package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/load"
	"github.com/quipudb/quipu/load/latency"
	"github.com/quipudb/quipu/wire"
)

const (
	probeEvery = 500 * time.Millisecond // to every partition
	askEvery   = 20 * time.Millisecond  // adds up to this much to what is measured
)

// measureFreshness takes freshness_p99_ms: under half of the highest load, single events are posted to every partition, and the time is
// taken from sending each until a reader's answer holds it.
func measureFreshness(ctx context.Context, b *bench) error {
	rate := defaultRate / 2.0
	if b.ingested > 0 {
		rate = b.ingested / 2
	}
	length := either(b, 30*time.Second, 5*time.Second)
	source, err := load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: b.run + "f-", Run: b.run + "f",
	})
	if err != nil {
		return err
	}
	p := newProbes(b)
	defer p.client.Close()
	group, probing := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := b.load(probing, load.Config{Rate: rate, Duration: length}, source)
		return err
	})
	group.Go(func() error { return p.send(probing, length-time.Second) })
	group.Go(func() error { return p.ask(probing, length+time.Minute) })
	if err := group.Wait(); err != nil {
		return err
	}
	s := p.fresh.Snapshot()
	b.results.add(figure{
		Name: "freshness_p99_ms", Value: ms(s.Percentile(99)), Unit: "ms", Target: atLeast(2000), AtMost: true,
		Note: fmt.Sprintf("from send to readable, %d probes over %d partitions at %.0f events/s; p50 %.0f ms, longest %.0f ms",
			s.Count(), partitions, rate, ms(s.Percentile(50)), ms(s.Max())),
	})
	return nil
}

// probes are the events whose way is timed: one key a partition.
type probes struct {
	client         *wire.Client
	ingest, reader string
	run            string
	keys           [partitions]string
	fresh          latency.Histogram

	mu    sync.Mutex // guards what follows
	sent  [partitions][]time.Time
	seen  [partitions]int
	ended bool // no more are sent
}

func newProbes(b *bench) *probes {
	p := &probes{client: wire.NewClient(wire.ClientConfig{}), ingest: b.is.URLs["ingest"], reader: b.is.URLs["reader"], run: b.run}
	for i, found := 0, 0; found < partitions; i++ {
		key := fmt.Sprintf("probe-%d", i)
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
