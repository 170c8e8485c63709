package flights

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoNPM is returned when the data set has to be fetched and npm is not installed.
var ErrNoNPM = errors.New("npm is not installed")

const (
	packageSpec = "vega-datasets@3.2.1"
	tarballName = "vega-datasets-3.2.1.tgz"

	parquetName  = "flights-3m.parquet"
	airportsName = "airports.csv"

	fetchTimeout   = 15 * time.Minute
	npmGrace       = 5 * time.Second // between asking npm to stop and killing it
	npmOutputBytes = 2 << 10         // how much of npm's last words an error quotes

	fileHint = "or pass --file path/to/" + parquetName + ", which is data/" + parquetName + " of the npm package " + packageSpec
)

// part is one file of the package, with what it must hold.
type part struct {
	name   string
	size   int64
	sha256 string
}

func parts() []part {
	return []part{
		{parquetName, 13_493_022, "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0"},
		{airportsName, 210_365, "903c7169e6d558eefb95295fe2947ec8503135fbb855ea5c737cf4a90ea603ad"},
	}
}

// FetchAll makes sure that cacheDir holds flights-3m.parquet, the whole data set, and airports.csv, and returns the path of the
// former. What is there with the right checksum is used; else both come from the npm package vega-datasets 3.2.1 by
// running npm. A file appears in cacheDir whole and checked or not at all, also when several processes fetch at once.
//
// progress, which may be nil, is told the bytes of both files that are in place and all there are; nothing is known while
// npm downloads. FetchAll returns ErrNoNPM, ErrChecksum, ctx's error or what npm said, wrapped; it takes at
// most fifteen minutes.
func FetchAll(ctx context.Context, cacheDir string, progress func(done, total int64)) (parquetPath string, err error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	f := fetcher{npm: "npm", dir: cacheDir, parts: parts(), progress: progress}
	if err := f.run(ctx); err != nil {
		return "", fmt.Errorf("fetch flights: %w", err)
	}
	return filepath.Join(cacheDir, parquetName), nil
}

// Verify returns nil if the file at path is flights-3m.parquet, byte for byte, else an error that wraps ErrChecksum.
func Verify(path string) error {
	return parts()[0].check(path)
}

type fetcher struct {
	npm      string // name of the command
	dir      string
	parts    []part
	progress func(done, total int64)
}

func (f fetcher) run(ctx context.Context) error {
	var total int64
	for _, p := range f.parts {
		total += p.size
	}
	if f.cached() {
		f.progress(total, total)
		return nil
	}
	f.progress(0, total)
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("make cache folder: %w", err)
	}
	tmp, err := os.MkdirTemp("", "quipu-flights-")
	if err != nil {
		return fmt.Errorf("make temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := f.pack(ctx, tmp); err != nil {
		return err
	}
	x := extractor{dir: f.dir, parts: f.parts, progress: func(done int64) { f.progress(done, total) }}
	return x.run(ctx, filepath.Join(tmp, tarballName))
}

func (f fetcher) cached() bool {
	for _, p := range f.parts {
		if p.check(filepath.Join(f.dir, p.name)) != nil {
			return false
		}
	}
	return true
}

// pack has npm put the package's tarball into dir. npm checks it against the registry's own checksum.
func (f fetcher) pack(ctx context.Context, dir string) error {
	path, err := exec.LookPath(f.npm)
	if err != nil {
		return fmt.Errorf("%w: install it (Debian and Ubuntu: apt-get install npm; elsewhere: Node.js brings it), %s", ErrNoNPM, fileHint)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	last := &tail{limit: npmOutputBytes}
	cmd := exec.CommandContext(ctx, path, "pack", packageSpec, "--ignore-scripts", "--no-update-notifier", "--loglevel=error")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = last, last
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = npmGrace
	err = cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("run npm pack %s: %w", packageSpec, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("run npm pack %s: %w: %s; check that npm reaches its registry, %s", packageSpec, err, strings.TrimSpace(string(last.kept)), fileHint)
	}
	return nil
}

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	kept  []byte
}

// Write keeps the end of p; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-t.limit):]...)
	t.kept = t.kept[max(0, len(t.kept)-t.limit):]
	return len(p), nil
}
