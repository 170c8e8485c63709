package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire/proxyclient"
)

func newReaderCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "reader",
		Short: "Run the query service: answers counts over HTTP",
		Long: `Runs the role that answers: the HTTP count API (GET /v1/stats, /v1/top, /v1/keys, POST
/v1/stats:batch), SQL of people on the replicas (POST /v1/sql), its OpenAPI document
(/openapi.json) and a small console page. Every answer says up to which instant it counts,
and what is missing, if anything is. Detail that has left the shards is read from cold
storage, where there is one (archive.url). Any number of them may run; it holds no state but
caches.

Settings: the section reader, and archive.url.`,
		Example: `  quipu reader --config /etc/quipu/quipu.yaml
  quipu reader --listen 127.0.0.1:8081 --data-dir /tmp/reader`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return runRole(c, cfg, post{role: cluster.RoleReader, listen: cfg.Reader.Listen, advertise: cfg.Reader.Advertise}, buildReader)
		}),
	}
	s.bindRole(c, "reader")
	return c
}

// buildReader wires the query service.
//
//	directory.EventTypes ──► reader ──► proxy client ──HTTP──► cluster proxies (directory: which live)
//	HTTP server ────────────────┘  └──► cold storage ──► objects (a folder or a bucket)
func buildReader(_ context.Context, h *host) (duty, error) {
	cfg := h.cfg.Reader
	storage, closeObjects, err := newColdStorage(h)
	if err != nil {
		return duty{}, err
	}
	proxies := proxyclient.New(proxyclient.Config{
		Servers: h.servers(cluster.RoleClusterProxy), Zone: h.cfg.Cluster.Zone, Client: h.calls, Timeout: cfg.Timeout, Registerer: h.registry,
	})
	r, err := reader.New(reader.Config{
		Proxy: proxies, Desk: proxies, Shards: h.shards, EventTypes: h.directory.EventTypes, Cold: storage, Partition: h.partitionOf, Registry: h.registry, Logger: h.log,
		Limits: reader.Limits{
			Timeout: cfg.Timeout, MaxWait: cfg.MaxWait, Questions: cfg.Questions, Waits: cfg.Waits, SeriesPoints: cfg.SeriesPoints,
			BatchPoints: cfg.BatchPoints, SQL: cfg.SQLQuestions, SQLTimeout: cfg.SQLTimeout, BatchQueries: cfg.BatchQueries, BatchBytes: int64(cfg.BatchBytes), KeptBytes: cacheBytes(cfg.CacheBytes),
			Cold: cfg.ColdQuestions, ColdTimeout: cfg.ColdTimeout, ColdMaxBytes: int64(cfg.ColdMaxBytes),
		},
	})
	if err != nil {
		return duty{}, err
	}
	r.Register(h.server.Echo(), h.verifier)
	return duty{run: r.Run, ready: r.Ready, endsWaits: true, close: closeObjects}, nil
}

// shards lists the shards, as last known.
func (h *host) shards() []string {
	snapshot := h.directory.Snapshot()
	if snapshot == nil {
		return nil
	}
	ids := make([]string, 0, len(snapshot.Topology.Shards))
	for _, s := range snapshot.Topology.Shards {
		ids = append(ids, s.ID)
	}
	return ids
}

// newColdStorage returns cold storage, and what ends its use; nothing where none is configured.
func newColdStorage(h *host) (reader.Cold, func() error, error) {
	cfg := h.cfg.Reader
	if h.cfg.Archive.URL == "" {
		return nil, nil, nil
	}
	objects, err := cold.NewObjects(cold.ObjectsConfig{
		URL: h.cfg.Archive.URL, Timeout: cfg.ColdTimeout, FooterBytes: int64(cfg.FooterCacheBytes),
		CacheDir: h.inDataDir(cfg.ColdCacheDir), CacheBytes: int64(cfg.ColdCacheBytes), Registerer: h.registry, Logger: h.log,
	})
	if err != nil {
		return nil, nil, err
	}
	storage, err := cold.New(cold.Config{
		Files: objects, Parallel: cfg.ColdParallel, CacheBytes: int64(cfg.SegmentCacheBytes), Registerer: h.registry, Logger: h.log,
	})
	if err != nil {
		return nil, nil, err
	}
	return storage, objects.Close, nil
}

// partitionOf tells which partition counts a key, once the cluster is known.
func (h *host) partitionOf(eventType, key string) (int, bool) {
	snapshot := h.directory.Snapshot()
	if snapshot == nil {
		return 0, false
	}
	return snapshot.PartitionOf(eventType, key), true
}
