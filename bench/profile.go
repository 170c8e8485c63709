package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"
)

// profiled runs work and, with -profiles, takes CPU profiles of every role and of the load meanwhile.
func (b *bench) profiled(ctx context.Context, name string, length time.Duration, work func(context.Context) error) error {
	if b.options.profiles == "" {
		return work(ctx)
	}
	if err := os.MkdirAll(b.options.profiles, 0o755); err != nil {
		return err
	}
	own, err := os.Create(filepath.Join(b.options.profiles, name+"-load.pprof"))
	if err != nil {
		return err
	}
	defer own.Close()
	if err := pprof.StartCPUProfile(own); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	group, ctx := errgroup.WithContext(ctx)
	for role, url := range b.is.URLs {
		address := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", url, max(1, int(length.Seconds())))
		group.Go(func() error { return save(ctx, address, filepath.Join(b.options.profiles, name+"-"+role+".pprof")) })
	}
	group.Go(func() error { return work(ctx) })
	return group.Wait()
}

func save(ctx context.Context, address, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("take profile: %s answers %s", address, resp.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(file, resp.Body)
	return err
}
