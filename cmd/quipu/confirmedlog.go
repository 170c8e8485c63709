package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/zookeeper"
)

// confirmRetry is how often ZooKeeper is asked again while it is away.
const confirmRetry = time.Second

// confirmedLog remembers on disk that the cluster counts this log, which never changes once it is so: ingest starts while
// ZooKeeper is away (INV-10). A log that was never confirmed waits for ZooKeeper.
type confirmedLog struct {
	registry  ingest.Registry
	file      string
	clusterID string
	log       *slog.Logger
}

// EnsureLog is ingest's Registry.
func (c *confirmedLog) EnsureLog(ctx context.Context, incarnation string) error {
	want := c.clusterID + " " + incarnation + "\n"
	if found, err := os.ReadFile(c.file); err == nil && string(found) == want {
		return nil
	}
	if err := c.ask(ctx, incarnation); err != nil {
		return err
	}
	temporary := c.file + ".new"
	if err := os.WriteFile(temporary, []byte(want), 0o600); err != nil {
		return fmt.Errorf("note the confirmed log: %w", err)
	}
	return os.Rename(temporary, c.file)
}

// ask waits for ZooKeeper's answer, however long it is away.
func (c *confirmedLog) ask(ctx context.Context, incarnation string) error {
	ticker := time.NewTicker(confirmRetry)
	defer ticker.Stop()
	for {
		err := c.registry.EnsureLog(ctx, incarnation)
		if !errors.Is(err, zookeeper.ErrDisconnected) && !errors.Is(err, zookeeper.ErrTimeout) {
			return err
		}
		c.log.Warn("waiting for ZooKeeper to confirm that the cluster counts this log", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
