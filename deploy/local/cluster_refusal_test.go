package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// refused starts a cluster that must not start, and checks that nothing is left of it.
func refused(t *testing.T, config local.ClusterConfig, want error, words ...string) {
	t.Helper()
	c := local.NewCluster(config)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	err := c.Start(ctx)
	if stopped := c.Stop(ctx); stopped != nil {
		t.Errorf("stop after a failed start: %v", stopped)
	}
	if want == nil && err == nil || want != nil && !errors.Is(err, want) {
		t.Fatalf("start: %v, want %v", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	for _, name := range smallCluster {
		if p := c.Process(name); p != nil && processState(t, p.PID()) != "Z" {
			t.Errorf("%s was left running", name)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestClusterRefusesAFolderThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	t.Run("of another format", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "quipu.json"), `{"format": 99, "made_by": "v9.1"}`)
		refused(t, small(dir, &progress{}), local.ErrFolder, "v9.1", "format 99", "--data")
	})
	t.Run("of something else", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "thesis.tex"), `\begin{document}`)
		refused(t, small(dir, &progress{}), local.ErrFolder, "thesis.tex", "--data")
		if entries, _ := os.ReadDir(dir); len(entries) != 2 { // the lock, and what was there
			t.Errorf("the folder has %v now", entries)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "quipu.json"), `{"form`)
		refused(t, small(dir, &progress{}), local.ErrFolder, "quipu.json")
	})
	t.Run("of another shape", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "quipu.json"), `{"format": 1, "shards": 2, "replicas": 1, "partitions": 16}`)
		refused(t, small(dir, &progress{}), local.ErrShape, "2 shards, not 1", "--data")
		config := small(dir, &progress{})
		config.Shards, config.Replicas = 2, local.NoReplicas
		refused(t, config, local.ErrShape, "1 replicas, not 0")
	})
	t.Run("locked", func(t *testing.T) {
		dir := t.TempDir()
		lock, err := local.LockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lock.Unlock() }()
		refused(t, small(dir, &progress{}), local.ErrLocked, "another `quipu up`")
	})
	t.Run("on a full disk", func(t *testing.T) {
		config := small(t.TempDir(), &progress{})
		config.MinFreeBytes = 1 << 60
		refused(t, config, local.ErrDiskFull, "MiB are free", "--data")
	})
	t.Run("with too many shards", func(t *testing.T) {
		config := small(t.TempDir(), &progress{})
		config.Shards = 1000
		refused(t, config, local.ErrClusterConfig, "shards must be at most 16, is 1000")
	})
}

func TestClusterRefusesATakenPort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	write(t, filepath.Join(dir, "quipu.json"), `{"format": 1, "shards": 1, "replicas": 1, "partitions": 16, "port_base": -1}`)
	write(t, filepath.Join(dir, "ports.json"), `{"reader": `+port+`}`)
	refused(t, small(dir, &progress{}), local.ErrPortTaken, port+" (reader)", "--port-base")
}

func TestPreferredPortThatIsTakenIsTold(t *testing.T) {
	t.Parallel()
	free, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	base := free.Number // reserved: taken for every other book
	defer func() { _ = free.Release() }()
	report := &progress{}
	config := small(t.TempDir(), report)
	config.PortBase = base
	c := up(t, config)
	if lines := report.with("is taken: ingest is on port"); len(lines) != 1 {
		t.Errorf("progress: %v, want it to say where ingest is", report.lines)
	}
	if p, _ := c.Description().Process("ingest"); p.Port == base {
		t.Errorf("ingest is on the port %d that is taken", base)
	}
}

func TestClusterNamesMissingPrograms(t *testing.T) {
	t.Setenv("ZOOKEEPER_HOME", t.TempDir())
	refused(t, small(t.TempDir(), &progress{}), local.ErrMissing, "ZOOKEEPER_HOME", "make deps")
}

func TestClusterShowsTheLogOfARoleThatFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	write(t, filepath.Join(dir, "quipu.json"), `{"format": 1, "shards": 1, "replicas": 1, "partitions": 16, "port_base": -1}`)
	write(t, filepath.Join(dir, "roles", "reader", "fails"), "")
	refused(t, small(dir, &progress{}), nil, "reader", "exit status 3", "reader.log", "told to fail")
	if err := os.Remove(filepath.Join(dir, "roles", "reader", "fails")); err != nil {
		t.Fatal(err)
	}

	// One that stays unready is waited for as long as the caller wants, and then told.
	write(t, filepath.Join(dir, "roles", "reader", "unready"), "")
	report := &progress{}
	c := local.NewCluster(small(dir, report))
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	started := make(chan error, 1)
	go func() { started <- c.Start(ctx) }()
	testkit.Eventually(t, 3*patience, func() error {
		if ready := report.with("is ready at"); len(ready) < 6 {
			return fmt.Errorf("roles that are ready: %v", ready)
		}
		return nil
	})
	cancel()
	err := <-started
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
	if err == nil || !strings.Contains(err.Error(), "told to be unready") {
		t.Errorf("start: %v, want it to say that the reader is not ready", err)
	}
}
