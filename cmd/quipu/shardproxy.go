package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	shardproxy "github.com/quipudb/quipu/shard-proxy"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

func newShardProxyCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "shard-proxy",
		Short: "Run the guard of one shard: the one way to its databases",
		Long: `Runs the role that guards one shard (--shard): the one way by which services reach its
databases. It commits what writers flush on the primary, answers reads from replicas that
keep up, watches health and lag, bounds every statement, and makes the tables' time
partitions ahead of need. Two or more may guard a shard. A database that belongs to another
shard or cluster, or whose schema this program doesn't know, is not used.

It connects as accounts.apply, accounts.read and accounts.monitor, and as accounts.analyst for
SQL of people, which it refuses if that account has no password. Settings: the section
shard_proxy.`,
		Example: `  quipu shard-proxy --config /etc/quipu/quipu.yaml --shard s1
  quipu shard-proxy --shard s2 --listen 127.0.0.1:8085 --data-dir /tmp/shard-proxy-s2`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if cfg.ShardProxy.Shard == "" {
				return usagef("flag --shard or the setting shard_proxy.shard is needed: which shard to guard")
			}
			accounts, err := readShardAccounts(cfg)
			if err != nil {
				return err
			}
			return runRole(c, cfg, post{
				role: cluster.RoleShardProxy, listen: cfg.ShardProxy.Listen, advertise: cfg.ShardProxy.Advertise, shard: cfg.ShardProxy.Shard,
				maxBody: wire.MaxApplyBytes,
			}, func(_ context.Context, h *host) (duty, error) { return buildShardProxy(h, accounts) })
		}),
	}
	s.bindRole(c, "shard_proxy")
	s.bindTo(c, "shard", "shard_proxy.shard", "`shard` to guard, as the topology names it")
	return c
}

// shardAccounts are the users that a shard proxy connects as.
type shardAccounts struct{ apply, read, monitor, analyst shardproxy.Account }

func readShardAccounts(cfg *config.Effective) (shardAccounts, error) {
	var accounts shardAccounts
	for _, a := range []struct {
		from config.Account
		to   *shardproxy.Account
	}{{cfg.Accounts.Apply, &accounts.apply}, {cfg.Accounts.Read, &accounts.read}, {cfg.Accounts.Monitor, &accounts.monitor}} {
		password, err := a.from.ReadPassword()
		if err != nil {
			return shardAccounts{}, err
		}
		*a.to = shardproxy.Account{User: a.from.User, Password: password}
	}
	if a := cfg.Accounts.Analyst; a.Password != "" || a.PasswordFile != "" { // without it there is no SQL of people
		password, err := a.ReadPassword()
		if err != nil {
			return shardAccounts{}, err
		}
		accounts.analyst = shardproxy.Account{User: a.User, Password: password}
	}
	return accounts, nil
}

// buildShardProxy wires the guard of a shard.
//
//	directory (topology) ──► shard proxy ──► primary and replicas of the shard
//	HTTP server ────────────────┘
func buildShardProxy(h *host, accounts shardAccounts) (duty, error) {
	cfg := h.cfg.ShardProxy
	topology := h.directory.Snapshot().Topology
	if _, ok := topology.Shard(cfg.Shard); !ok {
		return duty{}, fmt.Errorf("the topology has no shard %q", cfg.Shard)
	}
	proxy, err := shardproxy.New(shardproxy.Config{
		ShardID: cfg.Shard, ID: h.member.ID, Zone: h.cfg.Cluster.Zone, Snapshot: h.directory.Snapshot, Changed: h.directory.Changed, EventTypes: h.directory.EventTypes,
		Apply: accounts.apply, Read: accounts.read, Monitor: accounts.monitor, Analyst: accounts.analyst, TLS: databaseTLS(cfg.DatabaseTLS),
		MaxLag: cfg.MaxLag, ApplyTimeout: cfg.ApplyTimeout, PointTimeout: cfg.PointTimeout, SeriesTimeout: cfg.SeriesTimeout, ScanTimeout: cfg.ScanTimeout, AdminTimeout: cfg.AdminTimeout,
		AnalystTimeout: cfg.AnalystTimeout, AnalystConnections: cfg.AnalystConnections,
		ApplyConnections: cfg.ApplyConnections, ReadConnections: cfg.ReadConnections, CachedKeys: cfg.CachedKeys,
		ThrottleLag: cfg.ThrottleLag, ThrottleSlowdown: cfg.ThrottleSlowdown,
		Cache:         shardproxy.CacheConfig{Bytes: cacheBytes(cfg.CacheBytes), OpenFor: cfg.CacheOpen, Waiters: cfg.CacheWaiters},
		ProbeInterval: cfg.ProbeInterval, ProbeTimeout: cfg.ProbeTimeout, PartitionInterval: cfg.PartitionInterval,
		Logger: h.log, Registerer: h.registry,
	})
	if err != nil {
		return duty{}, err
	}
	proxy.Register(h.server.Echo(), h.verifier)
	return duty{run: proxy.Run, ready: proxy.Ready}, nil
}

// databaseTLS translates the setting into the driver's word.
func databaseTLS(setting string) string {
	if setting == "verify" {
		return "true"
	}
	return ""
}

// cacheBytes translates the setting: 0 keeps nothing.
func cacheBytes(setting config.Size) int64 {
	if setting == 0 {
		return -1
	}
	return int64(setting)
}
