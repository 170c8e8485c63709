package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const windowLimit = 2 * time.Minute

// measureWindow takes dedup_bytes_per_id from the writer's metrics, with the window as the ingest load has left it, and
// window_rebuild_seconds: a writer is stopped in order, and the time taken from the start of its successor until it counts in every partition.
func measureWindow(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, windowLimit)
	defer cancel()
	before, err := b.scrape(ctx, "writer")
	if err != nil {
		return err
	}
	ids, bytes := before.sum(windowIDs), before.sum("quipu_writer_window_bytes")
	if ids == 0 {
		return fmt.Errorf("the de-duplication windows are empty")
	}
	b.watchMemory()
	old := b.cluster.Process("writer")
	if err := old.Stop(ctx); err != nil {
		return err
	}
	if err := b.await(ctx, func() bool { return b.cluster.Process("writer") != old }); err != nil {
		return fmt.Errorf("await another writer: %w", err)
	}
	begin := time.Now()
	var after samples
	err = b.await(ctx, func() bool {
		after, err = b.scrape(ctx, "writer")
		return err == nil && after.counting() == partitions
	})
	if err != nil {
		return fmt.Errorf("await a writer that counts: %w", err)
	}
	took := time.Since(begin)
	if err := b.await(ctx, func() bool { // its metrics follow with the first read
		after, err = b.scrape(ctx, "writer")
		return err == nil && after.sum(windowIDs) >= 0.9*ids
	}); err != nil {
		return fmt.Errorf("await windows of %.0f ids: %w", ids, err)
	}
	b.results.value("dedup_bytes_per_id", bytes/ids, "bytes", fmt.Sprintf("%.1f million ids in %.0f MiB", ids/1e6, bytes/(1<<20)))
	b.results.value("window_rebuild_seconds", took.Seconds(), "s",
		fmt.Sprintf("from the start of a writer until it counts in all %d partitions, with %.1f million ids", partitions, after.sum(windowIDs)/1e6))
	return nil
}

// await polls until ok.
func (b *bench) await(ctx context.Context, ok func() bool) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// samples are metrics as scraped: lines of "name{labels} value".
type samples map[string]float64

func (b *bench) scrape(ctx context.Context, process string) (samples, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.is.URLs[process]+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	s := samples{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		if v, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
			s[lines.Text()[:at]] = v
		}
	}
	return s, lines.Err()
}

// sum adds a metric up over its labels.
func (s samples) sum(name string) float64 {
	total := s[name]
	for series, v := range s {
		if strings.HasPrefix(series, name+"{") {
			total += v
		}
	}
	return total
}

// counting returns the number of partitions that are being counted.
func (s samples) counting() int {
	n := 0
	for series, v := range s {
		if v == 1 && strings.Contains(series, `state="counting"`) {
			n++
		}
	}
	return n
}
