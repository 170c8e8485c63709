package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/load"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/zookeeper"
)

// loadSample loads the sample unless the cluster has it.
func (u *up) loadSample(ctx context.Context, d local.Description) error {
	cfg, err := config.Load(d.Config, nil, nil)
	if err != nil {
		return err
	}
	calls := newCalls(cfg, "", commandOrigin)
	defer calls.Close()
	return withZooKeeper(ctx, cfg, slog.New(slog.DiscardHandler), func(ctx context.Context, zk *zookeeper.Client) error {
		result, err := load.Flights(ctx, load.FlightsConfig{
			Run: load.Config{
				Sender:   client.SenderConfig{URLs: []string{d.URLs["ingest"]}},
				Progress: func(p load.Progress) { u.screen.progress("sample: " + p.String()) },
			},
			Marks: zk,
			Keys: proxyclient.New(proxyclient.Config{
				URLs: func() []string { return []string{d.URLs["cluster-proxy"]} }, Client: calls, Registerer: prometheus.NewRegistry(),
			}),
			Say: func(line string) { u.screen.progress("sample: " + line) },
		})
		if err == nil && result.Summary.Posted > 0 {
			u.screen.progress(fmt.Sprintf("sample: %d events acknowledged in %s", result.Summary.Accepted, result.Summary.Elapsed.Round(100*time.Millisecond)))
		}
		return err
	})
}
