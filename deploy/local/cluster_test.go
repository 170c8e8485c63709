package local_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

// progress collects what a cluster reports.
type progress struct {
	mu    sync.Mutex
	lines []string
}

func (p *progress) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
}

// with returns the lines that hold a word.
func (p *progress) with(word string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, line := range p.lines {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}

// small is a cluster of the played program, as small as can be.
func small(dir string, report *progress) local.ClusterConfig {
	return local.ClusterConfig{
		Dir: dir, Program: os.Args[0], Version: "v1", Shards: 1, PortBase: local.AnyPorts, BufferPoolBytes: 32 << 20,
		MinFreeBytes: 1 << 20, EventTypes: []event.Type{{Name: "view", Unit: "ms", AcceptLate: 90 * time.Minute, AllowNegative: true}},
		DieWithParent: true, Progress: report.add,
	}
}

// up starts a cluster and stops it with the test.
func up(t *testing.T, config local.ClusterConfig) *local.Cluster {
	t.Helper()
	c := local.NewCluster(config)
	t.Cleanup(func() {
		if err := c.Kill(); err != nil {
			t.Error(err)
		}
	})
	start(t, c)
	return c
}

// supervise keeps a cluster running until the returned function is called.
func supervise(t *testing.T, c *local.Cluster) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Supervise(ctx) }()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("supervise: %v", err)
		}
	})
	t.Cleanup(end)
	return end
}

var smallCluster = []string{"failover", "reader", "rollup", "writer", "ingest", "cluster-proxy", "shard-proxy-s1", "s1-a", "s1-b", "zookeeper"}

func TestClusterRuns(t *testing.T) {
	t.Parallel()
	dir, report := filepath.Join(t.TempDir(), "data"), &progress{}
	config := small(dir, report)
	config.Settings = []string{"writer.flush_interval=200ms"}
	c := up(t, config)

	d, err := local.ReadDescription(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Description(), d); diff != "" {
		t.Errorf("cluster.json is not what runs:\n%s", diff)
	}
	var names []string
	for _, p := range d.Processes {
		names = append(names, p.Name)
		if running := c.Process(p.Name); running == nil || running.PID() != p.PID || p.Port == 0 || p.Restarts != 0 {
			t.Errorf("process %+v, want what runs, on its port, and for the first time", p)
		}
	}
	if diff := cmp.Diff(smallCluster, names); diff != "" {
		t.Errorf("processes:\n%s", diff)
	}
	for name, url := range d.URLs {
		answer, err := http.Get(url + "/readyz")
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %v, %v", name, answer, err)
		} else {
			_ = answer.Body.Close()
		}
	}
	if log := local.LogTail(filepath.Join(dir, "logs", "writer.log"), 5); !strings.Contains(log, "--set writer.flush_interval=200ms") {
		t.Errorf("the writer was started with %q, want the settings passed on", log)
	}
	if log := local.LogTail(filepath.Join(dir, "logs", "event-type.log"), 5); !strings.Contains(log, "create view --unit ms --description  --allow-negative --accept-late 90m") {
		t.Errorf("the event type was registered by %q", log)
	}
	checkSecrets(t, dir, c.Passwords())

	pids := filepath.Join(dir, "roles", "*", "process")
	if files, _ := filepath.Glob(pids); len(files) != 7 {
		t.Errorf("pid files of roles: %v, want 7", files)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if p := c.Process(name); p == nil || processState(t, p.PID()) != "Z" {
			t.Errorf("%s still runs", name)
		}
	}
	if files, _ := filepath.Glob(pids); len(files) != 0 {
		t.Errorf("left after the stop: %v", files)
	}
	if _, err := local.ReadDescription(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cluster.json after the stop: %v, want none", err)
	}
	stopped := report.with(" stopped (")
	order := func(name string) int {
		return slices.IndexFunc(stopped, func(line string) bool { return strings.HasPrefix(line, name+" ") })
	}
	for i, name := range []string{"failover", "reader", "rollup", "writer", "ingest", "cluster-proxy", "shard-proxy-s1"} {
		if order(name) != i {
			t.Errorf("%s stopped as number %d of %v, want %d", name, order(name), stopped, i)
		}
	}
	if order("zookeeper") != len(smallCluster)-1 {
		t.Errorf("ZooKeeper was not the last to stop: %v", stopped)
	}
}

// checkSecrets looks for passwords where others could read them.
func checkSecrets(t *testing.T, dir string, passwords local.Passwords) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "/databases/") || strings.Contains(path, "/zookeeper/") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		for account, password := range passwords {
			if !strings.Contains(string(content), password) {
				continue
			}
			seen++
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s holds the password of %s and has mode %v", path, account, info.Mode().Perm())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 2*len(passwords) {
		t.Errorf("found %d passwords, want each in two files", seen)
	}
}

func TestClusterGoesOnWithItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := up(t, small(dir, &progress{}))
	before := first.Description()
	execAll(t, first.Database("s1-a").Root(), "CREATE TABLE quipu.t (id INT PRIMARY KEY)", "INSERT INTO quipu.t VALUES (1)")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	// Numbers left out are those of the folder.
	config, report := small(dir, &progress{}), &progress{}
	config.Shards, config.PortBase, config.Progress, config.Writers = 0, 0, report.add, 2
	second := up(t, config)
	after := second.Description()
	if diff := cmp.Diff(addresses(before), withoutWriter2(addresses(after))); diff != "" {
		t.Errorf("addresses changed:\n%s", diff)
	}
	if _, ok := after.Process("writer-2"); !ok {
		t.Error("the second writer does not run")
	}
	if len(report.with("going on with the data")) != 1 {
		t.Errorf("progress: %v, want it to say that it goes on", report.lines)
	}
	if err := local.AwaitReplica(ctx, second.Database("s1-a"), second.Database("s1-b")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s1-a", "s1-b"} {
		if got := query(t, second.Database(name).Root(), "SELECT COUNT(*) FROM quipu.t"); got != "1" {
			t.Errorf("%s has %s rows, want 1", name, got)
		}
	}
}

func addresses(d local.Description) map[string]int {
	ports := map[string]int{}
	for _, p := range d.Processes {
		ports[p.Name] = p.Port
	}
	return ports
}

func withoutWriter2(ports map[string]int) map[string]int {
	delete(ports, "writer-2")
	return ports
}

func TestSupervisorStartsAgainWhatEnds(t *testing.T) {
	t.Parallel()
	dir, report := filepath.Join(t.TempDir(), "data"), &progress{}
	c := up(t, small(dir, report))
	end := supervise(t, c)
	execAll(t, c.Database("s1-a").Root(), "CREATE TABLE quipu.t (id INT PRIMARY KEY)", "INSERT INTO quipu.t VALUES (1)")
	for _, name := range []string{"reader", "s1-a", "zookeeper"} {
		killed := c.Process(name)
		if err := killed.Kill(); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 2*patience, func() error {
			if len(report.with(name+" is back")) != 1 {
				return fmt.Errorf("%s is not back: %v", name, report.with(name))
			}
			return nil
		})
		d, err := local.ReadDescription(dir)
		if err != nil {
			t.Fatal(err)
		}
		if p, _ := d.Process(name); p.Restarts != 1 || p.PID == killed.PID() {
			t.Errorf("cluster.json has %+v after process %d was killed", p, killed.PID())
		}
	}
	if got := query(t, c.Database("s1-a").Root(), "SELECT COUNT(*) FROM quipu.t"); got != "1" {
		t.Errorf("the primary has %s rows, want 1", got)
	}

	// What can't start is tried again until it can.
	fails := filepath.Join(dir, "roles", "writer", "fails")
	if err := os.WriteFile(fails, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Process("writer").Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if tries := report.with("writer ended: exit status 3"); len(tries) < 2 {
			return fmt.Errorf("the writer was tried %d times", len(tries))
		}
		return nil
	})
	if err := os.Remove(fails); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if len(report.with("writer is back")) == 0 {
			return errors.New("the writer is not back")
		}
		return nil
	})
	end()
}

// launchCluster plays the launcher of a cluster.
func launchCluster(dir string) {
	config := small(dir, &progress{})
	config.DieWithParent = false
	c := local.NewCluster(config)
	if err := c.Start(context.Background()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.Process("reader").PID())
	_ = c.Supervise(context.Background())
}

func TestClusterTakesOverFromAKilledLauncher(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	reader := killedLauncher(t, dir, "cluster")
	left, err := local.ReadDescription(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := left.Process("reader"); p.PID != reader || processState(t, reader) == "Z" {
		t.Fatalf("the reader is process %d, left as %+v", reader, p)
	}
	report := &progress{}
	c := up(t, small(dir, report))
	for _, p := range left.Processes {
		if now := c.Process(p.Name); now.PID() == p.PID || processState(t, p.PID) != "Z" {
			t.Errorf("%s: the left-over process %d still runs", p.Name, p.PID)
		}
	}
	if lines := report.with("stopping 10 processes"); len(lines) != 1 {
		t.Errorf("progress: %v, want it to say what it found", report.lines)
	}
	if diff := cmp.Diff(addresses(left), addresses(c.Description())); diff != "" {
		t.Errorf("addresses changed:\n%s", diff)
	}
}

func TestReplicaThatForkedIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	first := up(t, small(dir, &progress{}))
	primary, replica := first.Database("s1-a"), first.Database("s1-b")
	execAll(t, primary.Root(), "CREATE TABLE quipu.t (id INT PRIMARY KEY)", "INSERT INTO quipu.t VALUES (1)")
	if err := local.AwaitReplica(ctx, primary, replica); err != nil {
		t.Fatal(err)
	}
	execAll(t, replica.Root(), "STOP SLAVE", "INSERT INTO quipu.t VALUES (99)") // a stray write
	execAll(t, primary.Root(), "INSERT INTO quipu.t VALUES (2)")
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}

	report := &progress{}
	second := up(t, small(dir, report))
	if len(report.with("making s1-b anew from a copy of s1-a")) != 1 {
		t.Errorf("progress: %v, want it to tell what becomes of the replica", report.lines)
	}
	primary, replica = second.Database("s1-a"), second.Database("s1-b")
	execAll(t, primary.Root(), "INSERT INTO quipu.t VALUES (3)")
	if err := local.AwaitReplica(ctx, primary, replica); err != nil {
		t.Fatal(err)
	}
	if got := query(t, replica.Root(), "SELECT GROUP_CONCAT(id ORDER BY id) FROM quipu.t"); got != "1,2,3" {
		t.Errorf("the replica has %s, want 1,2,3", got)
	}
}

func TestStopLetsReplicasCatchUp(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	c := up(t, small(dir, &progress{}))
	primary, replica := c.Database("s1-a"), c.Database("s1-b")
	execAll(t, primary.Root(), "CREATE TABLE quipu.t (id INT PRIMARY KEY)")
	execAll(t, replica.Root(), "STOP SLAVE SQL_THREAD")
	execAll(t, primary.Root(), "INSERT INTO quipu.t VALUES (1)")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(ctx) }()
	testkit.Eventually(t, patience, func() error {
		if processState(t, c.Process("cluster-proxy").PID()) != "Z" {
			return errors.New("the roles are not stopped yet")
		}
		return nil
	})
	execAll(t, replica.Root(), "START SLAVE SQL_THREAD")
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := replica.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := query(t, replica.Root(), "SELECT COUNT(*) FROM quipu.t"); got != "1" {
		t.Errorf("the replica was stopped with %s rows, want 1", got)
	}
}
