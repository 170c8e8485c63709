package main

import (
	"context"

	"github.com/spf13/cobra"

	clusterproxy "github.com/quipudb/quipu/cluster-proxy"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
)

func newClusterProxyCommand(s *settings) *cobra.Command {
	c := &cobra.Command{
		Use:   "cluster-proxy",
		Short: "Run the router: knows which shard owns what, scatters and gathers",
		Long: `Runs the role that routes: it knows from ZooKeeper which shard owns a partition and which
shard proxies live, forwards what writers and readers ask, scatters questions over the
shards and gathers the answers. It keeps its last known routing on disk and serves while
ZooKeeper is away. Any number of them may run; it holds no state.

Settings: the section cluster_proxy.`,
		Example: `  quipu cluster-proxy --config /etc/quipu/quipu.yaml
  quipu cluster-proxy --listen 127.0.0.1:8083 --data-dir /tmp/cluster-proxy`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			return runRole(c, cfg, post{
				role: cluster.RoleClusterProxy, listen: cfg.ClusterProxy.Listen, advertise: cfg.ClusterProxy.Advertise, maxBody: wire.MaxApplyBytes,
			}, buildClusterProxy)
		}),
	}
	s.bindRole(c, "cluster_proxy")
	return c
}

// buildClusterProxy wires the router.
//
//	directory.Snapshot ──► cluster proxy ──HTTP──► shard proxies
//	HTTP server ──────────────┘
func buildClusterProxy(_ context.Context, h *host) (duty, error) {
	cfg := h.cfg.ClusterProxy
	proxy := clusterproxy.New(clusterproxy.Config{
		Snapshot: h.directory.Snapshot, Client: h.calls,
		Zone: h.cfg.Cluster.Zone, MaxInFlight: cfg.MaxInFlight, CallerShare: cfg.CallerShare, HedgePercent: cfg.HedgePercent, EjectFor: cfg.EjectFor,
		MaxApplyBytes: int64(cfg.MaxApplyBytes), Attempts: cfg.Attempts, ReadTimeout: cfg.ReadTimeout, ApplyTimeout: cfg.ApplyTimeout,
		Logger: h.log, Registerer: h.registry,
	})
	proxy.Register(h.server.Echo(), h.verifier)
	return duty{ready: proxy.Ready}, nil
}
