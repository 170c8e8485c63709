package failover_test

import (
	"context"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/failover"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// runs has a keeper look after the shard until the test ends or stop is called.
func (r *rig) runs(k *failover.Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-ended; err != nil {
				r.t.Errorf("run: %v", err)
			}
		}
	}
	r.t.Cleanup(stop)
	return stop
}

// TestAutomaticNeedsAgreement: nothing is done while only a proxy, or only a replica, says that the primary is down; once both do, it is replaced, and
// the other process of the role, which did not lead, goes on after the first one was killed. A frozen primary that wakes up is compared and rejoins.
func TestAutomaticNeedsAgreement(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop := r.runs(r.keeper())
	second := r.keeper(func(c *failover.Config) { c.Store = r.connect() })
	r.runs(second)
	r.must(r.count("s1-a", 10))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })

	r.says("s1-a", down()) // the proxy is cut off, nobody else is
	r.stays("s1-a", "primary")
	r.says("s1-a", wire.DatabaseVerdict{Healthy: true, Probed: true})
	r.exec("s1-b", "STOP SLAVE IO_THREAD") // the replica can't tell
	r.stays("s1-a", "primary")
	r.says("s1-a", down())
	r.stays("s1-a", "primary")
	r.exec("s1-b", "START SLAVE IO_THREAD")
	r.stays("s1-a", "primary")

	r.must(r.servers["s1-a"].Process().Pause()) // frozen: its connections stand
	stop()
	testkit.Eventually(t, patience, func() error {
		return r.places(map[string]string{"s1-a": "detached", "s1-b": "primary"})
	})
	r.must(r.count("s1-b", 20))
	r.says("s1-b", wire.DatabaseVerdict{Healthy: true, Probed: true})
	r.must(r.servers["s1-a"].Process().Resume())
	testkit.Eventually(t, patience, func() error {
		return r.places(map[string]string{"s1-a": "replica", "s1-b": "primary"})
	})
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-b", "s1-a") })
	if err := r.count("s1-a", 30); err == nil {
		t.Error("the old primary woke up and takes writes")
	}
}

// stays watches for some looks that a database keeps its place.
func (r *rig) stays(database, place string) {
	r.t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Second; {
		if got := r.place(database); got != place {
			r.t.Fatalf("%s became %s", database, got)
		}
	}
}

// TestPrimaryThatStartsAgainMayWrite: servers start read-only, and the topology's primary is let write; one of an earlier term, or of another shard, is
// not.
func TestPrimaryThatStartsAgainMayWrite(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	k := r.keeper()
	r.must(r.count("s1-a", 10))
	r.must(r.servers["s1-a"].Kill())
	r.must(r.servers["s1-a"].Start(t.Context()))
	if !r.readOnly("s1-a") {
		t.Fatal("a server that starts takes writes")
	}
	r.must(k.Tend(t.Context(), "s1"))
	r.must(r.count("s1-a", 20))

	// A replica that somebody let write is guarded.
	r.exec("s1-b", "SET GLOBAL read_only = OFF")
	r.must(k.Tend(t.Context(), "s1"))
	if !r.readOnly("s1-b") {
		t.Error("a replica takes writes")
	}

	record, version, err := r.store.Failover(t.Context(), "s1")
	r.must(err)
	record.Term = 9
	_, err = r.store.SetFailover(t.Context(), "s1", record, version)
	r.must(err)
	r.exec("s1-a", "SET GLOBAL read_only = ON")
	if err := k.Tend(t.Context(), "s1"); err == nil || !r.readOnly("s1-a") {
		t.Errorf("a primary of an earlier term was let write: %v", err)
	}
}

// TestReplacedWhileItWritesOn: a primary that proxies and replicas have lost, but that is alive and takes writes from somebody, is fenced where it can be
// reached; what it took beyond the fork is found out, also if the new primary is replaced before anybody can compare.
func TestReplacedWhileItWritesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	k := r.keeper()
	r.must(r.count("s1-a", 10))
	for _, replica := range []string{"s1-b", "s1-c"} {
		testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", replica) })
	}
	r.exec("s1-b", "STOP SLAVE SQL_THREAD")
	r.exec("s1-c", "STOP SLAVE SQL_THREAD")
	r.must(r.count("s1-a", 15)) // nobody else will have it
	ended := make(chan error, 1)
	go func() { ended <- r.count("s1-a", 1<<20) }()
	_, err := k.Change(t.Context(), "s1", failover.Request{Force: true, To: "s1-b"})
	r.must(err)
	if err := <-ended; err == nil {
		t.Error("the old primary went on taking writes")
	}
	if err := r.count("s1-a", 1<<20); err == nil {
		t.Error("the fenced primary takes writes")
	}
	r.must(r.servers["s1-a"].Kill())
	r.must(r.count("s1-b", 1000)) // more than it took
	r.tendUntil(k, map[string]string{"s1-a": "detached", "s1-b": "primary", "s1-c": "replica"})
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-b", "s1-c") })
	_, err = k.Change(t.Context(), "s1", failover.Request{Planned: true, To: "s1-c"})
	r.must(err)
	r.must(r.servers["s1-a"].Start(t.Context()))
	r.tendUntil(k, map[string]string{"s1-a": "diverged", "s1-b": "replica", "s1-c": "primary"})

	// It stays so, whatever somebody thinks of it; one that was marked for nothing follows again.
	if err := k.Attach(t.Context(), "s1", "s1-a"); err == nil || r.place("s1-a") != "diverged" {
		t.Errorf("it was attached: %v, and is %s", err, r.place("s1-a"))
	}
	r.mark("s1-b", cluster.Diverged)
	r.must(k.Attach(t.Context(), "s1", "s1-b"))
	r.must(r.places(map[string]string{"s1-b": "replica"}))
	if err := k.Attach(t.Context(), "s1", "s1-c"); err == nil {
		t.Error("the primary was attached to itself")
	}
}

// mark gives a database a state.
func (r *rig) mark(database string, state cluster.DatabaseState) {
	r.t.Helper()
	topology, version, err := r.store.Topology(r.t.Context())
	r.must(err)
	for i := range topology.Shards[0].Databases {
		if d := &topology.Shards[0].Databases[i]; d.ID == database {
			d.State = state
		}
	}
	r.must(r.store.SetTopology(r.t.Context(), topology, version))
}

// TestDivergedIsRebuiltByItself, if that is wanted, while the shard is looked after.
func TestDivergedIsRebuiltByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.must(r.count("s1-a", 10))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
	r.exec("s1-b", "STOP SLAVE SQL_THREAD")
	r.must(r.count("s1-a", 30))
	r.must(r.servers["s1-a"].Kill())
	k := r.keeper(func(c *failover.Config) {
		c.Rebuild = &failover.RebuildRequest{
			Schemas: []string{"quipu", "analytics"}, Progress: func(string, int64, bool) {},
			Account: failover.Account{User: string(local.AccountRebuild), Password: r.servers["s1-a"].Passwords[local.AccountRebuild]},
		}
	})
	_, err := k.Change(t.Context(), "s1", failover.Request{})
	r.must(err)
	r.must(r.count("s1-b", 20))
	r.must(r.servers["s1-a"].Start(t.Context()))
	r.runs(k)
	testkit.Eventually(t, patience, func() error {
		return r.places(map[string]string{"s1-a": "replica", "s1-b": "primary"})
	})
	r.must(r.count("s1-b", 40))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-b", "s1-a") })
}

// TestZombieFeedsNobody: a frozen primary wakes up after the new one was chosen, and commits once more. Nobody follows it any longer: the third server takes the
// new primary's side, and the zombie is found out.
func TestZombieFeedsNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.must(r.count("s1-a", 10))
	for _, replica := range []string{"s1-b", "s1-c"} {
		testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", replica) })
	}
	r.must(r.servers["s1-a"].Process().Pause())
	k := r.keeper(func(c *failover.Config) {
		c.Timeout = 500 * time.Millisecond
		c.Progress = func(_, step string) {
			if step == string(cluster.StepStopped) {
				r.must(r.servers["s1-a"].Process().Resume())
				r.exec("s1-a", "INSERT INTO quipu.owners (name) VALUES ('zombie')") // root is not bound by read_only
			}
		}
	})
	_, err := k.Change(t.Context(), "s1", failover.Request{To: "s1-b"})
	r.must(err)
	r.must(r.count("s1-b", 20))
	r.tendUntil(k, map[string]string{"s1-a": "diverged", "s1-b": "primary", "s1-c": "replica"})
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-b", "s1-c") })
	var zombies int
	if err := r.root("s1-c", "SELECT COUNT(*) FROM quipu.owners", &zombies); err != nil || zombies != 0 {
		t.Errorf("%d commits of the zombie are on s1-c, %v", zombies, err)
	}
}
