package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/zookeeper"
)

// fleet is the shards that a migration works on.
type fleet struct {
	zk       *zookeeper.Client
	settings cluster.Settings
	topology cluster.Topology
	shards   []cluster.Shard
	account  config.Account
	password string
	runner   *migrations.Runner

	mu  sync.Mutex // guards out: shards report at the same time
	out io.Writer
}

// with finds the shards and works on them.
func (m *migration) with(c *cobra.Command, cfg *config.Effective, work func(context.Context, *fleet) error) error {
	password, err := cfg.Accounts.Migrate.ReadPassword()
	if err != nil {
		return err
	}
	log := logger(c.ErrOrStderr(), cfg)
	return withZooKeeper(c.Context(), cfg, log, func(ctx context.Context, zk *zookeeper.Client) error {
		f := &fleet{zk: zk, account: cfg.Accounts.Migrate, password: password, out: c.OutOrStdout()}
		if err := f.find(ctx, cfg, m.shard); err != nil {
			return err
		}
		if err := f.prepare(cfg, log, m.allowDataLoss); err != nil {
			return err
		}
		return work(ctx, f)
	})
}

// find reads the topology and picks all shards, or the one that is asked for.
func (f *fleet) find(ctx context.Context, cfg *config.Effective, only string) (err error) {
	if f.settings, err = f.zk.Settings(ctx); err != nil {
		return err
	}
	if err := checkCluster(cfg, f.settings); err != nil {
		return err
	}
	if f.topology, _, err = f.zk.Topology(ctx); err != nil {
		return err
	}
	f.shards = f.topology.Shards
	if only == "" {
		return nil
	}
	shard, ok := f.topology.Shard(only)
	if !ok {
		return usagef("the topology has no shard %q", only)
	}
	f.shards = []cluster.Shard{shard}
	return nil
}

func (f *fleet) prepare(cfg *config.Effective, log *slog.Logger, allowDataLoss bool) error {
	var shards []migrations.Shard
	for _, s := range f.shards {
		connection, err := f.connection(s)
		if err != nil {
			return err
		}
		shards = append(shards, migrations.Shard{ID: s.ID, DSN: connection.DSN()})
	}
	runner, err := migrations.New(migrations.Config{
		Shards: shards, AllowDataLoss: allowDataLoss, Logger: log, Progress: f.progress,
		Lock: func(ctx context.Context) (func(), error) {
			ctx, cancel := context.WithTimeout(ctx, cfg.Migrate.LockTimeout)
			defer cancel()
			return f.zk.Lock(ctx, "migrate")
		},
	})
	f.runner = runner
	return err
}

// connection describes how to reach a shard's primary.
func (f *fleet) connection(s cluster.Shard) (mysql.Config, error) {
	primary, ok := s.PrimaryDatabase()
	if !ok {
		return mysql.Config{}, fmt.Errorf("shard %s has no primary just now", s.ID)
	}
	return mysql.Config{ID: primary.ID, Address: primary.Address, User: f.account.User, Password: f.password, MaxConnections: 1}, nil
}

func (f *fleet) progress(p migrations.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.Done {
		fmt.Fprintf(f.out, "shard %s: %s is done\n", p.Shard, p.File)
	}
}

// ensureOwnership gives new shards the partitions of the topology, and checks those of old ones. That a shard was set up is
// marked in the cluster: its primary, should it turn up empty one day, is not taken for a new one.
func (f *fleet) ensureOwnership(ctx context.Context) error {
	for _, s := range f.shards {
		if err := f.ensureOwnershipOf(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) ensureOwnershipOf(ctx context.Context, s cluster.Shard) (err error) {
	mark := "shard-" + s.ID
	_, established, err := f.zk.Marked(ctx, mark)
	if err != nil {
		return err
	}
	connection, err := f.connection(s)
	if err != nil {
		return err
	}
	db, err := mysql.Open(connection)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := mysql.EnsureOwnership(ctx, db, mysql.Ownership{
		ClusterID: f.settings.ClusterID, ShardID: s.ID, Partitions: f.topology.PartitionsOf(s.ID), CreatedAt: f.settings.CreatedAt,
		Established: established,
	}); err != nil {
		return err
	}
	if _, err := f.zk.Mark(ctx, mark, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.out, "shard %s owns the partitions %s\n", s.ID, ranges(f.topology.PartitionsOf(s.ID)))
	return err
}

// connected is what a command has that talks to a running cluster.
type connected struct {
	zk       *zookeeper.Client
	snapshot *cluster.Snapshot // as it was when the command began
	calls    *wire.Client
	log      *slog.Logger
}

// withCluster connects a command with ZooKeeper and with the cluster that it describes.
func withCluster(c *cobra.Command, cfg *config.Effective, work func(context.Context, *connected) error) error {
	token, err := cfg.Auth.ReadInternalToken()
	if err != nil {
		return err
	}
	in := &connected{calls: newCalls(cfg, token, commandOrigin), log: logger(c.ErrOrStderr(), cfg)}
	defer in.calls.Close()
	return withZooKeeper(c.Context(), cfg, in.log, func(ctx context.Context, zk *zookeeper.Client) error {
		in.zk = zk
		if in.snapshot, err = currentSnapshot(ctx, zk, in.log); err != nil {
			return err
		}
		if err := checkCluster(cfg, in.snapshot.Settings); err != nil {
			return err
		}
		return work(ctx, in)
	})
}

// eventLog is the event log, through ingest.
func (in *connected) eventLog() *remote.Log {
	return remote.New(remote.Config{URLs: func() []string { return urlsOf(in.snapshot, cluster.RoleIngest) }, Client: in.calls})
}

// withProxies connects a command with ZooKeeper and with the cluster proxies.
func withProxies(c *cobra.Command, cfg *config.Effective, work func(context.Context, *zookeeper.Client, *proxyclient.Client) error) error {
	return withCluster(c, cfg, func(ctx context.Context, in *connected) error {
		return work(ctx, in.zk, proxyclient.New(proxyclient.Config{
			URLs: func() []string { return urlsOf(in.snapshot, cluster.RoleClusterProxy) }, Client: in.calls, Registerer: prometheus.NewRegistry(),
		}))
	})
}
