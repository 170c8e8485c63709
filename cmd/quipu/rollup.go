package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/rollup"
	"github.com/quipudb/quipu/wire"
)

func newRollupCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "rollup",
		Short: "Run the compactor: adds up minutes, hours, days; archives what is old",
		Long: `Runs the role that compacts: some time after an hour has ended (rollup.delay) it has each
shard add up the minutes of the hour, key range by key range in small transactions, and the
hours of a day once all of them are closed. No answer changes by it: late events are counted
at every resolution that holds their minute already. Any number may run; one at a time works
on a shard, and the next goes on where it stopped.

What is older than its retention it moves to cold storage, if there is any, and drops it
from the shards (see quipu archive).

Settings: the sections rollup, retention and archive.`,
		Example: `  quipu rollup --config /etc/quipu/quipu.yaml
  quipu rollup status
  quipu rollup run --until 2026-11-22T00:00:00Z`,
		Args: cobra.NoArgs,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return runRole(c, cfg, post{role: cluster.RoleRollup, listen: cfg.Rollup.Listen, advertise: cfg.Rollup.Advertise}, buildRollup)
		}),
	}
	s.bindRole(c, "rollup")
	c.AddCommand(newRollupStatusCommand(s), newRollupRunCommand(s))
	return c
}

// buildRollup wires the compactor.
//
//	ZooKeeper client ──► lock of a shard ──► roller ──HTTP──► shard proxies (directory: which live)
//	                                           └─ archiver of counts ──► the same, and cold storage
//	                     lock of a partition ──► archiver of raw events ──HTTP──► ingest, and cold storage
//	HTTP server: probes and metrics only
func buildRollup(ctx context.Context, h *host) (d duty, err error) {
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for _, c := range closers {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	archiver, closeArchive, err := newRoleArchiver(ctx, h)
	if err != nil {
		return duty{}, err
	}
	closers = append(closers, closeArchive)
	cfg := h.cfg.Rollup
	rc := rollup.Config{
		Owner: newOwner(h.member.ID), Snapshot: h.directory.Snapshot, Client: h.calls, Lock: h.zk.Lock,
		Delay: cfg.Delay, Interval: cfg.Interval, ChunkRows: cfg.ChunkRows, Pause: cfg.Pause, Ranked: cfg.Ranked, Logger: h.log, Registerer: h.registry,
	}
	if archiver != nil {
		rc.Archive = archiver
	}
	r, err := rollup.New(rc)
	if err != nil {
		return duty{}, err
	}
	raw, closeRaw, err := newRoleRawArchiver(ctx, h)
	if err != nil {
		return duty{}, err
	}
	closers = append(closers, closeRaw)
	run := r.Run
	if raw != nil {
		run = runBoth(run, raw.Run)
	}
	return duty{run: run, close: closeAll}, nil
}

// newOwner tells a process from its own past: an epoch may be given out twice, after a database fell back in time.
func newOwner(name string) string { return name + "." + uuid.NewString()[:8] }

// withRoller runs a command that talks to the shards about their roll-up.
func withRoller(c *cobra.Command, cfg *config.Effective, work func(context.Context, *rollup.Roller, []string) error) error {
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		r, err := rollup.New(rollup.Config{
			Owner: newOwner("command"), Snapshot: func() *cluster.Snapshot { return in.snapshot }, Client: in.calls, Lock: in.zk.Lock,
			ChunkRows: cfg.Rollup.ChunkRows, Pause: cfg.Rollup.Pause, Ranked: cfg.Rollup.Ranked, LockWait: leadPatience,
			Logger: in.log, Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			return err
		}
		var shards []string
		for _, shard := range in.snapshot.Topology.Shards {
			shards = append(shards, shard.ID)
		}
		return work(ctx, r, shards)
	})
}

func newRollupStatusCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far the roll-up of each shard came",
		Long: `Shows, for each shard, before which instant hours and days are complete, how long ago that
was, what is being computed, and who led the roll-up last. Where hours are not complete,
questions are answered from minutes.`,
		Example: `  quipu rollup status
  quipu rollup status --json`,
		Args: cobra.NoArgs,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withRoller(c, cfg, func(ctx context.Context, r *rollup.Roller, shards []string) error {
				return showRollup(ctx, c.OutOrStdout(), r, shards, asJSON)
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showRollup(ctx context.Context, out io.Writer, r *rollup.Roller, shards []string, asJSON bool) error {
	states := make([]*wire.RollupState, 0, len(shards))
	for _, shard := range shards {
		state, err := r.State(ctx, shard)
		if err != nil {
			return fmt.Errorf("ask shard %s: %w", shard, err)
		}
		states = append(states, state)
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(states)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHARD\tRESOLUTION\tCOMPLETE BEFORE\tLAG\tCOMPUTING\tLED LAST BY\tEPOCH")
	for _, s := range states {
		leader := s.Owner
		if leader == "" {
			leader = "nobody yet"
		}
		for _, m := range s.Marks {
			complete, computing := time.Unix(m.CompleteBefore*60, 0).UTC(), "-"
			if m.ComputingBefore > m.CompleteBefore {
				computing = "to " + time.Unix(m.ComputingBefore*60, 0).UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", s.Shard, m.Resolution, complete.Format(time.RFC3339),
				time.Since(complete).Truncate(time.Minute), computing, leader, s.Epoch)
		}
	}
	return w.Flush()
}

func newRollupRunCommand(s *settings) *cobra.Command {
	var until, shard string
	c := &cobra.Command{
		Use:   "run",
		Short: "Roll up once, to an instant, and end",
		Long: `Rolls up every shard once, or one of them (--shard): all hours and days that ended at the
given instant or before. It does what the role rollup does by itself, without waiting for
rollup.delay, and may run beside it. What is complete already stays as it is.`,
		Example: `  quipu rollup run --until 2026-11-22T00:00:00Z
  quipu rollup run --until 2026-11-22T13:00:00Z --shard s1`,
		Args: cobra.NoArgs,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			at, err := parseUntil(until)
			if err != nil {
				return err
			}
			return withRoller(c, cfg, func(ctx context.Context, r *rollup.Roller, shards []string) error {
				if shard != "" {
					if !slices.Contains(shards, shard) {
						return usagef("the topology has no shard %q", shard)
					}
					shards = []string{shard}
				}
				if err := runRollup(ctx, r, shards, at); err != nil {
					return err
				}
				return showRollup(ctx, c.OutOrStdout(), r, shards, false)
			})
		}),
	}
	c.Flags().StringVar(&until, "until", "", "`instant` in RFC 3339, not in the future (needed)")
	c.Flags().StringVar(&shard, "shard", "", "only this `shard`")
	return c
}

func parseUntil(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, usagef("flag --until is needed")
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("flag --until must be an instant like 2026-11-22T13:00:00Z, is %q", text)
	}
	if at.After(time.Now()) {
		return time.Time{}, usagef("flag --until must not be in the future, is %s", text)
	}
	return at, nil
}

// runRollup goes on where another one took over meanwhile: it may have had less to do.
func runRollup(ctx context.Context, r *rollup.Roller, shards []string, until time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, shard := range shards {
		group.Go(func() error {
			for {
				err := r.RunOnce(ctx, shard, until)
				if err == nil || wire.CodeOf(err) != wire.CodeFenced {
					return errors.Join(err, ctx.Err())
				}
			}
		})
	}
	return group.Wait()
}
