package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/wire"
)

func newArchiveRunCommand(s *settings) *cobra.Command {
	o := &archiveOptions{}
	var until string
	var resolutions []string
	c := &cobra.Command{
		Use:   "run",
		Short: "Move rows to cold storage now, up to an instant, and end",
		Long: `Freezes and archives all rows of whole days before the given instant, whatever their
retention, and what was added late to days in cold storage. Only minutes, unless
--resolution names others. No resolution goes beyond what the roll-up completed in the next
coarser one; what is closed is rolled up first.

It does what the role rollup does by itself, and may run beside it. The role drops the rows
from the shards a little later (archive.drop_delay). There is no way back but restore.`,
		Example: `  quipu archive run --until 2026-11-01T00:00:00Z
  quipu archive run --until 2026-01-01T00:00:00Z --resolution minute,hour --shard s1`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			at, err := parseUntil(until)
			if err != nil {
				return err
			}
			for _, resolution := range resolutions {
				if err := checkResolution(resolution); err != nil {
					return err
				}
			}
			o.until = &archive.Until{Before: at, Resolutions: resolutions}
			return withArchive(c, cfg, o, func(ctx context.Context, d *archiveDesk) error {
				if err := d.run(ctx, time.Now().Add(-cfg.Rollup.Delay)); err != nil {
					return err
				}
				return d.show(ctx, c.OutOrStdout(), false)
			})
		}),
	}
	c.Flags().StringVar(&until, "until", "", "`instant` in RFC 3339, not in the future (needed)")
	c.Flags().StringSliceVar(&resolutions, "resolution", []string{"minute"}, "`resolutions`: minute, hour, day, with commas between")
	o.bindShard(c)
	return c
}

// run goes on where another one took over meanwhile: it may have had less to do.
func (d *archiveDesk) run(ctx context.Context, closed time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, shard := range d.shards {
		group.Go(func() error {
			for {
				err := d.roller.RunOnce(ctx, shard, closed)
				if err == nil || wire.CodeOf(err) != wire.CodeFenced {
					return errors.Join(err, ctx.Err())
				}
			}
		})
	}
	return group.Wait()
}

func newArchiveCompactCommand(s *settings) *cobra.Command {
	o, when := &archiveOptions{}, &days{}
	c := &cobra.Command{
		Use:   "compact",
		Short: "Merge small objects of each day into one",
		Long: `Merges the small objects that a day has in cold storage, those with less than half of
archive.file_rows, into as few as can be: late events make one each time. The role rollup
does so by itself for days with more than archive.max_files_per_day of them. No answer
changes; the objects that were replaced are deleted after archive.delete_grace.`,
		Example: `  quipu archive compact
  quipu archive compact --from 2026-01-01 --to 2026-02-01`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			from, to, err := when.minutes()
			if err != nil {
				return err
			}
			return withArchive(c, cfg, o, func(ctx context.Context, d *archiveDesk) error {
				return d.eachShard(ctx, func(ctx context.Context, shard string, leader wire.Leader) error {
					merged, err := d.archiver.Compact(ctx, shard, leader, from, to)
					fmt.Fprintf(c.OutOrStdout(), "shard %s: %d objects were written in place of others\n", shard, merged)
					return err
				})
			})
		}),
	}
	when.bind(c, "whose objects are merged")
	o.bindShard(c)
	return c
}

func newArchiveRestoreCommand(s *settings) *cobra.Command {
	o, when := &archiveOptions{}, &days{}
	var resolution string
	var release bool
	c := &cobra.Command{
		Use:   "restore",
		Short: "Bring days back from cold storage into the shards, or release them",
		Long: `Copies the rows of whole days back from cold storage into the shards, whose tables answer for
them from then on, in SQL too: for long work on old detail. Late events count as ever. What
is in cold storage stays there. --release ends it: cold storage answers again, and the
copies are dropped.

A range is released as it was restored: with the same days.`,
		Example: `  quipu archive restore --resolution minute --from 2026-01-01 --to 2026-01-08
  quipu archive restore --release --resolution minute --from 2026-01-01 --to 2026-01-08`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			from, to, err := when.minutes()
			if err != nil {
				return err
			}
			if when.from == "" || when.to == "" {
				return usagef("flags --from and --to are needed")
			}
			if err := checkResolution(resolution); err != nil {
				return err
			}
			return withArchive(c, cfg, o, func(ctx context.Context, d *archiveDesk) error {
				return d.eachShard(ctx, func(ctx context.Context, shard string, leader wire.Leader) error {
					if release {
						err := d.archiver.Release(ctx, shard, leader, resolution, from, to)
						if err == nil {
							fmt.Fprintf(c.OutOrStdout(), "shard %s: released\n", shard)
						}
						return err
					}
					rows, err := d.archiver.Restore(ctx, shard, leader, resolution, from, to)
					if err == nil {
						fmt.Fprintf(c.OutOrStdout(), "shard %s: %d rows are back\n", shard, rows)
					}
					return err
				})
			})
		}),
	}
	c.Flags().StringVar(&resolution, "resolution", "minute", "`resolution`: minute, hour or day")
	when.bind(c, "that are brought back")
	c.Flags().BoolVar(&release, "release", false, "end it: read these days from cold storage again")
	o.bindShard(c)
	return c
}
