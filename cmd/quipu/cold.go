package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/config"
)

// openCold opens cold storage, where archive.url says.
func openCold(ctx context.Context, cfg *config.Effective, registerer prometheus.Registerer) (*blob.Store, error) {
	if cfg.Archive.URL == "" {
		return nil, usagef("there is no cold storage: archive.url is empty")
	}
	return blob.Open(ctx, blob.Config{URL: cfg.Archive.URL, Registerer: registerer})
}
