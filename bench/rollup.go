package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/load"
)

const (
	rolledHours    = 5
	rollupPatience = 3 * time.Minute
	rollupLook     = 100 * time.Millisecond

	applySeconds = "quipu_mysql_apply_transaction_seconds"
)

// measureRollup takes rollup_one_million_rows_seconds and apply_p99_with_rollup_ratio: under half of the full load, the transactions of Apply are
// timed alone, then beside a roll-up of some hours of the day that was filled, which lasts as long as it takes, and alone again: a shared machine is
// not always as quick. For the roll-up the watermark of hours is set back on all servers, and their hours removed.
func measureRollup(ctx context.Context, b *bench) error {
	d, err := b.lastDay(ctx)
	if err != nil {
		return err
	}
	rate := b.halfLoad()
	source, err := load.NewGenerator(load.GeneratorConfig{
		Type: typeIngest, Exponent: exponent, Duplicates: duplicates, MaxValue: maxValue, Prefix: b.run + "-", Run: b.run + "r",
	})
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	group, measuring := errgroup.WithContext(sending)
	group.Go(func() error {
		_, err := b.load(measuring, load.Config{Rate: rate, Duration: 2 * rollupPatience}, source)
		if sending.Err() != nil {
			return nil // it was told to
		}
		return err
	})
	group.Go(func() error {
		defer stop()
		return b.rollUpBeside(measuring, d, rate)
	})
	return group.Wait()
}

// rollUpBeside measures while the load is on.
func (b *bench) rollUpBeside(ctx context.Context, d *day, rate float64) error {
	if err := wait.For(ctx, either(b, 10*time.Second, 3*time.Second)); err != nil { // the keys become known
		return err
	}
	listen := func() error { return wait.For(ctx, either(b, 18*time.Second, 2*time.Second)) }
	alone, err := b.applyTimes(ctx, listen)
	if err != nil {
		return err
	}
	again, err := b.setBack(ctx, d)
	if err != nil {
		return err
	}
	if err := again.await(ctx, again.begun); err != nil { // the role looks for work only every so often
		return err
	}
	begin := time.Now().Add(-rollupLook / 2)
	beside, err := b.applyTimes(ctx, func() error { return again.await(ctx, again.ended) })
	if err != nil {
		return err
	}
	rows, took := again.rows, time.Since(begin)
	after, err := b.applyTimes(ctx, listen)
	if err != nil {
		return err
	}
	alone = alone.and(after)
	b.results.add(figure{
		Name: "rollup_one_million_rows_seconds", Value: took.Seconds() / rows * 1e6, Unit: "s", Target: atLeast(20), AtMost: true,
		Note: fmt.Sprintf("%.0f minute rows of %d hours on 2 shards in %.1f s, until every watermark had passed, beside %.0f events/s", rows, rolledHours, took.Seconds(), rate),
	})
	b.results.add(figure{
		Name: "apply_p99_with_rollup_ratio", Value: beside.quantile(0.99) / alone.quantile(0.99), Unit: "times", Target: atLeast(1.5), AtMost: true,
		Note: fmt.Sprintf("of Apply's transactions at %.0f events/s: %.0f ms beside the roll-up (%.0f of them), %.0f ms alone (%.0f)", rate,
			1000*beside.quantile(0.99), beside.count(), 1000*alone.quantile(0.99), alone.count()),
	})
	return nil
}

// again is a roll-up of hours that were rolled up before.
type again struct {
	sockets []string // of the primaries
	to      time.Time
	rows    float64 // of minutes
}

// setBack makes all shards forget some hours. Counting and deleting their rows is over before anything is timed.
func (b *bench) setBack(ctx context.Context, d *day) (*again, error) {
	from := d.from.Truncate(time.Hour).Add(2 * time.Hour)
	a := &again{to: from.Add(rolledHours * time.Hour)}
	for _, server := range b.is.Databases {
		if server.Role != string(cluster.Primary) {
			continue
		}
		a.sockets = append(a.sockets, server.Socket)
		var rows float64
		if err := askRoot(ctx, server.Socket, fmt.Sprintf("SELECT COUNT(*) FROM minute_counts WHERE start >= '%s' AND start < '%s'",
			from.Format(time.DateTime), a.to.Format(time.DateTime)), &rows); err != nil {
			return nil, err
		}
		a.rows += rows
	}
	for _, socket := range a.sockets {
		if err := forgetHours(ctx, socket, from); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// forgetHours makes a shard forget the hours from an instant on.
func forgetHours(ctx context.Context, socket string, from time.Time) error {
	db, err := openRoot(socket)
	if err != nil {
		return err
	}
	defer db.Close()
	first := from.Format(time.DateTime)
	for _, statement := range []string{
		"UPDATE rollup_watermarks SET complete_before = ?, computing_before = NULL WHERE resolution = 'hour' AND complete_before > ?",
		"DELETE FROM hour_counts WHERE start >= ? AND start >= ?",
	} {
		if _, err := db.ExecContext(ctx, statement, first, first); err != nil {
			return fmt.Errorf("set the watermark back: %w", err)
		}
	}
	return nil
}

// await looks until a condition holds.
func (a *again) await(ctx context.Context, holds func(context.Context) (bool, error)) error {
	for deadline := time.Now().Add(rollupPatience); ; {
		if done, err := holds(ctx); err != nil || done {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the roll-up of %.0f rows did not get on within %s", a.rows, rollupPatience)
		}
		if err := wait.For(ctx, rollupLook); err != nil {
			return err
		}
	}
}

// begun tells whether a first hour is being computed.
func (a *again) begun(ctx context.Context) (bool, error) {
	for _, socket := range a.sockets {
		var computing int
		err := askRoot(ctx, socket, "SELECT COUNT(*) FROM rollup_watermarks WHERE resolution = 'hour' AND computing_before > complete_before", &computing)
		if err != nil || computing > 0 {
			return true, err
		}
	}
	return false, nil
}

// ended tells whether every watermark passed the last hour.
func (a *again) ended(ctx context.Context) (bool, error) {
	for _, socket := range a.sockets {
		var before string
		if err := askRoot(ctx, socket, "SELECT CAST(complete_before AS CHAR) FROM rollup_watermarks WHERE resolution = 'hour'", &before); err != nil {
			return false, err
		}
		if before < a.to.Format(time.DateTime) {
			return false, nil
		}
	}
	return true, nil
}

// bucket counts observations up to a bound, in seconds.
type bucket struct{ bound, count float64 }

// histogram is what a histogram of all shard proxies observed meanwhile; buckets ascend and include those before.
type histogram []bucket

// applyTimes runs work and returns how long the transactions of Apply took meanwhile.
func (b *bench) applyTimes(ctx context.Context, work func() error) (histogram, error) {
	before, err := b.scrapeAll(ctx)
	if err != nil {
		return nil, err
	}
	if err := work(); err != nil {
		return nil, err
	}
	after, err := b.scrapeAll(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[float64]float64{}
	for series, v := range after {
		_, bound, found := strings.Cut(series, `le="`)
		if !found || !strings.HasPrefix(series, applySeconds+"_bucket") {
			continue
		}
		bound, _, _ = strings.Cut(bound, `"`)
		upTo, err := strconv.ParseFloat(bound, 64) // +Inf as well
		if err != nil {
			return nil, fmt.Errorf("read bound of %s: %w", series, err)
		}
		counts[upTo] += v - before[series]
	}
	var h histogram
	for bound, count := range counts {
		h = append(h, bucket{bound, count})
	}
	slices.SortFunc(h, func(a, b bucket) int {
		if a.bound < b.bound {
			return -1
		}
		return 1
	})
	if h.count() == 0 {
		return nil, fmt.Errorf("no Apply was timed")
	}
	return h, nil
}

// and adds the times of another histogram of the same metric.
func (h histogram) and(other histogram) histogram {
	sum := slices.Clone(h)
	for i := range sum {
		sum[i].count += other[i].count
	}
	return sum
}

func (h histogram) count() float64 {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].count
}

// quantile is linear within a bucket; bounds are a quarter apart.
func (h histogram) quantile(q float64) float64 {
	rank, last := q*h.count(), bucket{}
	for _, b := range h {
		if b.count >= rank && !math.IsInf(b.bound, 1) {
			return last.bound + (b.bound-last.bound)*(rank-last.count)/max(b.count-last.count, 1)
		}
		if !math.IsInf(b.bound, 1) {
			last = b
		}
	}
	return last.bound
}
