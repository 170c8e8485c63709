package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/backup"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

func newBackupRestoreCommand(s *settings) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "restore [NAME]",
		Short: "Make data folders of a backup",
		Long: `Makes a data folder of a backup, the latest if none is named: downloads and compares it,
unpacks and prepares it, gives the shard a new term and the folder its replication position.
The folder must be empty or missing. No server may run on it; starting one is the next step,
which is told at the end, with how replicas go on.

All databases of a shard are restored from the same backup with the same term: --into may be
given several times; on another host, give the --term that was told here.

It refuses a backup to which the event log does not reach back: what the shard counted since
would be lost. --force restores without asking the log.`,
		Example: `  quipu backup restore --shard s1 --into /var/lib/mysql
  quipu backup restore latest --shard s1 --into data/s1-a/data --into data/s1-b/data
  quipu backup restore 20261122T093512Z-1f0c9a3e --shard s1 --into /var/lib/mysql --term 1795340112`,
		Args: upToOneArgument("NAME"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if len(o.into) == 0 {
				return usagef("flag --into is needed")
			}
			return restoreBackup(c, cfg, &o, nameOr(args))
		}),
	}
	c.Flags().StringVar(&o.shard, "shard", "", "`shard` to restore (needed)")
	c.Flags().StringArrayVar(&o.into, "into", nil, "data `folder` to make (needed; several times for several databases)")
	c.Flags().Uint64Var(&o.term, "term", 0, "the shard's new `term`, larger than any before (default: seconds since 1970)")
	c.Flags().BoolVar(&o.force, "force", false, "restore without asking whether the event log reaches back")
	return c
}

func restoreBackup(c *cobra.Command, cfg *config.Effective, o *backupOptions, name string) error {
	ctx := c.Context()
	return withCold(ctx, cfg, func(store *blob.Store) error {
		found, err := backup.Find(ctx, store, o.shard, name)
		if err != nil {
			return err
		}
		if !o.force {
			if err := checkReach(c, cfg, found); err != nil {
				return err
			}
		}
		if o.term == 0 {
			o.term = uint64(time.Now().Unix())
		}
		restored, err := o.restore(ctx, store, found, logger(c.ErrOrStderr(), cfg))
		if err != nil {
			return err
		}
		return tellNextSteps(c.OutOrStdout(), o, found, restored)
	})
}

func (o *backupOptions) restore(ctx context.Context, store *blob.Store, found *backup.Stored, log *slog.Logger) (restored *backup.Restored, err error) {
	for _, dir := range o.into {
		restored, err = backup.Restore(ctx, backup.RestoreConfig{Store: store, Backup: found, Into: dir, Term: o.term, Logger: log})
		if err != nil {
			return nil, err
		}
	}
	return restored, nil
}

// errReach is why a restore is refused.
var errReach = errors.New("the event log does not reach back to this backup: what the shard counted since would be lost")

// checkReach asks the log. Between this and the restored database's first answer nothing is trimmed: a database is missing.
func checkReach(c *cobra.Command, cfg *config.Effective, found *backup.Stored) error {
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		if d := found.Description; d.ClusterID != in.snapshot.Settings.ClusterID {
			return fmt.Errorf("%w: the backup is of cluster %s, this is %s", backup.ErrOther, d.ClusterID, in.snapshot.Settings.ClusterID)
		}
		hold, err := in.eventLog().Hold(ctx)
		if err != nil {
			return fmt.Errorf("ask whether the log reaches back to the backup (--force does not): %w", err)
		}
		return reachError(found, hold)
	})
}

func reachError(found *backup.Stored, hold *wire.LogHold) error {
	missing := backup.Reach(found.Description.Checkpoints, hold)
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w (%s); another backup may do, raw events in cold storage reach further back, and --force restores all the same",
		errReach, strings.Join(missing[:min(len(missing), 3)], "; "))
}

func tellNextSteps(out io.Writer, o *backupOptions, found *backup.Stored, r *backup.Restored) error {
	_, err := fmt.Fprintf(out, `shard %[1]s is restored from backup %[2]s into %[3]s
  position: %[4]s   term: %[5]d

Next:
1. Other databases of the shard, on other hosts: quipu backup restore %[2]s --shard %[1]s --term %[5]d --into FOLDER
2. Start the primary. Shard proxies use it as soon as it answers; the writers find the older checkpoints and count again from
   the event log what came since the backup.
3. Start the replicas, and on each:
     CHANGE MASTER TO MASTER_HOST='…', MASTER_PORT=…, MASTER_USER='…', MASTER_PASSWORD='…', MASTER_USE_GTID=slave_pos; START SLAVE;
   The position is set already.
4. quipu archive recount compares the counts with the raw events.
`, o.shard, found.Name, strings.Join(o.into, ", "), r.Position, r.Term)
	return err
}
