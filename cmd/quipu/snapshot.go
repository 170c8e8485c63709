package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/zookeeper"
)

// directoryGrace bounds the end of a directory.
const directoryGrace = 2 * time.Second

// currentSnapshot reads the cluster once, members included.
func currentSnapshot(ctx context.Context, zk *zookeeper.Client, log *slog.Logger) (*cluster.Snapshot, error) {
	if _, err := zk.Settings(ctx); err != nil {
		return nil, err // tells apart a cluster that does not exist from one that can't be read
	}
	directory := zookeeper.NewDirectory(zk, "")
	parts := newGroup(log)
	parts.start("directory", directoryGrace, directory.Run)
	err := parts.await(ctx, "the cluster's state", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		return directory.WaitReady(ctx)
	})
	if stopped := parts.stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster: %w", err)
	}
	return directory.Snapshot(), nil
}
