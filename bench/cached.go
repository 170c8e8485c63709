package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/load/latency"
	"github.com/quipudb/quipu/wire"
)

const (
	cachedKeys   = 1000 // asked again and again
	sameQuestion = 1000 // callers at once
	cacheAnswers = "quipu_shard_proxy_cache_answers_total"
)

// measureCached takes figures of answers that are kept, over the day of measureReads.
func measureCached(ctx context.Context, b *bench) error {
	d, err := b.lastDay(ctx)
	if err != nil {
		return err
	}
	get := newGetter()
	defer get.close()
	if err := b.measureAdded(ctx, d, get); err != nil {
		return err
	}
	if err := b.measureKept(ctx, d, get); err != nil {
		return err
	}
	if err := b.measureHitRatio(ctx, d, get); err != nil {
		return err
	}
	return b.measureSameQuestion(ctx, d)
}

// measureAdded takes uncached_read_added_p50_ms: what reader, cluster proxy and shard proxy add to the median time of the SQL that they send to a replica. One
// connection asks, and both ways are asked in turns for the same key.
func (b *bench) measureAdded(ctx context.Context, d *day, get *getter) error {
	direct, err := b.openReplicas()
	if err != nil {
		return err
	}
	defer direct.close()
	var through, straight latency.Histogram
	end := time.Now().Add(either(b, 6*time.Second, 2*time.Second))
	for n := 0; time.Now().Before(end); n++ {
		begin := time.Now()
		if _, err := direct.count(ctx, d, n%d.keys); err != nil {
			return err
		}
		between := time.Now()
		if _, err := get.value(ctx, d.url(b, n%d.keys), anew); err != nil {
			return err
		}
		straight.Add(between.Sub(begin))
		through.Add(time.Since(between))
	}
	over, sql := ms(through.Snapshot().Percentile(50)), ms(straight.Snapshot().Percentile(50))
	b.results.add(figure{
		Name: "uncached_read_added_p50_ms", Value: over - sql, Unit: "ms", Target: atLeast(1.5), AtMost: true,
		Note: fmt.Sprintf("one key over 24 h of %d rows, one connection, the SQL right before: p50 %.2f ms through three processes, %.2f ms straight", d.rows, over, sql),
	})
	return nil
}

// measureKept takes cached_reads_per_second and cached_read_p99_ms: keys over 24 hours that were asked before, each as likely as the others, 16 connections. Reader, cluster
// proxy and shard proxy take part in every read, and so does what asks.
func (b *bench) measureKept(ctx context.Context, d *day, get *getter) error {
	keys := min(cachedKeys, d.keys)
	for range 2 { // the first answers may come before a proxy follows late changes
		for n := range keys {
			if _, err := get.value(ctx, d.url(b, n)); err != nil {
				return err
			}
		}
	}
	before, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	paths := make([]string, keys)
	for n := range paths {
		paths[n] = strings.TrimPrefix(d.url(b, n), b.is.URLs["reader"])
	}
	want := fmt.Appendf(nil, `"value":%d,`, d.count())
	length := either(b, 10*time.Second, 2*time.Second)
	cpu := b.cpuTimes()
	var times *latency.Snapshot
	err = b.profiled(ctx, "cached", length, func(ctx context.Context) (err error) {
		times, err = b.evenLoop(ctx, length, func(a *asker, random *rand.Rand) error { return a.expect(paths[random.IntN(keys)], want) })
		return err
	})
	if err != nil {
		return err
	}
	after, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "cached_reads_per_second", Value: float64(times.Count()) / length.Seconds(), Unit: "requests/s", Target: atLeast(8000),
		Note: fmt.Sprintf("%d keys over 24 h, %d connections, %.1f%% of the answers kept, p50 %.2f ms", keys, readConnections, 100*keptRatio(before, after), ms(times.Percentile(50))),
	})
	used := time.Duration(0)
	for role, after := range b.cpuTimes() {
		if role == "load" || role == "reader" || role == "cluster-proxy" || role == "shard-proxy" {
			used += after - cpu[role]
		}
	}
	b.results.value("cached_read_cpu_us", used.Seconds()*1e6/float64(times.Count()), "µs", "CPU time of a read in reader, proxies and what asks")
	b.results.add(figure{Name: "cached_read_p99_ms", Value: ms(times.Percentile(99)), Unit: "ms", Target: atLeast(15), AtMost: true, Note: "the same reads"})
	return nil
}

// evenLoop asks the reader over as many connections as closedLoop, each as soon as it has its answer.
func (b *bench) evenLoop(ctx context.Context, length time.Duration, ask func(*asker, *rand.Rand) error) (*latency.Snapshot, error) {
	var times latency.Histogram
	group, ctx := errgroup.WithContext(ctx)
	end := time.Now().Add(length)
	for c := range readConnections {
		random := rand.New(rand.NewPCG(11, uint64(c)))
		group.Go(func() error {
			a, err := newAsker(ctx, b.is.URLs["reader"])
			if err != nil {
				return err
			}
			defer a.close()
			for time.Now().Before(end) {
				begin := time.Now()
				if err := ask(a, random); err != nil {
					return err
				}
				times.Add(time.Since(begin))
			}
			return nil
		})
	}
	err := group.Wait()
	return times.Snapshot(), err
}

// keptRatio is the share of the questions of shard proxies that were answered with what was kept, between two readings.
func keptRatio(before, after samples) float64 {
	all, waited := 0.0, 0.0
	for series, v := range after {
		if !strings.HasPrefix(series, cacheAnswers+"{") {
			continue
		}
		n := v - before[series]
		all += n
		if strings.Contains(series, `"miss"`) || strings.Contains(series, `"direct"`) || strings.Contains(series, `"coalesced"`) {
			waited += n
		}
	}
	if all == 0 {
		return 0
	}
	return 1 - waited/all
}

// measureHitRatio takes cache_hit_ratio_zipf. The mix: keys by Zipf's law over all of them, 16 connections; of each ten questions seven are for the total of 22 hours that
// ended, two for their hours one by one, and one for a total up to now, which is kept for a second only. It is asked for a while before the figure is taken; a hit is an
// answer that waited for no database.
func (b *bench) measureHitRatio(ctx context.Context, d *day, get *getter) error {
	length := either(b, 15*time.Second, 2*time.Second)
	from := d.from.Truncate(time.Hour).Add(time.Hour)
	ended := url.Values{"from": {from.Format(time.RFC3339)}, "to": {from.Add(22 * time.Hour).Format(time.RFC3339)}}
	ask := func(ctx context.Context, n int) error {
		q := url.Values{"type": {d.eventType}, "key": {d.key(n)}}
		switch kind := rand.IntN(10); {
		case kind == 0:
			q.Set("from", from.Format(time.RFC3339))
		case kind <= 2:
			q.Set("step", "hour")
			fallthrough
		default:
			q.Set("from", ended.Get("from"))
			q.Set("to", ended.Get("to"))
		}
		return get.answered(ctx, b.is.URLs["reader"]+"/v1/stats?"+q.Encode())
	}
	empty, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	if _, err := closedLoop(ctx, length, readConnections, d.keys, ask); err != nil {
		return err
	}
	before, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	times, err := closedLoop(ctx, length, readConnections, d.keys, ask)
	if err != nil {
		return err
	}
	after, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "cache_hit_ratio_zipf", Value: keptRatio(before, after), Unit: "of 1", Target: atLeast(0.9),
		Note: fmt.Sprintf("%d questions for %d keys by Zipf's law with exponent %.2f, 70%% totals and 20%% hours of 22 h that ended, 10%% totals up to now; %.3f in the %.0f s before, from an empty cache",
			times.Count(), d.keys, exponent, keptRatio(empty, before), length.Seconds()),
	})
	return nil
}

// answered asks and looks at nothing but the status.
func (g *getter) answered(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d %.300s", address, resp.StatusCode, body)
	}
	return err
}

// keyOn returns a key of a shard.
func (d *day) keyOn(shard string) string {
	for n := range d.keys {
		if key := d.key(n); shardOf(cluster.Partition(d.eventType, key, partitions)) == shard {
			return key
		}
	}
	return d.key(0)
}

// measureSameQuestion takes statements_for_1000_identical_queries: so many callers put one question, that nobody has asked before, to a shard proxy at once.
func (b *bench) measureSameQuestion(ctx context.Context, d *day) error {
	var proxies []string
	for process := range b.is.URLs {
		if roleOf(process) == "shard-proxy" {
			proxies = append(proxies, process)
		}
	}
	slices.Sort(proxies)
	process := proxies[0]
	before, err := b.scrape(ctx, process)
	if err != nil {
		return err
	}
	key := d.keyOn(strings.Split(process, "-")[2]) // shard-proxy-s1
	client := wire.NewClient(wire.ClientConfig{MaxIdlePerHost: sameQuestion, MaxPerHost: sameQuestion})
	defer client.Close()
	from := d.from.Unix()/60 + 7
	question := wire.StatsRequest{Type: d.eventType, Keys: []string{key}, From: from, To: from + 11*60}
	start := make(chan struct{})
	var group errgroup.Group
	for range sameQuestion {
		group.Go(func() error {
			<-start
			var answer wire.StatsAnswer
			return client.JSON(ctx, http.MethodPost, b.is.URLs[process]+wire.PathStats, question, &answer)
		})
	}
	close(start)
	if err := group.Wait(); err != nil {
		return err
	}
	after, err := b.scrape(ctx, process)
	if err != nil {
		return err
	}
	const reads = "quipu_shard_proxy_reads_total"
	b.results.add(figure{
		Name: "statements_for_1000_identical_queries", Value: after.sum(reads) - before.sum(reads), Unit: "statements", Target: atLeast(1), AtMost: true,
		Note: fmt.Sprintf("%d callers at once, one shard proxy; %.0f joined the query of another", sameQuestion, after[cacheAnswers+`{outcome="coalesced"}`]-before[cacheAnswers+`{outcome="coalesced"}`]),
	})
	return nil
}
