package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// steps of an event's way from its append to the primary, by the histograms of the roles. The first two are parts of the third.
var steps = []struct{ figure, metric, note string }{
	{"read", "quipu_writer_read_delay_seconds", "from an append until the writer has read it"},
	{"gather", "quipu_writer_flush_wait_seconds", "from the append of a flush's first batch until its rows are frozen"},
	{"slot", "quipu_writer_flush_slot_seconds", "what a flush waits for others of its shard"},
	{"resolve", "quipu_mysql_resolve_keys_seconds", "finding or making a flush's key ids"},
	{"transaction", "quipu_mysql_apply_transaction_seconds", "a flush's transaction"},
	{"flush", "quipu_writer_flush_seconds", "from frozen to committed, heartbeats included"},
	{"count", "quipu_writer_count_delay_seconds", "from the append of a flush's first batch until it is committed"},
}

// brokenDown runs work and notes the mean time of each step meanwhile, the replicas' lag, and the CPU that each role used.
func (b *bench) brokenDown(ctx context.Context, name string, work func() error) error {
	before, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	used, begin := b.cpuTimes(), time.Now()
	watching, stop := context.WithCancel(ctx)
	lag := make(chan float64, 1)
	go func() { lag <- b.watchLag(watching, before) }()
	err = work()
	stop()
	highest := <-lag
	if err != nil {
		return err
	}
	after, err := b.scrapeAll(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		n := after.sum(s.metric+"_count") - before.sum(s.metric+"_count")
		total := after.sum(s.metric+"_sum") - before.sum(s.metric+"_sum")
		b.results.value(name+"_"+s.figure+"_mean_ms", 1000*total/max(n, 1), "ms", fmt.Sprintf("%s; %.0f times", s.note, n))
	}
	elapsed := time.Since(begin).Seconds()
	b.results.value(name+"_rows_per_second", (after.sum("quipu_mysql_minute_rows_total")-before.sum("quipu_mysql_minute_rows_total"))/elapsed, "rows/s",
		fmt.Sprintf("flushed; %.0f new keys a second", (after.sum("quipu_mysql_key_cache_misses_total")-before.sum("quipu_mysql_key_cache_misses_total"))/elapsed))
	b.results.value(name+"_replica_lag_max_ms", 1000*highest, "ms", "the longest found, looking each second")
	now, texts, total := b.cpuTimes(), []string{}, 0.0
	for _, role := range slices.Sorted(maps.Keys(now)) {
		share := 100 * (now[role] - used[role]).Seconds() / elapsed
		total += share
		texts = append(texts, fmt.Sprintf("%s %.0f", role, share))
	}
	b.results.value(name+"_cpu_percent", total, "% of a core", strings.Join(texts, ", "))
	return nil
}

// scrapeAll returns the metrics of all writers and shard proxies together.
func (b *bench) scrapeAll(ctx context.Context) (samples, error) {
	all := samples{}
	for process := range b.is.URLs {
		if role := roleOf(process); role != "writer" && role != "shard-proxy" {
			continue
		}
		s, err := b.scrape(ctx, process)
		if err != nil {
			return nil, fmt.Errorf("scrape %s: %w", process, err)
		}
		for series, v := range s {
			all[series] += v
		}
	}
	return all, nil
}

// watchLag returns the longest lag of a replica until ctx ends, in seconds.
func (b *bench) watchLag(ctx context.Context, before samples) (highest float64) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return highest
		case <-ticker.C:
		}
		now, err := b.scrapeAll(ctx)
		if err != nil {
			continue
		}
		if b.options.verbose {
			b.tellSteps(before, now)
			before = now
		}
		for series, v := range now {
			if strings.HasPrefix(series, "quipu_shard_proxy_replica_lag_seconds{") {
				highest = max(highest, v)
			}
		}
	}
}

func (b *bench) tellSteps(before, now samples) {
	var line []string
	for _, s := range steps {
		n := now.sum(s.metric+"_count") - before.sum(s.metric+"_count")
		line = append(line, fmt.Sprintf("%s %.0f ms x%.0f", s.figure, 1000*(now.sum(s.metric+"_sum")-before.sum(s.metric+"_sum"))/max(n, 1), n))
	}
	lag := []float64{}
	for series, v := range now {
		if strings.HasPrefix(series, "quipu_shard_proxy_replica_lag_seconds{") {
			lag = append(lag, v)
		}
	}
	b.say("%s; rows %.0f, misses %.0f, interval %.2f s, lag %.2f", strings.Join(line, ", "),
		now.sum("quipu_mysql_minute_rows_total")-before.sum("quipu_mysql_minute_rows_total"),
		now.sum("quipu_mysql_key_cache_misses_total")-before.sum("quipu_mysql_key_cache_misses_total"),
		now.sum("quipu_writer_flush_interval_seconds")/partitions, lag)
}
