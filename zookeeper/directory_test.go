package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

func TestDirectoryFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	d, _ := p.directory(t, "")
	if s := d.Snapshot(); s != nil {
		t.Fatalf("got snapshot %v before there is a cluster, want none", s)
	}
	settings, topo := w.bootstrap(p)
	s := ready(t, d)
	if got := d.EventTypes(); got == nil || len(got) != 0 {
		t.Errorf("got event types %v, want none and to know that", got)
	}
	if diff := cmp.Diff(settings, s.Settings) + cmp.Diff(topo, s.Topology); diff != "" {
		t.Fatalf("snapshot differs (-want +got):\n%s", diff)
	}

	changed := d.Changed()
	topo.Partitions = []string{"s2", "s1", "s2", "s2"}
	if err := p.SetTopology(t.Context(), topo, 0); err != nil {
		t.Fatal(err)
	}
	await(t, changed)
	if next := d.Snapshot(); next.Topology.Partitions[0] != "s2" || next.Version <= s.Version {
		t.Errorf("got %v, version %d after version %d, want the new topology", next.Topology.Partitions, next.Version, s.Version)
	}
	if s.Topology.Partitions[0] != "s1" {
		t.Error("the old snapshot has changed: it must be immutable")
	}

	changed = d.Changed()
	view := event.Type{Name: "view", AcceptLate: time.Hour}
	if _, err := p.CreateEventType(t.Context(), view); err != nil {
		t.Fatal(err)
	}
	await(t, changed)
	if got := d.EventTypes(); len(got) != 1 || got["view"] != view {
		t.Errorf("got event types %v, want view", got)
	}
}

func await(t testing.TB, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("the directory has not noticed the change")
	}
}

// A notification without a change flushes nothing.
func TestDirectoryComparesBeforeActing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	w.bootstrap(p)
	d, _ := p.directory(t, "")
	before := ready(t, d)
	changed := d.Changed()
	topo, version, err := p.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetTopology(t.Context(), topo, version); err != nil {
		t.Fatal(err)
	}
	// The type is read after the topology's notification: once it is there, that has been dealt with.
	if _, err := p.CreateEventType(t.Context(), event.Type{Name: "view", AcceptLate: time.Hour}); err != nil {
		t.Fatal(err)
	}
	await(t, changed)
	if d.Snapshot() != before {
		t.Error("an equal topology made a new snapshot")
	}
}

func TestDirectoryRefusesNonsense(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	w.bootstrap(p)
	d, _ := p.directory(t, "")
	before := ready(t, d)
	for _, bad := range []string{"", "{", `{"shards":[],"partitions":[]}`, `{"shards":[{"id":"s1","databases":[]}],"partitions":["s1"]}`} {
		w.set(t, "topology", bad)
	}
	w.remove(t, "topology")
	w.set(t, "cluster", `{"cluster_id":"another","partitions":4,"dedup_key":"000102030405060708090a0b0c0d0e0f"}`)
	p.register(t, member(cluster.RoleReader, "r1"))
	w.awaitNewNode(t, "members/reader/r1", 0)
	w.remove(t, "cluster")
	hasMembers(t, d, cluster.RoleReader, "r1")
	after := d.Snapshot()
	if diff := cmp.Diff(before.Settings, after.Settings) + cmp.Diff(before.Topology, after.Topology); diff != "" {
		t.Errorf("what was known changed (-before +after):\n%s", diff)
	}
}

// INV-10: the last state known to be good serves while ZooKeeper is away, and after a restart of the process.
func TestDirectoryKeepsTheLastKnown(t *testing.T) {
	t.Parallel()
	server := testkit.ZooKeeper(t)
	w := newWorld(t, server.Address())
	cache := filepath.Join(t.TempDir(), "state", "cluster.json")
	p := w.start(brief)
	w.bootstrap(p)
	if _, err := p.CreateEventType(t.Context(), event.Type{Name: "view", AcceptLate: time.Hour}); err != nil {
		t.Fatal(err)
	}
	unregister := p.register(t, member(cluster.RoleShardProxy, "s1-1"))
	d, stopDirectory := p.directory(t, cache)
	hasMembers(t, d, cluster.RoleShardProxy, "s1-1")
	testkit.Eventually(t, patience, func() error {
		if len(d.EventTypes()) != 1 {
			return errors.New("the event type is not known yet")
		}
		return nil
	})
	known := d.Snapshot()

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if p.Connected() {
			return errors.New("the client is connected still")
		}
		return nil
	})
	if d.Snapshot() != known {
		t.Error("the snapshot changed when the server went away")
	}
	stopDirectory()
	unregister()
	p.stop()

	client := zookeeper.New(zookeeper.Config{Servers: []string{server.Address()}, Root: w.root, SessionTimeout: briefSession, Logger: testLogger(t)})
	background(t, client.Run)
	again := zookeeper.NewDirectory(client, cache)
	background(t, again.Run)
	s := ready(t, again)
	if diff := cmp.Diff(known.Settings, s.Settings) + cmp.Diff(known.Topology, s.Topology) + cmp.Diff(known.Members, s.Members); diff != "" {
		t.Errorf("the snapshot from disk differs (-known +got):\n%s", diff)
	}
	if got := again.EventTypes(); len(got) != 1 {
		t.Errorf("got event types %v from disk, want view", got)
	}

	// The member died meanwhile: once the server is back for a session timeout, it goes.
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	hasMembers(t, again, cluster.RoleShardProxy)
}

// As long as the event types could not be read, that is what is said: not that there are none, by which events would be refused for good.
func TestUnknownEventTypesAreNotNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	if got := zookeeper.NewDirectory(p.Client, "").EventTypes(); got != nil {
		t.Errorf("got event types %v before anything was read, want nil", got)
	}
	w.bootstrap(p)
	cache := filepath.Join(t.TempDir(), "cluster.json")
	d, stop := p.directory(t, cache)
	ready(t, d)
	stop()
	away := zookeeper.New(zookeeper.Config{Servers: []string{"127.0.0.1:1"}, Root: w.root, SessionTimeout: briefSession, Logger: testLogger(t)})
	background(t, away.Run)
	fromDisk := func() *zookeeper.Directory {
		again := zookeeper.NewDirectory(away, cache)
		background(t, again.Run)
		ready(t, again)
		return again
	}
	if got := fromDisk().EventTypes(); got == nil || len(got) != 0 {
		t.Errorf("got event types %v from disk, want none and to know that", got)
	}
	content, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	unread := strings.Replace(string(content), `"event_types":[]`, `"event_types":null`, 1)
	if unread == string(content) {
		t.Fatalf("got %s, want an empty list of event types", content)
	}
	if err := os.WriteFile(cache, []byte(unread), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fromDisk().EventTypes(); got != nil {
		t.Errorf("got event types %v from a snapshot that was written before they were read, want nil", got)
	}
}

// Members that register again after an outage never leave the snapshot in between.
func TestMembersAreKeptThroughAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	watcher, p := w.start(brief), w.start(brief)
	w.bootstrap(watcher)
	p.register(t, member(cluster.RoleShardProxy, "s1-1"))
	d, _ := watcher.directory(t, "")
	hasMembers(t, d, cluster.RoleShardProxy, "s1-1")
	first := w.stat(t, "members/shard-proxy/s1-1")
	watch := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		for {
			changed := d.Changed()
			if err := membersAre(d, cluster.RoleShardProxy, "s1-1"); err != nil {
				watch <- err
				return
			}
			select {
			case <-changed:
			case <-done:
				watch <- nil
				return
			}
		}
	}()
	p.relay.Cut()
	watcher.relay.Cut()
	w.awaitNoNode("members/shard-proxy/s1-1")
	watcher.relay.Heal()
	p.relay.Heal()
	w.awaitNewNode(t, "members/shard-proxy/s1-1", first.Czxid)
	// A later change that the directory sees has everything before it.
	late := w.start()
	late.register(t, member(cluster.RoleReader, "late"))
	hasMembers(t, d, cluster.RoleReader, "late")
	close(done)
	if err := <-watch; err != nil {
		t.Error(err)
	}
}

func TestDirectoryRefusesAnotherCluster(t *testing.T) {
	t.Parallel()
	cache := filepath.Join(t.TempDir(), "cluster.json")
	for i := range 2 {
		w := newWorld(t, shared.Address())
		p := w.start()
		w.bootstrap(p)
		d := zookeeper.NewDirectory(p.Client, cache)
		if i == 0 {
			stop := background(t, d.Run)
			ready(t, d)
			awaitFile(t, cache)
			stop()
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := d.Run(ctx)
		if !errors.Is(err, zookeeper.ErrOtherCluster) || !strings.Contains(err.Error(), cache) {
			t.Errorf("got %v, want ErrOtherCluster that names the file", err)
		}
	}
}

func awaitFile(t testing.TB, path string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		_, err := os.Stat(path)
		return err
	})
}

func TestDirectoryIgnoresADamagedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	settings, _ := w.bootstrap(p)
	for i, content := range []string{"", "{", `{"format":99}`, `{"format":1,"settings":{},"topology":{}}`} {
		cache := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(cache, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d, stop := p.directory(t, cache)
		if got := ready(t, d).Settings.ClusterID; got != settings.ClusterID {
			t.Errorf("file %q: got cluster %q, want %q", content, got, settings.ClusterID)
		}
		stop()
	}
}
