package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/load"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/zookeeper"
)

// flightOptions are the flags of quipu load flights.
type flightOptions struct {
	all      bool
	file     string
	cacheDir string
	register bool
}

func newLoadFlightsCommand(s *settings, l *loadOptions) *cobra.Command {
	var o flightOptions
	c := &cobra.Command{
		Use:   "flights",
		Short: "Load real data: flights within the United States in 2001",
		Long: `Loads a week of real flights, once: a mark in the cluster makes another load do nothing, and
lets a load that was stopped go on where it was. Every flight is a departure (key: the airport,
value: minutes of delay) and a route (key: LAS-PHL, value: miles). All are moved in time by the
largest whole number of weeks after which they lie before now, so that weekdays and hours stay
what they were. Airports and routes get their titles and owners.

--all loads all 3 million flights of half a year. They come from the npm package vega-datasets,
through npm, or from a --file of it.

--verify compares every airport and route with the data, also when all was loaded before.`,
		Example: `  quipu load flights --register --config data/quipu.yaml
  quipu load flights --all --verify --config data/quipu.yaml`,
		Args: noArguments,
		RunE: s.runWith(func(c *cobra.Command, cfg *config.Effective, _ []string) error {
			if o.file != "" {
				o.all = true
			}
			return l.flights(c, cfg, o)
		}),
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "load all flights, not a week of them")
	f.StringVar(&o.file, "file", "", "`path` of flights-3m.parquet, instead of fetching it; means --all")
	f.StringVar(&o.cacheDir, "cache-dir", "", "`folder` for what is fetched (default quipu in the user's cache folder)")
	f.BoolVar(&o.register, "register", false, "register the event types departure and route first")
	return c
}

func (l *loadOptions) flights(c *cobra.Command, cfg *config.Effective, o flightOptions) (err error) {
	if o.cacheDir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache folder (or give --cache-dir): %w", err)
		}
		o.cacheDir = filepath.Join(base, "quipu")
	}
	run, err := l.config(c, cfg)
	if err != nil {
		return err
	}
	verifier, err := l.verifier(cfg)
	if err != nil {
		return err
	}
	if verifier != nil {
		defer verifier.Close()
	}
	return withFlightsConfig(c, cfg, func(ctx context.Context, f load.FlightsConfig) error {
		f.Run, f.Verifier, f.All, f.File, f.CacheDir = run, verifier, o.all, o.file, o.cacheDir
		f.Say = func(line string) { fmt.Fprintln(c.OutOrStdout(), line) }
		if !o.register {
			f.Types = nil
		}
		result, err := load.Flights(ctx, f)
		if result.Summary.Posted > 0 {
			result.Summary.Print(c.OutOrStdout())
		}
		if result.Verification.Took > 0 {
			result.Verification.Print(c.OutOrStdout())
		}
		if errors.Is(err, load.ErrIncomplete) {
			return fmt.Errorf("%w; load again to go on", err)
		}
		return asUsage(err)
	})
}

// withFlightsConfig connects a load of flights with the cluster: marks and event types in ZooKeeper, keys through the cluster proxies.
func withFlightsConfig(c *cobra.Command, cfg *config.Effective, work func(context.Context, load.FlightsConfig) error) error {
	return withProxies(c, cfg, func(ctx context.Context, zk *zookeeper.Client, proxies *proxyclient.Client) error {
		return work(ctx, load.FlightsConfig{Marks: zk, Types: zk, Keys: proxies})
	})
}
