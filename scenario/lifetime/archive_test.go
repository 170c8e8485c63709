package lifetime_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/rollup"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

// archiver is one with bounds so small that they are met.
func (l *life) archiver(until *archive.Until) (*archive.Archiver, error) {
	return archive.New(archive.Config{
		Shards: shards.New(shards.Config{Snapshot: l.Cluster, Client: l.calls, Patience: 5 * time.Second}), Store: l.store, Cluster: clusterID,
		Until: until, FileRows: 2 + l.n("file rows", 30), PartitionGroup: 1 + l.n("group", 4), Interval: time.Nanosecond,
		LateInterval: time.Duration(1+l.n("late interval", 48)) * time.Hour, MaxFilesPerDay: 1 + l.n("files", 3), SpillDir: l.dir,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Now: l.clock,
	})
}

func (l *life) rollerWith(a rollup.Archive) (*rollup.Roller, error) {
	return rollup.New(rollup.Config{
		Owner: fmt.Sprintf("r%d-%d", l.sequence, l.checked), Snapshot: l.Cluster, Client: l.calls, Lock: l.await, ChunkRows: 7, Ranked: 3, Patience: 5 * time.Second, Now: l.clock,
		Archive: a, Registerer: prometheus.NewRegistry(),
	})
}

// archive rolls up and archives up to some day, or tidies up what is archived.
func (l *life) archive() error {
	until := &archive.Until{Before: l.clock().AddDate(0, 0, -l.n("days ago", 6)), Resolutions: []string{"minute"}}
	if l.n("hours too", 3) == 0 {
		until.Resolutions = append(until.Resolutions, "hour")
	}
	if l.n("nothing new", 4) == 0 {
		until.Before = time.Unix(0, 0)
	}
	l.note("  %v before %s", until.Resolutions, until.Before.Format(time.DateTime))
	a, err := l.archiver(until)
	if err != nil {
		return err
	}
	roller, err := l.rollerWith(a)
	if err != nil {
		return err
	}
	return l.dying(func(ctx context.Context) error { return roller.RunOnce(ctx, "s1", until.Before) })
}

// leading does work as the leader of the shard.
func (l *life) leading(work func(context.Context, *archive.Archiver, wire.Leader) error) error {
	a, err := l.archiver(nil)
	if err != nil {
		return err
	}
	roller, err := l.rollerWith(nil)
	if err != nil {
		return err
	}
	return l.dying(func(ctx context.Context) error {
		return roller.Lead(ctx, "s1", func(ctx context.Context, leader wire.Leader) error { return work(ctx, a, leader) })
	})
}

// days draws a range of whole days, some weeks around now.
func (l *life) days() (from, to int64) {
	from = (l.now.Load()/60/day - int64(l.n("days back", 40))) * day
	return from, from + day*int64(1+l.n("days", 6))
}

func (l *life) compact() error {
	from, to := l.days()
	return l.leading(func(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
		_, err := a.Compact(ctx, "s1", leader, from, to)
		return err
	})
}

// restore brings a range back. What is not cold as a whole, or restored in part, is refused.
func (l *life) restore() error {
	from, to := l.days()
	resolution := l.resolution()
	l.note("  %s from %s to %s", resolution, instant(from), instant(to))
	err := l.leading(func(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
		_, err := a.Restore(ctx, "s1", leader, resolution, from, to)
		return err
	})
	if err == nil {
		l.restored = append(l.restored, restored{resolution, from, to})
	}
	return l.unlessRefused("restore", err)
}

// release ends a range that was brought back, if it still is.
func (l *life) release() error {
	i := l.n("which", len(l.restored))
	r := l.restored[i]
	l.restored = append(l.restored[:i], l.restored[i+1:]...)
	l.note("  %s from %s to %s", r.resolution, instant(r.from), instant(r.to))
	return l.unlessRefused("release", l.leading(func(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
		return a.Release(ctx, "s1", leader, r.resolution, r.from, r.to)
	}))
}

type restored struct {
	resolution string
	from, to   int64
}

func (l *life) resolution() string { return []string{"minute", "minute", "hour"}[l.n("resolution", 3)] }

// unlessRefused passes over refusals: the ranges are random.
func (l *life) unlessRefused(what string, err error) error {
	switch wire.CodeOf(err) {
	case wire.CodeConflict, wire.CodeUnprocessable, wire.CodeBadRequest, wire.CodeNotFound:
		l.did[what+" refused"]++
		return nil
	}
	return err
}

// verify holds cold storage against the manifest, and removes what nothing refers to.
func (l *life) verify() error {
	a, err := l.archiver(nil)
	if err != nil {
		return err
	}
	report, err := a.Verify(context.Background(), archive.Check{Sample: 1, From: l.now.Load()/60 - 90*day})
	if err != nil {
		return err
	}
	if report.Errors() > 0 {
		return fmt.Errorf("cold storage is not what the manifest says: %+v", report.Findings)
	}
	removed, err := a.RemoveOrphans(context.Background())
	l.did["orphans removed"] += len(removed)
	return err
}
