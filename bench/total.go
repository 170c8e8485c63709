package main

import (
	"context"
	"fmt"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
)

// totalConnections ask at once.
const totalConnections = 4

// yearKey is the key that has an event in every minute of a year.
const yearKey = "year"

// measureTotal takes all_time_total_p99_ms: the count of all time of a key that has a year of minutes, over 4 connections. The minutes
// come as late events through the whole path, which adds them to hours and days too.
func measureTotal(ctx context.Context, b *bench) error {
	days := either(b, 365, 60)
	minutes := days * minutesPerDay
	end := time.Now().UTC().Truncate(time.Minute)
	source, err := load.NewReplay(load.ReplayConfig{Run: b.run + "y", Tally: true}, func(yield func(event.Event, error) bool) {
		for m := range minutes {
			at := end.Add(-time.Duration(minutes-m) * time.Minute)
			if !yield(event.Event{Type: typeYear, Key: yearKey, TimeMs: at.UnixMilli(), Value: int64(m % 100), HasValue: true}, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	defer source.Close()
	begin := time.Now()
	if err := b.settle(ctx, load.Config{}, source); err != nil {
		return err
	}
	b.results.value("late_minutes_per_second", float64(minutes)/time.Since(begin).Seconds(), "rows/s", "late events, each a minute of its own, until readable")
	get := newGetter()
	defer get.close()
	address := b.is.URLs["reader"] + "/v1/stats?type=" + typeYear + "&key=" + yearKey
	times, err := closedLoop(ctx, either(b, 10*time.Second, 2*time.Second), totalConnections, 1, func(ctx context.Context, _ int) error {
		got, err := get.value(ctx, address)
		if err == nil && got != int64(minutes) {
			err = fmt.Errorf("the total is %d, want %d", got, minutes)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.results.add(figure{
		Name: "all_time_total_p99_ms", Value: ms(times.Percentile(99)), Unit: "ms", Target: atLeast(30), AtMost: true,
		Note: fmt.Sprintf("a key with %d days of minutes, %d connections, p50 %.1f ms", days, totalConnections, ms(times.Percentile(50))),
	})
	return nil
}
