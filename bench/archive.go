package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// coldDays ago is the day that is archived: younger than what the role archives by itself.
const coldDays = 5

// measureArchive takes archive_rows_per_second, the rows of one day that quipu archive run moves from the shards to a folder: read, sorted, written, read
// back, compared and committed, both shards at once; and cold_series_p99_ms, a series of all minutes of that day for one key
// after the other, which nobody asked for before, one at a time.
func measureArchive(ctx context.Context, b *bench) error {
	from := time.Now().UTC().Truncate(day24).Add(-coldDays * day24)
	d, err := b.fillDay(ctx, typeCold, "cold", from)
	if err != nil {
		return err
	}
	if err := b.archiveUntil(ctx, from); err != nil { // what other measures left
		return err
	}
	begin := time.Now()
	if err := b.archiveUntil(ctx, from.Add(day24)); err != nil {
		return err
	}
	took := time.Since(begin)
	b.results.add(figure{
		Name: "archive_rows_per_second", Value: float64(d.rows) / took.Seconds(), Unit: "rows/s", Target: atLeast(300_000),
		Note: fmt.Sprintf("%d minute rows of one day in 2 shards, to a folder, in %.1f s", d.rows, took.Seconds()),
	})
	get := newGetter()
	defer get.close()
	var asked atomic.Int64
	times, err := closedLoop(ctx, either(b, 10*time.Second, 2*time.Second), 1, d.keys, func(ctx context.Context, _ int) error {
		return d.compareSeries(ctx, b, get, int(asked.Add(1)*7919)%d.keys)
	})
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "cold_series_p99_ms", Value: ms(times.Percentile(99)), Unit: "ms", Target: atLeast(150), AtMost: true,
		Note: fmt.Sprintf("%d minutes of a key from a folder with %d rows in its day, one question at a time, p50 %.1f ms", minutesPerDay, d.rows, ms(times.Percentile(50))),
	})
	return nil
}

// archiveUntil has the command archive minutes.
func (b *bench) archiveUntil(ctx context.Context, until time.Time) error {
	command := exec.CommandContext(ctx, b.options.program, "archive", "run", "--until", until.Format(time.RFC3339),
		"--config", filepath.Join(b.options.dir, "cluster", "quipu.yaml"))
	for _, set := range b.options.sets {
		command.Args = append(command.Args, "--set", set)
	}
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	err := command.Run()
	if b.options.verbose {
		b.say("archive until %s: %s", until.Format(time.DateOnly), &said)
	}
	if err != nil {
		return fmt.Errorf("archive until %s: %w: %s", until.Format(time.DateOnly), err, &said)
	}
	return nil
}

// compareSeries asks for the minutes of a key and adds them up.
func (d *day) compareSeries(ctx context.Context, b *bench, get *getter, n int) error {
	q := url.Values{
		"type": {d.eventType}, "key": {d.key(n)}, "function": {"count"}, "step": {"minute"},
		"from": {d.from.Format(time.RFC3339)}, "to": {d.from.Add(day24).Format(time.RFC3339)},
	}
	address := b.is.URLs["reader"] + "/v1/stats?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	anew(req)
	resp, err := get.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	var answer struct {
		Points []struct {
			Value int64 `json:"value"`
		} `json:"points"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Points) != minutesPerDay {
		return fmt.Errorf("%s answers %d with %d points: %.300s", address, resp.StatusCode, len(answer.Points), body)
	}
	sum := int64(0)
	for _, p := range answer.Points {
		sum += p.Value
	}
	if sum != d.count() {
		return fmt.Errorf("%s sums up to %d, want %d", address, sum, d.count())
	}
	return nil
}
