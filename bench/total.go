package main

import (
	"context"
	"fmt"
	"net/url"
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
		got, err := get.value(ctx, address, anew)
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
	return b.compareYearWithDay(ctx, get, end, days)
}

// compareYearWithDay takes total_one_year_vs_one_day_ratio: the median of totals of the same key over a year and over a day, both up to the
// minute in which the load began and from any minute of an hour, asked in turns.
func (b *bench) compareYearWithDay(ctx context.Context, get *getter, end time.Time, days int) error {
	const turns = 4
	times := map[int][]float64{}
	for range turns {
		for _, n := range []int{1, days} {
			from := end.AddDate(0, 0, -n)
			address := b.is.URLs["reader"] + "/v1/stats?" + url.Values{
				"type": {typeYear}, "key": {yearKey}, "from": {from.Format(time.RFC3339)}, "to": {end.Format(time.RFC3339)},
			}.Encode()
			got, err := closedLoop(ctx, either(b, 2*time.Second, 500*time.Millisecond), totalConnections, 1, func(ctx context.Context, _ int) error {
				value, err := get.value(ctx, address, anew)
				if err == nil && value != int64(n*minutesPerDay) {
					err = fmt.Errorf("the total of %d days is %d, want %d", n, value, n*minutesPerDay)
				}
				return err
			})
			if err != nil {
				return err
			}
			times[n] = append(times[n], ms(got.Percentile(50)))
		}
	}
	mean := func(n int) (sum float64) {
		for _, t := range times[n] {
			sum += t / turns
		}
		return sum
	}
	b.results.add(figure{
		Name: "total_one_year_vs_one_day_ratio", Value: mean(days) / mean(1), Unit: "times", Target: atLeast(2), AtMost: true,
		Note: fmt.Sprintf("%d days and one day of a key with an event every minute, ragged ends; p50 %.2f and %.2f ms", days, mean(days), mean(1)),
	})
	return nil
}
