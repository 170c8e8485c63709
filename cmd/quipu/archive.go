package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/rollup"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

// leadPatience is how long a command waits for the lead of a shard: the role may be amid many rows.
const leadPatience = 15 * time.Minute

func newArchiveCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{
		Use:   "archive",
		Short: "Look after cold storage",
		Long: `Looks after what is in cold storage: counts, which the role rollup moves there by itself once
they are older than their retention, and raw events. These commands show how far it came,
check what is there, and do by hand what it does or what it never does.

Settings: the sections retention and archive; archive.url says where cold storage is.`,
		Example: `  quipu archive status
  quipu archive verify --from 2026-01-01
  quipu archive restore --resolution minute --from 2026-01-01 --to 2026-01-08
  quipu archive raw status`,
	}
	parent.AddCommand(
		newArchiveStatusCommand(s), newArchiveVerifyCommand(s), newArchiveRunCommand(s), newArchiveCompactCommand(s), newArchiveRestoreCommand(s),
		newArchiveRawCommand(s), newArchiveRecountCommand(s),
	)
	return parent
}

// newShardCalls calls shards with time for what takes the shard long: an archive's commit sums up all of its rows.
func newShardCalls(cfg *config.Effective, token string, snapshot func() *cluster.Snapshot) (caller *shards.Caller, closeCalls func()) {
	longer := *cfg
	longer.HTTP.CallTimeout = max(cfg.HTTP.CallTimeout, cfg.HTTP.WriteTimeout)
	calls := newCalls(&longer, token, commandOrigin)
	return shards.New(shards.Config{Snapshot: snapshot, Client: calls}), calls.Close
}

// archiveConfig is what role and commands have in common.
func archiveConfig(cfg *config.Effective, clusterID string, caller *shards.Caller, store *blob.Store) archive.Config {
	return archive.Config{
		Shards: caller, Store: store, Cluster: clusterID, FileRows: cfg.Archive.FileRows, PartitionGroup: cfg.Archive.PartitionGroup,
		MaxFilesPerDay: cfg.Archive.MaxFilesPerDay, DropDelay: cfg.Archive.DropDelay, DeleteGrace: cfg.Archive.DeleteGrace, Pause: cfg.Rollup.Pause,
		SpillDir: filepath.Join(cfg.Cluster.DataDir, "archive"),
	}
}

// newRoleArchiver makes the archiver of the role; nil if there is no cold storage.
func newRoleArchiver(ctx context.Context, h *host) (a *archive.Archiver, closeAll func() error, err error) {
	if h.cfg.Archive.URL == "" {
		h.log.Info("there is no cold storage (archive.url): counts are kept for ever, whatever their retention")
		return nil, func() error { return nil }, nil
	}
	token, err := h.cfg.Auth.ReadInternalToken()
	if err != nil {
		return nil, nil, err
	}
	store, err := openCold(ctx, h.cfg, h.registry)
	if err != nil {
		return nil, nil, err
	}
	caller, closeCalls := newShardCalls(h.cfg, token, h.directory.Snapshot)
	closeAll = func() error { closeCalls(); return store.Close() }
	cfg := archiveConfig(h.cfg, h.directory.Snapshot().Settings.ClusterID, caller, store)
	kept := h.cfg.Retention
	cfg.Retention = archive.Retention{Minutes: kept.Minutes, Hours: kept.Hours, Days: kept.Days}
	cfg.Interval, cfg.Settle, cfg.LateInterval = h.cfg.Archive.Interval, h.cfg.Archive.Settle, h.cfg.Archive.LateInterval
	cfg.Logger, cfg.Registerer = h.log, h.registry
	if a, err = archive.New(cfg); err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return a, closeAll, nil
}

// archiveDesk is what the commands work with.
type archiveDesk struct {
	in       *connected
	calls    *shards.Caller
	shards   []string // those asked for
	archiver *archive.Archiver
	roller   *rollup.Roller
	grace    time.Duration // of what nothing refers to
}

// archiveOptions are the flags of the commands.
type archiveOptions struct {
	shard string
	until *archive.Until // of run
	json  bool
}

// withArchive connects a command with the cluster and with cold storage.
func withArchive(c *cobra.Command, cfg *config.Effective, o *archiveOptions, work func(context.Context, *archiveDesk) error) error {
	if cfg.Archive.URL == "" {
		return errNoColdStorage
	}
	return withShards(c, cfg, o, func(ctx context.Context, d *archiveDesk) (err error) {
		store, err := openCold(ctx, cfg, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		said := *cfg
		if said.Log.Level == "warn" || said.Log.Level == "error" {
			said.Log.Level = "info" // what was done is what people want to see
		}
		ac := archiveConfig(cfg, d.in.snapshot.Settings.ClusterID, d.calls, store)
		ac.SpillDir = os.TempDir()
		ac.Until, ac.Registerer, ac.Logger = o.until, prometheus.NewRegistry(), logger(c.ErrOrStderr(), &said)
		if d.archiver, err = archive.New(ac); err != nil {
			return err
		}
		if d.roller, err = d.newRoller(cfg, ac.Logger, o.until != nil); err != nil {
			return err
		}
		return work(ctx, d)
	})
}

// errNoColdStorage is for commands that can do nothing without.
var errNoColdStorage = usagef("there is no cold storage: archive.url is empty")

func (d *archiveDesk) newRoller(cfg *config.Effective, log *slog.Logger, archives bool) (*rollup.Roller, error) {
	rc := rollup.Config{
		Owner: newOwner("command"), Snapshot: func() *cluster.Snapshot { return d.in.snapshot }, Client: d.in.calls, Lock: d.in.zk.Lock,
		ChunkRows: cfg.Rollup.ChunkRows, Pause: cfg.Rollup.Pause, Ranked: cfg.Rollup.Ranked, LockWait: leadPatience, Logger: log, Registerer: prometheus.NewRegistry(),
	}
	if archives {
		rc.Archive = d.archiver
	}
	return rollup.New(rc)
}

// withShards connects a command with the shards that it is about.
func withShards(c *cobra.Command, cfg *config.Effective, o *archiveOptions, work func(context.Context, *archiveDesk) error) error {
	token, err := cfg.Auth.ReadInternalToken()
	if err != nil {
		return err
	}
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		caller, closeCalls := newShardCalls(cfg, token, func() *cluster.Snapshot { return in.snapshot })
		defer closeCalls()
		d := &archiveDesk{in: in, calls: caller, shards: caller.IDs(), grace: cfg.Archive.DeleteGrace}
		if o.shard != "" {
			if !slices.Contains(d.shards, o.shard) {
				return usagef("the topology has no shard %q", o.shard)
			}
			d.shards = []string{o.shard}
		}
		return work(ctx, d)
	})
}

// eachShard leads the shards one after the other.
func (d *archiveDesk) eachShard(ctx context.Context, work func(ctx context.Context, shard string, leader wire.Leader) error) error {
	for _, shard := range d.shards {
		d.in.log.Debug("waiting for the lead", "shard", shard)
		if err := d.roller.Lead(ctx, shard, func(ctx context.Context, leader wire.Leader) error { return work(ctx, shard, leader) }); err != nil {
			return fmt.Errorf("shard %s: %w", shard, err)
		}
	}
	return nil
}

func (o *archiveOptions) bindShard(c *cobra.Command) {
	c.Flags().StringVar(&o.shard, "shard", "", "only this `shard`")
}

// days are the flags --from and --to.
type days struct{ from, to string }

func (d *days) bind(c *cobra.Command, what string) {
	c.Flags().StringVar(&d.from, "from", "", "first `day` "+what+", like 2026-01-31 (UTC)")
	c.Flags().StringVar(&d.to, "to", "", "`day` before which "+what+" end")
}

// minutes reads the flags; 0 is a flag that is not given.
func (d *days) minutes() (from, to int64, err error) {
	if from, err = parseDay("--from", d.from); err != nil {
		return 0, 0, err
	}
	if to, err = parseDay("--to", d.to); err != nil {
		return 0, 0, err
	}
	if d.to != "" && to <= from {
		return 0, 0, usagef("flag --to must be after --from")
	}
	return from, to, nil
}

func parseDay(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil || at.Unix() < 0 {
		return 0, usagef("flag %s must be a day like 2026-01-31, is %q", flag, text)
	}
	return at.Unix() / 60, nil
}

func checkResolution(resolution string) error {
	if !slices.Contains([]string{"minute", "hour", "day"}, resolution) {
		return usagef("flag --resolution must be minute, hour or day, is %q", resolution)
	}
	return nil
}
