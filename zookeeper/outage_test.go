package zookeeper_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

// A server that is killed and comes back later than the session timeout finds everybody where they were: nobody could
// have ended the sessions while it was away (INV-10).
func TestServerOutage(t *testing.T) {
	t.Parallel()
	server := testkit.ZooKeeper(t)
	w := newWorld(t, server.Address())
	a, b := w.owner("a", brief), w.owner("b", brief)
	w.bootstrap(a.process)
	a.register(t, member(cluster.RoleWriter, "a"))
	b.register(t, member(cluster.RoleWriter, "b"))
	d, _ := b.directory(t, "")
	hasMembers(t, d, cluster.RoleWriter, "a", "b")
	a.want(t, 0, true, "a")
	holder := w.stat(t, "leases/0/holder")
	known := d.Snapshot()

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	outage := time.NewTimer(5 * briefSession / 2)
	<-outage.C
	if d.Snapshot() != known {
		t.Error("the snapshot changed while the server was away")
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.want(t, 0, true, "a")
	b.want(t, 0, false, "a")
	if got := w.stat(t, "leases/0/holder"); got.Czxid != holder.Czxid {
		t.Error("the lease was taken again: it was given up on a mere disconnect")
	}
	hasMembers(t, d, cluster.RoleWriter, "a", "b")

	// Watches work as before.
	c := w.start()
	c.register(t, member(cluster.RoleWriter, "c"))
	hasMembers(t, d, cluster.RoleWriter, "a", "b", "c")
}

// A frozen server is as good as none, and a client does not hang on it.
func TestServerFreezes(t *testing.T) {
	t.Parallel()
	server := testkit.ZooKeeper(t)
	w := newWorld(t, server.Address())
	a := w.owner("a", brief)
	w.bootstrap(a.process)
	a.want(t, 0, true, "a")
	if err := server.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if a.Connected() {
			return fmt.Errorf("the client takes the frozen server for alive")
		}
		return nil
	})
	if err := server.Process().Resume(); err != nil {
		t.Fatal(err)
	}
	a.want(t, 0, true, "a")
}

// A server that lost its data refuses clients that have seen more. A fresh connection gets over it.
func TestServerLosesItsData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "server")
	server, err := testkit.StartZooKeeper(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, server.Address())
	p := w.start(brief, func(c *zookeeper.Config) { c.ReplaceAfter = 2 * briefSession })
	w.bootstrap(p)
	p.register(t, member(cluster.RoleReader, "r1"))
	w.awaitNewNode(t, "members/reader/r1", 0)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	w.awaitNewNode(t, "members/reader/r1", 0)
}

// The lock of a dead process passes on; a waiter that gave up does not hold up the line.
func TestLockPassesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	dead, impatient, patient := w.start(brief), w.start(), w.start()
	if _, err := dead.Lock(t.Context(), "l"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := impatient.Lock(ctx, "l"); err == nil {
		t.Fatal("got the lock that another process holds")
	}
	dead.relay.Cut()
	long, done := context.WithTimeout(t.Context(), patience)
	defer done()
	unlock, err := patient.Lock(long, "l")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestRunNeedsServers(t *testing.T) {
	t.Parallel()
	if err := zookeeper.New(zookeeper.Config{}).Run(t.Context()); err == nil {
		t.Error("got no error from a client without servers")
	}
}

// Run ends promptly when it was never connected.
func TestRunEndsWithoutServer(t *testing.T) {
	t.Parallel()
	client := zookeeper.New(zookeeper.Config{Servers: []string{"127.0.0.1:1"}})
	stop := background(t, client.Run)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.WaitConnected(ctx); err == nil {
		t.Error("got no error while there is no server")
	}
	stop()
}

// A client goes through its list of servers until one answers, and to another one when that goes away.
func TestListOfServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	second := testkit.NewLink(t)
	second.Lead(shared.Address())
	second.Cut()
	p := w.start(func(c *zookeeper.Config) { c.Servers = append(c.Servers, "127.0.0.1:1", second.Address()) })
	w.bootstrap(p)
	o := owner{p, zookeeper.NewLeases(p.Client, "a")}
	o.want(t, 0, true, "a")
	first := w.stat(t, "leases/0/holder")
	second.Heal()
	p.relay.Cut()
	o.want(t, 0, true, "a")
	if got := w.stat(t, "leases/0/holder"); got.EphemeralOwner != first.EphemeralOwner {
		t.Error("the session did not go along to the other server")
	}
}
