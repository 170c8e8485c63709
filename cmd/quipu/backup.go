package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/backup"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
)

func newBackupCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Back shards up to cold storage, and restore them",
		Long: `Makes physical backups of a shard's database with mariadb-backup, in the cold storage of
archive.url, and data folders of them. What a shard counted since its backup comes from the
event log, which must reach back to it: see docs/backup.md.`,
		Example: `  quipu backup create --shard s1 --keep 7
  quipu backup list
  quipu backup restore latest --shard s1 --into /var/lib/mysql`,
	}
	c.AddCommand(newBackupCreateCommand(s), newBackupListCommand(s), newBackupVerifyCommand(s), newBackupRestoreCommand(s))
	return c
}

// backupOptions are the flags of the commands that know one shard.
type backupOptions struct {
	shard    string
	database string
	keep     int
	into     []string
	term     uint64
	force    bool
	json     bool
}

func (o *backupOptions) check() error {
	if o.shard == "" {
		return usagef("flag --shard is needed")
	}
	return nil
}

func newBackupCreateCommand(s *settings) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "create",
		Short: "Back one shard up",
		Long: `Backs one shard up, from a replica if it has one, while everything goes on. It runs on the
host of that database, as a user that may read the database's files, and connects as
accounts.backup. The backup streams through zstd into cold storage; its description is
written last, so that one that stopped half way is never taken for a backup.

--keep N deletes all but the newest N backups of the shard once this one is complete.`,
		Example: `  quipu backup create --shard s1
  quipu backup create --shard s1 --database s1-b --keep 7`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.keep < 0 {
				return usagef("flag --keep must not be negative, is %d", o.keep)
			}
			return createBackup(c, cfg, &o)
		}),
	}
	c.Flags().StringVar(&o.shard, "shard", "", "`shard` to back up (needed)")
	c.Flags().StringVar(&o.database, "database", "", "`database` of the shard to take it from (default: a replica, if there is one)")
	c.Flags().IntVar(&o.keep, "keep", 0, "backups of the shard to keep, this one included; 0: all")
	return c
}

func createBackup(c *cobra.Command, cfg *config.Effective, o *backupOptions) error {
	password, err := cfg.Accounts.Backup.ReadPassword()
	if err != nil {
		return err
	}
	return withBackups(c, cfg, func(ctx context.Context, in *connected, store *blob.Store) error {
		database, err := chooseDatabase(&in.snapshot.Topology, o)
		if err != nil {
			return err
		}
		made, err := backup.Create(ctx, backup.CreateConfig{
			Store: store, Logger: in.log,
			Source: backup.Source{
				ClusterID: in.snapshot.Settings.ClusterID, Shard: o.shard, Database: database.ID, Address: database.Address,
				User: cfg.Accounts.Backup.User, Password: password,
			},
		})
		if err != nil {
			return err
		}
		d := made.Description
		fmt.Fprintf(c.OutOrStdout(), "backup %s of shard %s from %s: %s in %s, %d objects\n", made.Name, o.shard, database.ID,
			config.Size(compressed(d)), d.Ended.Sub(d.Begun).Round(100*time.Millisecond), len(d.Parts)+1)
		if o.keep == 0 {
			return nil
		}
		deleted, err := backup.Prune(ctx, store, o.shard, o.keep, time.Now())
		for _, name := range deleted {
			fmt.Fprintf(c.OutOrStdout(), "deleted %s\n", name)
		}
		return err
	})
}

func compressed(d *backup.Description) (bytes int64) {
	for _, p := range d.Parts {
		bytes += p.Bytes
	}
	return bytes
}

// chooseDatabase is the one that was named, else a replica, else the primary.
func chooseDatabase(t *cluster.Topology, o *backupOptions) (cluster.Database, error) {
	shard, ok := t.Shard(o.shard)
	if !ok || len(shard.Databases) == 0 {
		return cluster.Database{}, usagef("the topology has no shard %q with a database", o.shard)
	}
	var names []string
	best := shard.Databases[0]
	for _, d := range shard.Databases {
		if d.ID == o.database {
			return d, nil
		}
		if d.Role == cluster.Replica && best.Role != cluster.Replica {
			best = d
		}
		names = append(names, d.ID)
	}
	if o.database != "" {
		return cluster.Database{}, usagef("shard %s has no database %q; it has %s", o.shard, o.database, strings.Join(names, ", "))
	}
	return best, nil
}

// withBackups connects a command with the cluster and with cold storage.
func withBackups(c *cobra.Command, cfg *config.Effective, work func(context.Context, *connected, *blob.Store) error) error {
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		return withCold(ctx, cfg, func(store *blob.Store) error { return work(ctx, in, store) })
	})
}

func withCold(ctx context.Context, cfg *config.Effective, work func(*blob.Store) error) (err error) {
	store, err := openCold(ctx, cfg, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return work(store)
}

func newBackupListCommand(s *settings) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "list",
		Short: "List the backups of the shards",
		Long: `Lists the backups of every shard, or of one, the oldest first, with what they take and
whether the event log reaches back to them. One without a description is incomplete: it is
being made, or was never finished, and 'quipu backup create --keep' deletes it after a day.`,
		Example: `  quipu backup list
  quipu backup list --shard s1 --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withBackups(c, cfg, func(ctx context.Context, in *connected, store *blob.Store) error {
				return listBackups(ctx, c.OutOrStdout(), in, store, &o)
			})
		}),
	}
	c.Flags().StringVar(&o.shard, "shard", "", "only this `shard`")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// listedBackup is a line of the list.
type listedBackup struct {
	Shard       string              `json:"shard"`
	Name        string              `json:"name"`
	Complete    bool                `json:"complete"`
	StoredBytes int64               `json:"stored_bytes"`
	LogReaches  string              `json:"log_reaches"` // yes, no, unknown
	Description *backup.Description `json:"description,omitempty"`
}

func listBackups(ctx context.Context, out io.Writer, in *connected, store *blob.Store, o *backupOptions) error {
	shards := []string{o.shard}
	if o.shard == "" {
		shards = nil
		for _, shard := range in.snapshot.Topology.Shards {
			shards = append(shards, shard.ID)
		}
	}
	hold, err := in.eventLog().Hold(ctx)
	if err != nil {
		in.log.Warn("whether the log reaches back to them is not known", "error", err)
	}
	listed := []listedBackup{}
	for _, shard := range shards {
		all, err := backup.List(ctx, store, shard)
		if err != nil {
			return err
		}
		for _, b := range all {
			line := listedBackup{Shard: shard, Name: b.Name, Complete: b.Description != nil, StoredBytes: b.Compressed(), LogReaches: "unknown", Description: b.Description}
			if hold != nil && line.Complete {
				line.LogReaches = "yes"
				if len(backup.Reach(b.Description.Checkpoints, hold)) > 0 {
					line.LogReaches = "no"
				}
			}
			listed = append(listed, line)
		}
	}
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(listed)
	}
	rows := [][]string{{"SHARD", "BACKUP", "FROM", "SIZE", "STORED", "LOG REACHES BACK"}}
	for _, b := range listed {
		from, size := "incomplete", "-"
		if b.Complete {
			from, size = b.Description.Database, config.Size(b.Description.Bytes).String()
		}
		rows = append(rows, []string{b.Shard, b.Name, from, size, config.Size(b.StoredBytes).String(), b.LogReaches})
	}
	return printTable(out, rows)
}

func newBackupVerifyCommand(s *settings) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "verify [NAME]",
		Short: "Read a backup through and compare it with its description",
		Long: `Reads a backup through, the latest if none is named: every object must have the size and the
SHA-256 that were noted when it was written, and together they must unpack to as many bytes
as mariadb-backup gave. That a server starts on it only a restore can tell.`,
		Example: `  quipu backup verify --shard s1
  quipu backup verify 20261122T093512Z-1f0c9a3e --shard s1`,
		Args: upToOneArgument("NAME"),
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return withCold(c.Context(), cfg, func(store *blob.Store) error {
				found, err := backup.Find(c.Context(), store, o.shard, nameOr(args))
				if err != nil {
					return err
				}
				if err := backup.Verify(c.Context(), store, found); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "backup %s of shard %s is whole: %d objects, %s\n", found.Name, o.shard, len(found.Objects), config.Size(found.Compressed()))
				return err
			})
		}),
	}
	c.Flags().StringVar(&o.shard, "shard", "", "`shard` of the backup (needed)")
	return c
}

// nameOr is the backup that was named, or the latest.
func nameOr(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "latest"
}
