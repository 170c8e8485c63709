package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/load"
)

const (
	failoverReaders = 4
	failoverAsks    = 50 * time.Millisecond // by each of them
	failoverWithin  = time.Minute
	lostShard       = "s1"
)

// measureFailover takes failover_writes_resume_seconds and failover_reads_answered_ratio: under half of the full load a primary is killed, and again whenever
// the launcher starts it, until its shard counts again without it. Meanwhile keys of all shards are asked for. At the end every key must be exact.
func measureFailover(ctx context.Context, b *bench) error {
	source, err := load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Keys: either(b, 200_000, 20_000), Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: b.run + "f-", Run: b.run + "f", Seed: 5,
	})
	if err != nil {
		return err
	}
	verifier, err := b.verifier()
	if err != nil {
		return err
	}
	defer verifier.Close()
	if err := b.holdBack(ctx); err != nil {
		return err
	}
	lead, after := either(b, 8*time.Second, 4*time.Second), either(b, 22*time.Second, 15*time.Second)
	lead = max(lead, b.options.heldBack)
	var summary load.Summary
	r := newReaders(b, b.run+"f-")
	defer r.client.CloseIdleConnections()
	group, running := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		summary, err = b.load(running, load.Config{Rate: b.halfLoad(), Duration: lead + after}, source)
		return err
	})
	group.Go(func() error {
		if err := wait.For(running, lead); err != nil {
			return err
		}
		return b.losePrimary(running, r)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := verifier.CatchUp(ctx, source.Keys(), summary.LastAck); err != nil {
		return err
	}
	expected, err := source.Expected()
	if err != nil {
		return err
	}
	verified, err := verifier.Verify(ctx, expected, summary.LastAck)
	if err != nil {
		return fmt.Errorf("after the failover: %w (%v)", err, verified.Differences)
	}
	b.say("all %d keys are exact after the failover", verified.Keys)
	return nil
}

// holdBack has the replica of the shard that will lose its primary execute nothing more, if that was asked for: it is promoted with what it has, and
// the log brings back the rest.
func (b *bench) holdBack(ctx context.Context) error {
	for _, server := range b.is.Databases {
		if b.options.heldBack == 0 || server.Shard != lostShard || server.Role == string(cluster.Primary) {
			continue
		}
		db, err := openRoot(server.Socket)
		if err != nil {
			return err
		}
		defer db.Close()
		if _, err := db.ExecContext(ctx, "STOP SLAVE SQL_THREAD"); err != nil {
			return fmt.Errorf("hold %s back: %w", server.ID, err)
		}
	}
	return nil
}

// losePrimary kills a primary and measures until its shard counts again.
func (b *bench) losePrimary(ctx context.Context, r *failoverReads) error {
	name := ""
	for _, server := range b.is.Databases {
		if server.Shard == lostShard && server.Role == string(cluster.Primary) {
			name = server.ID
		}
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	for n := range failoverReaders {
		group.Go(func() { r.run(reading, n) })
	}
	killed := time.Now()
	group.Go(func() { keepDead(reading, b.cluster, name) })
	resumed, err := r.awaitCounting(ctx, killed)
	stop()
	group.Wait()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.results.add(figure{
		Name: "failover_writes_resume_seconds", Value: resumed.Seconds(), Unit: "s", Target: atLeast(15), AtMost: true,
		Note: fmt.Sprintf("from kill -9 of the primary of %s under %.0f events/s until answers are as of later than that; the replica had been held back for %s", lostShard, b.halfLoad(), b.options.heldBack),
	})
	b.results.add(figure{
		Name: "failover_reads_answered_ratio", Value: float64(r.answered) / float64(r.asked), Unit: "", Target: atLeast(0.999),
		Note: fmt.Sprintf("%d questions about keys of all shards meanwhile, %d answers were labelled stale; slowest %.0f ms", r.asked, r.stale, ms(r.slowest)),
	})
	return nil
}

// keepDead kills a process, and each that takes its place, until ctx ends.
func keepDead(ctx context.Context, c *local.Cluster, name string) {
	var last *local.Process
	for {
		if p := c.Process(name); p != nil && p != last {
			_ = p.Kill() // one that has ended by itself is as dead
			last = p
		}
		if wait.For(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

// failoverReads are questions put to the reader all the time.
type failoverReads struct {
	client *http.Client
	reader string
	prefix string
	within time.Duration // for counts to go on

	mu                     sync.Mutex
	asked, answered, stale int
	slowest                time.Duration
}

func newReaders(b *bench, prefix string) *failoverReads {
	return &failoverReads{
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: failoverReaders + 1}},
		reader: b.is.URLs["reader"], prefix: prefix, within: failoverWithin + 3*b.options.heldBack, // what was held back is counted again first
	}
}

// run asks for busy keys until ctx ends.
func (r *failoverReads) run(ctx context.Context, n int) {
	random := rand.New(rand.NewPCG(11, uint64(n)))
	for wait.For(ctx, failoverAsks) == nil {
		begin := time.Now()
		_, stale, err := r.ask(context.WithoutCancel(ctx), fmt.Sprintf("%s%d", r.prefix, random.IntN(100)), "")
		r.mu.Lock()
		r.asked++
		if err == nil {
			r.answered++
		}
		if stale {
			r.stale++
		}
		r.slowest = max(r.slowest, time.Since(begin))
		r.mu.Unlock()
	}
}

// awaitCounting waits until an answer from a database about a key of the lost shard is as of later than an instant.
func (r *failoverReads) awaitCounting(ctx context.Context, than time.Time) (time.Duration, error) {
	key := ""
	for i := 0; key == ""; i++ { // the first half of the partitions is the first shard's
		if name := fmt.Sprintf("%s%d", r.prefix, i); cluster.Partition(typeIngest, name, partitions) < partitions/2 {
			key = name
		}
	}
	for time.Since(than) < r.within {
		asOf, _, err := r.ask(ctx, key, "no-cache")
		if err == nil && asOf.After(than) {
			return time.Since(than), nil
		}
		if err := wait.For(ctx, askEvery); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("shard %s did not count again within %s", lostShard, r.within)
}

func (r *failoverReads) ask(ctx context.Context, key, cache string) (asOf time.Time, stale bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.reader+"/v1/stats?"+url.Values{"type": {typeIngest}, "key": {key}}.Encode(), nil)
	if err != nil {
		return asOf, false, err
	}
	if cache != "" {
		req.Header.Set("Cache-Control", cache)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return asOf, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return asOf, false, err
	}
	var answer struct {
		AsOf  time.Time `json:"as_of"`
		Stale bool      `json:"stale"`
	}
	if resp.StatusCode != http.StatusOK {
		return asOf, false, fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	err = json.Unmarshal(body, &answer)
	return answer.AsOf, answer.Stale, err
}
