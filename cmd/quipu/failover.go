package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/failover"
	"github.com/quipudb/quipu/zookeeper"
)

func newFailoverCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "failover",
		Short: "Run the keeper of the databases: replaces primaries that are lost",
		Long: `Runs the role that looks after the databases of all shards. It lets a primary write that has
started again, makes replicas follow, and replaces a primary that is lost: once more than half
of the shard's proxies and its replicas agree on that for a while (failover.confirm), it takes
the role from the old primary, and gives it to the most advanced replica. What that lacks comes
back from the event log; if the log does not reach back far enough, nothing is done. Any number
may run; one leads, and the next goes on where it stopped.

It connects as accounts.failover, and has replicas connect as accounts.replicate. Settings: the
section failover. docs/failover.md says what happens when, and what to do.`,
		Example: `  quipu failover --config /etc/quipu/quipu.yaml
  quipu failover plan
  quipu failover run --shard s1 --planned`,
		Args: cobra.NoArgs,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			accounts, err := readFailoverAccounts(cfg)
			if err != nil {
				return err
			}
			return runRole(c, cfg, post{role: cluster.RoleFailover, listen: cfg.Failover.Listen, advertise: cfg.Failover.Advertise},
				func(_ context.Context, h *host) (duty, error) { return buildFailover(h, accounts) })
		}),
	}
	s.bindRole(c, "failover")
	c.AddCommand(newFailoverPlanCommand(s), newFailoverRunCommand(s), newFailoverStatusCommand(s))
	return c
}

// failoverAccounts are the users that the keeper works as, and that replicas connect as.
type failoverAccounts struct {
	own, replicate failover.Account
	rebuild        *failover.Account // nil: it rebuilds nothing by itself
}

func readFailoverAccounts(cfg *config.Effective) (a failoverAccounts, err error) {
	for _, account := range []struct {
		from config.Account
		to   *failover.Account
	}{{cfg.Accounts.Failover, &a.own}, {cfg.Accounts.Replicate, &a.replicate}} {
		password, err := account.from.ReadPassword()
		if err != nil {
			return failoverAccounts{}, err
		}
		*account.to = failover.Account{User: account.from.User, Password: password}
	}
	if cfg.Failover.Rebuild {
		password, err := cfg.Accounts.Rebuild.ReadPassword()
		if err != nil {
			return failoverAccounts{}, err
		}
		a.rebuild = &failover.Account{User: cfg.Accounts.Rebuild.User, Password: password}
	}
	return a, nil
}

// buildFailover wires the keeper.
//
//	ZooKeeper client ──► lead, lock of a shard, topology, what was begun
//	directory (which proxies live) ──► keeper ──HTTP──► shard proxies, ingest
//	                                      └──SQL──► every database
//	HTTP server: probes and metrics only
func buildFailover(h *host, accounts failoverAccounts) (duty, error) {
	log := remote.New(remote.Config{URLs: h.urls(cluster.RoleIngest), Client: h.calls})
	k, err := failover.New(failoverConfig(h.cfg, accounts, failover.Config{
		Owner: newOwner(h.member.ID), Store: h.zk, Snapshot: h.directory.Snapshot, Client: h.calls, Log: log, Logger: h.log, Registerer: h.registry,
	}))
	if err != nil {
		return duty{}, err
	}
	return duty{run: k.Run, close: k.Close}, nil
}

// failoverConfig adds the settings.
func failoverConfig(cfg *config.Effective, accounts failoverAccounts, c failover.Config) failover.Config {
	f := cfg.Failover
	c.Account, c.Replicate, c.TLS = accounts.own, accounts.replicate, databaseTLS(cfg.ShardProxy.DatabaseTLS)
	c.Writers = []string{cfg.Accounts.Apply.User, cfg.Accounts.Migrate.User}
	if accounts.rebuild != nil {
		c.Rebuild = &failover.RebuildRequest{Account: *accounts.rebuild, Schemas: rebuiltSchemas(), Progress: func(string, int64, bool) {}}
	}
	c.Automatic, c.Interval, c.Confirm, c.Silence, c.Timeout = f.Automatic, f.Interval, f.Confirm, f.Silence, f.Timeout
	c.Fence, c.CatchUp, c.Drain, c.Rejoin = f.Fence, f.CatchUp, f.Drain, f.Rejoin
	c.Rules = failover.Rules{AcrossZones: f.AcrossZones, MaxAtOnce: f.MaxAtOnce, Pause: f.Pause, MaxPerShard: f.MaxPerShard, Period: f.Period}
	return c
}

// withKeeper runs a command that looks after the databases once.
func withKeeper(c *cobra.Command, cfg *config.Effective, progress func(shard, step string), work func(context.Context, *connected, *failover.Keeper) error) error {
	accounts, err := readFailoverAccounts(cfg)
	if err != nil {
		return err
	}
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		k, err := failover.New(failoverConfig(cfg, accounts, failover.Config{
			Owner: newOwner("command"), Store: in.zk, Snapshot: func() *cluster.Snapshot { return in.snapshot }, Client: in.calls, Log: in.eventLog(),
			Logger: in.log, Registerer: prometheus.NewRegistry(), Progress: progress,
		}))
		if err != nil {
			return err
		}
		return errors.Join(work(ctx, in, k), k.Close())
	})
}

// failoverOptions are the flags of plan and run.
type failoverOptions struct {
	shard  string
	asJSON bool
	failover.Request
}

func (o *failoverOptions) bind(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.shard, "shard", "", "the `shard`")
	f.StringVar(&o.To, "to", "", "`database` that is to become the primary (default: the most advanced)")
	f.BoolVar(&o.Planned, "planned", false, "the primary is alive: drain it, so that the log has nothing to bring back")
	f.BoolVar(&o.AcrossZones, "across-zones", false, "allow a database of another zone than the primary's")
	f.BoolVar(&o.IgnorePause, "ignore-pause", false, "whatever was changed lately")
	f.BoolVar(&o.Force, "force", false, "although the primary answers, and without draining it")
	f.BoolVar(&o.AcceptLoss, "accept-loss", false, "although the log does not reach back: lose what plan names as lost, for good")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
}

func newFailoverPlanCommand(s *settings) *cobra.Command {
	var o failoverOptions
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what a failover would do, and why or why not",
		Long: `Asks everybody about a shard, or all of them, and shows which database would become the
primary if the present one was lost, how much the event log would bring back, and what speaks
against it. Nothing is changed. The exit code is 1 if a failover of any of them would be
refused.`,
		Example: `  quipu failover plan
  quipu failover plan --shard s1 --planned --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return withKeeper(c, cfg, nil, func(ctx context.Context, in *connected, k *failover.Keeper) error {
				shards, err := in.shards(o.shard)
				if err != nil {
					return err
				}
				var plans []*failover.Plan
				refused := 0
				for _, shard := range shards {
					p, err := k.Plan(ctx, shard, o.Request)
					if err != nil {
						return err
					}
					if !p.Allowed() && !onlyAlive(p) {
						refused++
					}
					plans = append(plans, p)
				}
				if err := printPlans(c.OutOrStdout(), plans, o.asJSON); err != nil {
					return err
				}
				if refused > 0 {
					return fmt.Errorf("%d of %d shards: refused", refused, len(plans))
				}
				return nil
			})
		}),
	}
	o.bind(c)
	return c
}

// shards is the one that was named, or all.
func (in *connected) shards(only string) (ids []string, err error) {
	for _, shard := range in.snapshot.Topology.Shards {
		if only == "" || shard.ID == only {
			ids = append(ids, shard.ID)
		}
	}
	if len(ids) == 0 {
		return nil, usagef("the topology has no shard %q", only)
	}
	return ids, nil
}

func newFailoverRunCommand(s *settings) *cobra.Command {
	var o failoverOptions
	c := &cobra.Command{
		Use:   "run",
		Short: "Change the primary of a shard",
		Long: `Changes the primary of a shard as plan shows it, or goes on with a change that was begun. With
--planned the primary is alive: it takes no more writes, the new one executes what is left,
and events wait in the log for that second. Without, it is lost, and what the new primary lacks
comes back from the log.

Nobody else need agree that the primary is lost, but it must not answer (or give --force). What
the log can't bring back is a reason to refuse: --accept-loss gives it up, and names it.`,
		Example: `  quipu failover run --shard s1 --planned --to s1-b
  quipu failover run --shard s1`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if o.shard == "" {
				return usagef("flag --shard is needed")
			}
			if o.Planned && o.Force {
				return usagef("flags --planned and --force exclude each other")
			}
			o.Reason = "asked for by an operator"
			progress := func(_, step string) {
				if !o.asJSON {
					fmt.Fprintln(c.OutOrStdout(), step)
				}
			}
			return withKeeper(c, cfg, progress, func(ctx context.Context, in *connected, k *failover.Keeper) error {
				if _, err := in.shards(o.shard); err != nil {
					return err
				}
				p, err := k.Change(ctx, o.shard, o.Request)
				if p != nil && (err != nil || o.asJSON) {
					err = errors.Join(err, printPlans(c.OutOrStdout(), []*failover.Plan{p}, o.asJSON))
				}
				if err != nil {
					return err
				}
				if err := k.Tend(ctx, o.shard); err != nil {
					in.log.Warn("not every database follows the new primary yet: the role failover goes on trying", "error", err)
				}
				if !o.asJSON {
					_, err = fmt.Fprintf(c.OutOrStdout(), "%s is the primary of shard %s, in term %d\n", p.To, o.shard, p.Term)
				}
				return err
			})
		}),
	}
	o.bind(c)
	return c
}

func printPlans(out io.Writer, plans []*failover.Plan, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(plans)
	}
	for i, p := range plans {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := showPlan(out, p); err != nil {
			return err
		}
	}
	return nil
}

func showPlan(out io.Writer, p *failover.Plan) error {
	verdict := "would be done"
	switch {
	case onlyAlive(p):
		verdict = "would be done if the primary was lost"
	case !p.Allowed():
		verdict = "REFUSED"
	}
	fmt.Fprintf(out, "shard %s: %s → %s, %s\n", p.Shard, orNone(p.From), orNone(p.To), verdict)
	for _, r := range p.Refusals {
		fmt.Fprintf(out, "  refused: %s (%s)\n", r.Detail, r.Code)
	}
	for _, l := range p.Lost {
		fmt.Fprintf(out, "  lost: %s\n", l)
	}
	if p.To != "" {
		fmt.Fprintf(out, "  the log brings back: %d batches\n", p.Replayed)
	}
	for _, w := range p.Words {
		fmt.Fprintf(out, "  %s\n", w)
	}
	if len(p.Candidates) == 0 {
		return nil
	}
	table := [][]string{{"  CANDIDATE", "ZONE", "FIT", "TRANSACTIONS", "BATCHES BEHIND", "REASONS"}}
	for _, c := range p.Candidates {
		table = append(table, []string{
			"  " + c.Database, c.Zone, strconv.FormatBool(c.Fit), strconv.FormatUint(c.Holds, 10), strconv.FormatUint(c.Behind, 10), strings.Join(c.Reasons, "; "),
		})
	}
	return printTable(out, table)
}

// onlyAlive tells whether nothing speaks against a plan but that the primary answers.
func onlyAlive(p *failover.Plan) bool {
	return len(p.Refusals) == 1 && p.Refusals[0].Code == failover.RefusedAlive
}

func orNone(id string) string {
	if id == "" {
		return "(none)"
	}
	return id
}

func newFailoverStatusCommand(s *settings) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show which changes of primaries were made, and which is under way",
		Long: `Shows, for each shard, its primary, a change that is under way and how far it has come, and the
last changes: when, from which database to which, in which term, how long it took and why.`,
		Example: `  quipu failover status
  quipu failover status --json`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			log := logger(c.ErrOrStderr(), cfg)
			return withZooKeeper(c.Context(), cfg, log, func(ctx context.Context, zk *zookeeper.Client) error {
				return showFailovers(ctx, c.OutOrStdout(), zk, asJSON)
			})
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func showFailovers(ctx context.Context, out io.Writer, zk *zookeeper.Client, asJSON bool) error {
	topology, _, err := zk.Topology(ctx)
	if err != nil {
		return err
	}
	all := map[string]cluster.Failover{}
	table := [][]string{{"SHARD", "WHEN", "FROM", "TO", "TERM", "SECONDS", "REASON"}}
	for _, shard := range topology.Shards {
		f, _, err := zk.Failover(ctx, shard.ID)
		if err != nil {
			return err
		}
		all[shard.ID] = f
		primary, _ := shard.PrimaryDatabase()
		table = append(table, []string{shard.ID, "now", "", orNone(primary.ID), strconv.FormatUint(f.Term, 10), "", ""})
		if i := f.Intent; i != nil {
			table = append(table, []string{shard.ID, i.Begun.Format("2006-01-02T15:04:05Z"), i.From, i.To, strconv.FormatUint(i.Term, 10), "under way: " + string(i.Step), i.Reason})
		}
		for n := len(f.History) - 1; n >= 0; n-- {
			h := f.History[n]
			table = append(table, []string{
				shard.ID, h.Begun.Format("2006-01-02T15:04:05Z"), h.From, h.To, strconv.FormatUint(h.Term, 10),
				strconv.FormatFloat(h.Ended.Sub(h.Begun).Seconds(), 'f', 2, 64), h.Reason,
			})
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	return printTable(out, table)
}
