package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/eventlog/remote"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/writer"
	"github.com/quipudb/quipu/zookeeper"
)

// writerMargin is what a writer may take beyond its last flushes, to give its leases back.
const writerMargin = 10 * time.Second

// writerHeadroom is how much a writer's heap may grow between two collections. Nearly all of it are windows of fingerprints, which live for
// minutes and hold no pointers to follow: garbage grows with the traffic and not with them.
var writerHeadroom = headroom{bytes: 96 << 20, least: 5, most: 100}

func newWriterCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "writer",
		Short: "Run the counter: reads the log, de-duplicates, counts, flushes",
		Long: `Runs the role that counts: it reads the partitions of the log that it holds leases for,
leaves out duplicates, adds up by key and minute, and flushes to the shards together with
how far it came. Several share the partitions; if one dies, the others take over its own. It
holds no state that the log can't rebuild. A stop flushes what is in memory first.

Settings: the section writer.`,
		Example: `  quipu writer --config /etc/quipu/quipu.yaml
  quipu writer --listen 127.0.0.1:8082 --data-dir /tmp/writer`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return runRole(c, cfg, post{role: cluster.RoleWriter, listen: cfg.Writer.Listen, advertise: cfg.Writer.Advertise, early: true}, buildWriter)
		}),
	}
	s.bindRole(c, "writer")
	return c
}

// buildWriter wires the counter. It registers early: being a member is what gets it partitions.
//
//	ZooKeeper client ──► leases ──┐
//	directory ────────────────► writer ──► remote log ──HTTP──► ingest (directory: which live)
//	                               └────► proxy client ──HTTP──► cluster proxies
//	HTTP server: probes and metrics only
func buildWriter(_ context.Context, h *host) (duty, error) {
	cfg := h.cfg.Writer
	w, err := writer.New(writer.Config{
		ID:  h.member.ID,
		Log: remote.New(remote.Config{URLs: h.urls(cluster.RoleIngest), Client: h.calls}),
		Proxy: proxyclient.New(proxyclient.Config{
			Servers: h.servers(cluster.RoleClusterProxy), Zone: h.cfg.Cluster.Zone, Client: h.calls, ApplyTimeout: cfg.FlushTimeout, Registerer: h.registry,
		}),
		Leases:  zookeeper.NewLeases(h.zk, h.member.ID),
		Cluster: h.directory.Snapshot, Changed: h.directory.Changed,
		DeadLetterDir: h.inDataDir(cfg.DeadLetterDir),
		Dedup:         writer.Dedup{Window: h.cfg.Cluster.Window, MaxBytes: int64(cfg.WindowMaxBytes)},
		Flush: writer.Flush{
			Interval: cfg.FlushInterval, MaxInterval: cfg.MaxFlushInterval, MaxRows: cfg.MaxRows, PerShard: cfg.FlushesPerShard,
			Timeout: cfg.FlushTimeout, Drain: cfg.Drain,
		},
		Read:     writer.Read{MaxBytes: int(cfg.ReadBytes), Interval: cfg.ReadInterval, Timeout: cfg.ReadTimeout},
		Registry: h.registry, Logger: h.log,
	})
	if err != nil {
		return duty{}, err
	}
	return duty{run: w.Run, heap: writerHeadroom, grace: cfg.Drain + writerMargin}, nil
}
