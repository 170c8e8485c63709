package zookeeper_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

const (
	patience = 30 * time.Second
	// longSession outlives whatever a busy machine does to a test; briefSession is for tests in which sessions end.
	longSession  = 25 * time.Second
	briefSession = 2 * time.Second
)

var shared *testkit.ZooKeeperServer

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "quipu-zookeeper")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if shared, err = testkit.StartZooKeeper(ctx, filepath.Join(dir, "server")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(dir)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// world is one cluster's root on a server, and the clients of a test.
type world struct {
	t       testing.TB
	address string
	root    string
}

func newWorld(t testing.TB, address string) *world {
	return &world{t: t, address: address, root: "/test-" + uuid.NewString()}
}

// process is a client that runs, and what a test wants to do to it.
type process struct {
	*zookeeper.Client
	relay *testkit.Link
	stop  func() // ends Run and waits
}

// brief makes a client's session end soon after its connection went away.
func brief(c *zookeeper.Config) { c.SessionTimeout = briefSession }

// start runs a client behind a relay until the test ends.
func (w *world) start(change ...func(*zookeeper.Config)) *process {
	w.t.Helper()
	r := testkit.NewLink(w.t)
	r.Lead(w.address)
	cfg := zookeeper.Config{Servers: []string{r.Address()}, Root: w.root, SessionTimeout: longSession, Logger: testLogger(w.t)}
	for _, c := range change {
		c(&cfg)
	}
	client := zookeeper.New(cfg)
	p := &process{Client: client, relay: r, stop: background(w.t, client.Run)}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := client.WaitConnected(ctx); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// background runs a role until the returned function is called or the test ends; its error fails the test.
func background(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("got error %v from run, want none", err)
			}
		case <-time.After(patience):
			t.Errorf("run has not ended %v after its context", patience)
		}
	})
	t.Cleanup(stop)
	return stop
}

// directory follows the cluster through a client.
func (p *process) directory(t testing.TB, cache string) (d *zookeeper.Directory, stop func()) {
	t.Helper()
	d = zookeeper.NewDirectory(p.Client, cache)
	return d, background(t, d.Run)
}

func ready(t testing.TB, d *zookeeper.Directory) *cluster.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return d.Snapshot()
}

// bootstrap creates the cluster of two shards.
func (w *world) bootstrap(p *process) (cluster.Settings, cluster.Topology) {
	w.t.Helper()
	s, topo := sampleSettings(), sampleTopology()
	created, err := p.Bootstrap(w.t.Context(), s, topo)
	if err != nil || !created {
		w.t.Fatalf("got %t, %v from bootstrap, want true", created, err)
	}
	return s, topo
}

func sampleSettings() cluster.Settings {
	return cluster.Settings{
		ClusterID: uuid.NewString(), Partitions: 4, DedupKey: "000102030405060708090a0b0c0d0e0f",
		CreatedAt: time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC),
	}
}

func sampleTopology() cluster.Topology {
	return cluster.Topology{
		Shards: []cluster.Shard{
			{ID: "s1", Databases: []cluster.Database{{ID: "s1-a", Address: "127.0.0.1:3307", Role: cluster.Primary}}},
			{ID: "s2", Databases: []cluster.Database{{ID: "s2-a", Address: "127.0.0.1:3308", Role: cluster.Primary}}},
		},
		Partitions: []string{"s1", "s1", "s2", "s2"},
	}
}

func member(role cluster.Role, id string) cluster.Member {
	return cluster.Member{ID: id, Role: role, URL: "http://127.0.0.1/" + id}
}

// hasMembers waits until a directory knows exactly these members of a role.
func hasMembers(t testing.TB, d *zookeeper.Directory, role cluster.Role, want ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error { return membersAre(d, role, want...) })
}

func membersAre(d *zookeeper.Directory, role cluster.Role, want ...string) error {
	s := d.Snapshot()
	if s == nil {
		return fmt.Errorf("there is no snapshot")
	}
	if got := s.MemberIDs(role); fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("got members %v, want %v", got, want)
	}
	return nil
}
