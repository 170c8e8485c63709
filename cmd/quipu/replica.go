package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/failover"
)

func newReplicaCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "replica",
		Short: "Rebuild replicas that can't follow any more",
		Long: `Looks after the replicas of shards. One that holds what its primary lacks has diverged: it is
not read and can't follow until it is rebuilt. quipu cluster show says which do.`,
		Example: `  quipu replica rebuild --shard s1 --database s1-a
  quipu replica attach --shard s1 --database s1-a`,
	}
	c.AddCommand(newReplicaRebuildCommand(s), newReplicaAttachCommand(s))
	return c
}

func newReplicaAttachCommand(s *settings) *cobra.Command {
	var shard, database string
	c := &cobra.Command{
		Use:   "attach",
		Short: "Have a database follow that was filled anew by other means",
		Long: `Has a database that had diverged compared with the primary again, after it was filled anew on
its host, and makes it follow if its history is a part of the primary's.`,
		Example: `  quipu replica attach --shard s1 --database s1-a`,
		Args:    noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if shard == "" || database == "" {
				return usagef("flags --shard and --database are needed")
			}
			return withKeeper(c, cfg, nil, func(ctx context.Context, _ *connected, k *failover.Keeper) error {
				if err := k.Attach(ctx, shard, database); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s follows the primary of shard %s\n", database, shard)
				return err
			})
		}),
	}
	c.Flags().StringVar(&shard, "shard", "", "the `shard` (needed)")
	c.Flags().StringVar(&database, "database", "", "`database` of the shard (needed)")
	return c
}

// rebuiltSchemas are those that a shard's databases hold.
func rebuiltSchemas() []string { return []string{"quipu", "analytics"} }

// copyReport is how often a copy of a table says how far it came.
const copyReport = 5 * time.Second

func newReplicaRebuildCommand(s *settings) *cobra.Command {
	var r failover.RebuildRequest
	c := &cobra.Command{
		Use:   "rebuild",
		Short: "Fill a database anew from another one of its shard",
		Long: `Empties a database that is not the primary, fills it with what another database of the shard
holds, over SQL, and has it follow the primary. Everything goes on meanwhile; the database is
not read before it follows. If it was interrupted, run it again.

For a database of hundreds of gigabytes a copy with the server's own tools, on the hosts, and
then quipu replica attach, is quicker.

It connects as accounts.rebuild, besides accounts.failover and accounts.replicate.`,
		Example: `  quipu replica rebuild --shard s1 --database s1-a
  quipu replica rebuild --shard s1 --database s1-a --from s1-c`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if r.Shard == "" || r.Database == "" {
				return usagef("flags --shard and --database are needed")
			}
			password, err := cfg.Accounts.Rebuild.ReadPassword()
			if err != nil {
				return err
			}
			r.Account = failover.Account{User: cfg.Accounts.Rebuild.User, Password: password}
			r.Schemas = rebuiltSchemas()
			r.Progress = reportCopy(c.OutOrStdout())
			return withKeeper(c, cfg, nil, func(ctx context.Context, _ *connected, k *failover.Keeper) error {
				begun := time.Now()
				from, err := k.Rebuild(ctx, r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s is a copy of %s and follows the primary of shard %s (%.1f s)\n",
					r.Database, from, r.Shard, time.Since(begun).Seconds())
				return err
			})
		}),
	}
	c.Flags().StringVar(&r.Shard, "shard", "", "the `shard` (needed)")
	c.Flags().StringVar(&r.Database, "database", "", "`database` of the shard to fill anew (needed)")
	c.Flags().StringVar(&r.From, "from", "", "`database` of the shard to copy (default: a replica that follows, else the primary)")
	return c
}

// reportCopy says which tables are copied, and now and then how far a long one came.
func reportCopy(out io.Writer) func(table string, rows int64, done bool) {
	said := time.Now()
	return func(table string, rows int64, done bool) {
		switch {
		case done && rows > 0:
			fmt.Fprintf(out, "%s: %d rows\n", table, rows)
		case !done && time.Since(said) >= copyReport:
			fmt.Fprintf(out, "%s: %d rows so far\n", table, rows)
		default:
			return
		}
		said = time.Now()
	}
}
