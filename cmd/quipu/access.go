package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/zookeeper"
)

// connectTimeout bounds how long a command waits for ZooKeeper.
const connectTimeout = 10 * time.Second

// zooKeeperGrace bounds the end of a ZooKeeper session.
const zooKeeperGrace = 5 * time.Second

func newZooKeeper(cfg *config.Effective, log *slog.Logger, registerer prometheus.Registerer) *zookeeper.Client {
	return zookeeper.New(zookeeper.Config{
		Servers: cfg.Cluster.ZooKeeper, Root: cfg.Cluster.Root, SessionTimeout: cfg.Cluster.SessionTimeout, Logger: log, Registerer: registerer,
	})
}

// withZooKeeper runs a command that talks to ZooKeeper.
func withZooKeeper(ctx context.Context, cfg *config.Effective, log *slog.Logger, work func(context.Context, *zookeeper.Client) error) error {
	client := newZooKeeper(cfg, log, prometheus.NewRegistry())
	parts := newGroup(log)
	parts.start("ZooKeeper client", zooKeeperGrace, client.Run)
	err := parts.await(ctx, fmt.Sprintf("ZooKeeper at %v", cfg.Cluster.ZooKeeper), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		return client.WaitConnected(ctx)
	})
	if ctx.Err() == nil {
		err = unanswered(cfg, err)
	}
	if err == nil {
		err = work(ctx, client)
	}
	if stopped := parts.stop(); err == nil {
		err = stopped
	}
	return err
}

// unanswered says of a ZooKeeper that could not be reached where it was looked for.
func unanswered(cfg *config.Effective, err error) error {
	if !errors.Is(err, zookeeper.ErrDisconnected) {
		return err
	}
	return fmt.Errorf("no ZooKeeper answered at %s within %s: does it run, and is cluster.zookeeper right? (--config, --zookeeper)",
		strings.Join(cfg.Cluster.ZooKeeper, ", "), config.FormatDuration(connectTimeout))
}

// clusterIDSeparator stands between a cluster's name and the random part of its id.
const clusterIDSeparator = "-"

// checkCluster refuses the settings of a cluster with another name or another window than the configured one.
func checkCluster(cfg *config.Effective, settings cluster.Settings) error {
	prefix := cfg.Cluster.Name + clusterIDSeparator
	if len(settings.ClusterID) <= len(prefix) || settings.ClusterID[:len(prefix)] != prefix {
		return fmt.Errorf("ZooKeeper holds the cluster %s below %s, but cluster.name is %q", settings.ClusterID, cfg.Cluster.Root, cfg.Cluster.Name)
	}
	if settings.Window != cfg.Cluster.Window {
		return fmt.Errorf("the cluster was created with a de-duplication window of %s, but cluster.window is %s: it can't change, or a replay would count otherwise", settings.Window, cfg.Cluster.Window)
	}
	return nil
}
