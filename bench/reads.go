package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/load/latency"
	"github.com/quipudb/quipu/load/zipf"
	"github.com/quipudb/quipu/mysql"
)

const readConnections = 16

// measureReads takes stats_p99_vs_direct_sql_ratio: one key over 24 hours, keys drawn by Zipf's law, 16 connections, asked of the reader over
// HTTP, which is to use nothing that it kept, and, by the same SQL, of the replicas directly. 10 million rows are put into the tables of every server for it.
func measureReads(ctx context.Context, b *bench) error {
	d, err := b.lastDay(ctx)
	if err != nil {
		return err
	}
	direct, err := b.openReplicas()
	if err != nil {
		return err
	}
	defer direct.close()
	get := newGetter()
	defer get.close()
	for n := range 50 {
		if err := d.compare(ctx, b, get, direct, n%d.keys); err != nil {
			return err
		}
	}
	length := either(b, 10*time.Second, 2*time.Second)
	sql, err := closedLoop(ctx, length, readConnections, d.keys, func(ctx context.Context, n int) error {
		_, err := direct.count(ctx, d, n)
		return err
	})
	if err != nil {
		return err
	}
	http, err := closedLoop(ctx, length, readConnections, d.keys, func(ctx context.Context, n int) error {
		_, err := get.value(ctx, d.url(b, n), anew)
		return err
	})
	if err != nil {
		return err
	}
	note := fmt.Sprintf("one key over 24 h of %d rows, 16 connections", d.rows)
	b.results.add(figure{
		Name: "stats_p99_vs_direct_sql_ratio", Value: ms(http.Percentile(99)) / ms(sql.Percentile(99)), Unit: "times",
		Target: atLeast(3), AtMost: true, Note: note,
	})
	b.results.value("stats_p50_ms", ms(http.Percentile(50)), "ms", "")
	b.results.value("stats_p99_ms", ms(http.Percentile(99)), "ms", "")
	b.results.value("stats_per_second", float64(http.Count())/length.Seconds(), "requests/s", "")
	b.results.value("direct_sql_p50_ms", ms(sql.Percentile(50)), "ms", "")
	b.results.value("direct_sql_p99_ms", ms(sql.Percentile(99)), "ms", "")
	b.results.value("direct_sql_per_second", float64(sql.Count())/length.Seconds(), "requests/s", "")
	return nil
}

// anew has the reader answer without anything that was kept.
func anew(req *http.Request) { req.Header.Set("Cache-Control", "no-cache") }

// closedLoop asks over so many connections, each as soon as it has its answer, for keys by Zipf's law, and returns how long answers took.
func closedLoop(ctx context.Context, length time.Duration, connections, keys int, ask func(context.Context, int) error) (*latency.Snapshot, error) {
	table, err := zipf.New(keys, exponent)
	if err != nil {
		return nil, err
	}
	var times latency.Histogram
	group, ctx := errgroup.WithContext(ctx)
	end := time.Now().Add(length)
	for c := range connections {
		random := rand.New(rand.NewPCG(7, uint64(c)))
		group.Go(func() error {
			for time.Now().Before(end) {
				begin := time.Now()
				if err := ask(ctx, table.Rank(random.Uint64())); err != nil {
					return err
				}
				times.Add(time.Since(begin))
			}
			return nil
		})
	}
	err = group.Wait()
	return times.Snapshot(), err
}

// getter asks the reader.
type getter struct{ client *http.Client }

func newGetter() *getter {
	return &getter{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * readConnections}}}
}

func (g *getter) close() { g.client.CloseIdleConnections() }

// value asks for a total. The changes are made to the request.
func (g *getter) value(ctx context.Context, address string, changes ...func(*http.Request)) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	for _, change := range changes {
		change(req)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Value *int64 `json:"value"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Value == nil {
		return 0, fmt.Errorf("%s answers %d %.300s", address, resp.StatusCode, body)
	}
	return *answer.Value, nil
}

// replicas are the databases that readers read, asked directly.
type replicas struct {
	byShard map[string][]*mysql.DB
	next    atomic.Uint32
}

func (b *bench) openReplicas() (*replicas, error) {
	r := &replicas{byShard: map[string][]*mysql.DB{}}
	for _, d := range b.is.Databases {
		if d.Role != "replica" {
			continue
		}
		db, err := mysql.Open(mysql.Config{
			ID: d.ID, Address: d.Address, User: string(local.AccountRead), Password: b.cluster.Passwords()[local.AccountRead],
			ReadOnly: true, MaxConnections: readConnections,
		})
		if err != nil {
			r.close()
			return nil, err
		}
		r.byShard[d.Shard] = append(r.byShard[d.Shard], db)
	}
	return r, nil
}

func (r *replicas) close() {
	for _, shard := range r.byShard {
		for _, db := range shard {
			_ = db.Close() // nothing was written
		}
	}
}

func (r *replicas) count(ctx context.Context, d *day, n int) (int64, error) {
	key := d.key(n)
	partition := cluster.Partition(d.eventType, key, partitions)
	shard := r.byShard[shardOf(partition)]
	answer, err := shard[int(r.next.Add(1))%len(shard)].Stats(ctx, &mysql.StatsRequest{
		Type: d.eventType, Keys: []mysql.StatsKey{{Partition: partition, Name: key}},
		From: d.from.Unix() / 60, To: d.from.Add(day24).Unix() / 60, MaxPoints: 1,
	})
	if err != nil {
		return 0, err
	}
	return answer.Keys[0].Points[0].Count, nil
}

// shardOf is the launcher's way of dealing partitions out: equal runs.
func shardOf(partition int) string {
	return "s" + strconv.Itoa(partition*local.DefaultShards/partitions+1)
}

func (d *day) url(b *bench, n int) string {
	q := url.Values{
		"type": {d.eventType}, "key": {d.key(n)}, "function": {"count"},
		"from": {d.from.Format(time.RFC3339)}, "to": {d.from.Add(day24).Format(time.RFC3339)},
	}
	return b.is.URLs["reader"] + "/v1/stats?" + q.Encode()
}

// compare makes sure that both ways tell what was put in.
func (d *day) compare(ctx context.Context, b *bench, get *getter, direct *replicas, n int) error {
	want := d.count()
	over, err := get.value(ctx, d.url(b, n), anew)
	if err != nil {
		return err
	}
	straight, err := direct.count(ctx, d, n)
	if err != nil {
		return err
	}
	if over != want || straight != want {
		return fmt.Errorf("key %s: the reader counts %d, SQL %d, want %d", d.key(n), over, straight, want)
	}
	return nil
}
