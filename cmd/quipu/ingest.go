package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/proxyclient"
)

func newIngestCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "ingest",
		Short: "Run the role that takes events in and keeps the log",
		Long: `Runs the role that takes events in: POST /v1/events checks them, routes each to its
partition and answers 202 once they are in the event log and flushed to disk. It keeps the
log in its data folder and serves it to the writers. One process of a cluster runs it.

Damage to the log other than a torn end, which was never acknowledged, keeps it from
starting: it names the file and the byte.

Settings: the section ingest.`,
		Example: `  quipu ingest --config /etc/quipu/quipu.yaml
  quipu ingest --listen 127.0.0.1:8080 --data-dir /var/lib/quipu`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return runRole(c, cfg, post{
				role: cluster.RoleIngest, listen: cfg.Ingest.Listen, advertise: cfg.Ingest.Advertise, maxBody: int64(cfg.Ingest.MaxBody),
			}, buildIngest)
		}),
	}
	s.bindRole(c, "ingest")
	return c
}

// buildIngest opens the log and wires the role.
//
//	directory.EventTypes ──► ingest ──► embedded log (disk)
//	HTTP server ───────────────┘ │ └──► ZooKeeper client: which log the cluster counts
//	(events; the log for         └────► proxy client ──HTTP──► cluster proxies: what may be trimmed
//	 writers)
//
// The log is closed last: requests in flight need it.
func buildIngest(ctx context.Context, h *host) (duty, error) {
	settings := h.directory.Snapshot().Settings
	fingerprinter, err := event.NewFingerprinter(settings.DedupKey)
	if err != nil {
		return duty{}, err
	}
	cfg := h.cfg.Ingest
	log := embedded.New(embedded.Config{
		Dir: h.inDataDir(cfg.LogDir), Partitions: settings.Partitions,
		MaxBytes: int64(cfg.MaxBytes), SegmentBytes: int(cfg.SegmentSize), CacheBytes: int64(cfg.CacheBytes), Logger: h.log, Registerer: h.registry,
	})
	h.waitFor("the event log is being opened and verified")
	if err := log.Open(ctx); err != nil {
		return duty{}, err
	}
	i, err := ingest.New(h.ingestConfig(log, fingerprinter))
	if err != nil {
		return duty{}, errors.Join(err, log.Close())
	}
	i.Register(h.server.Echo(), h.verifier)
	// Run itself waits for the requests in progress and refuses others, so it comes before the drain.
	return duty{run: i.Run, ready: i.Ready, grace: h.cfg.HTTP.Drain + roleGrace, endsWaits: true, close: log.Close}, nil
}

func (h *host) ingestConfig(log ingest.Log, fingerprinter event.Fingerprinter) ingest.Config {
	cfg := h.cfg.Ingest
	retention := cfg.Retention
	if retention == 0 {
		retention = -1 // to ingest, 0 is its default
	}
	proxies := proxyclient.New(proxyclient.Config{Servers: h.servers(cluster.RoleClusterProxy), Zone: h.cfg.Cluster.Zone, Client: h.calls, Registerer: h.registry})
	return ingest.Config{
		Log:         log,
		Registry:    &confirmedLog{registry: h.zk, file: filepath.Join(h.cfg.Cluster.DataDir, "counted-log"), clusterID: h.directory.Snapshot().Settings.ClusterID, log: h.log},
		Checkpoints: checkpoints{proxies}, Replicas: replicas{h}, Types: h.directory.EventTypes, Fingerprinter: fingerprinter,
		MaxBody: int64(cfg.MaxBody), MaxEvents: cfg.MaxEvents, MaxInFlight: int64(cfg.MaxInFlight), AcceptAhead: cfg.AcceptAhead,
		CommitDelay: cfg.CommitDelay, CommitBytes: int(cfg.CommitSize), Window: h.cfg.Cluster.Window, WindowMaxIDs: cfg.WindowMaxIDs,
		IdempotencyMax: cfg.IdempotencyMax, Retention: retention, TrimInterval: cfg.TrimInterval, Hold: archivesRaw(h.cfg), AppendTimeout: cfg.AppendTimeout,
		Drain: h.cfg.HTTP.Drain, Logger: h.log, Registerer: h.registry,
	}
}

// replicas are those of the topology.
type replicas struct{ host *host }

// Promotable is part of ingest's Replicas.
func (r replicas) Promotable() map[string]bool {
	out := map[string]bool{}
	if s := r.host.directory.Snapshot(); s != nil {
		for _, shard := range s.Topology.Shards {
			for _, d := range shard.Databases {
				if d.Role == cluster.Replica && d.State == cluster.Attached {
					out[d.ID] = !d.Unpromotable
				}
			}
		}
	}
	return out
}

// SetPromotable is part of ingest's Replicas.
func (r replicas) SetPromotable(ctx context.Context, database string, promotable bool) error {
	return r.host.zk.SetPromotable(ctx, database, promotable)
}

// checkpoints asks the cluster proxies in the form that ingest wants.
type checkpoints struct{ proxies *proxyclient.Client }

func (c checkpoints) Checkpoints(ctx context.Context) (wire.CheckpointsAnswer, error) {
	answer, err := c.proxies.Checkpoints(ctx)
	if err != nil {
		return wire.CheckpointsAnswer{}, err
	}
	return *answer, nil
}
