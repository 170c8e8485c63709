package mysql_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

func TestProbeTellsWhatTheDatabaseIs(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 2)))
	shared.AwaitReplica(t)
	want := mysql.Health{
		ClusterID: "c1", ShardID: "s1", Term: 1, SchemaVersion: migrations.Latest(),
		AsOf: map[int]int64{0: 0, 1: 0, 2: 0, 3: 2000, 4: 0, 5: 0, 6: 0, 7: 0},
	}
	for db, readOnly := range map[*testkit.Database]bool{shared.Primary: false, shared.Replica: true} {
		monitor := pool(t, db, local.AccountMonitor, nil)
		got, err := monitor.Probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want.ReadOnly = readOnly
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", db.Name(), diff)
		}
		replication, err := monitor.Replication(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		replication.Behind = 0 // in whole seconds, of what was just applied
		if wantReplication := (mysql.Replication{Configured: readOnly, Receiving: readOnly, Applying: readOnly, Known: readOnly}); replication != wantReplication {
			t.Errorf("%s: got %+v, want %+v", db.Name(), replication, wantReplication)
		}
	}
}

func TestReplicationThatStoppedIsTold(t *testing.T) {
	newBench(t, shared)
	shared.AwaitReplica(t)
	monitor := pool(t, shared.Replica, local.AccountMonitor, nil)
	if _, err := shared.Replica.Root().Exec(testkit.Speak("STOP SLAVE SQL_THREAD")); err != nil {
		t.Fatal(err)
	}
	got, err := monitor.Replication(t.Context())
	if err != nil || got.Applying || !got.Configured || got.Known {
		t.Errorf("got %+v, %v; want a replica that does not apply, with an unknown lag", got, err)
	}
	if _, err := shared.Replica.Root().Exec(testkit.Speak("START SLAVE SQL_THREAD")); err != nil {
		t.Fatal(err)
	}
	shared.AwaitReplica(t)
}

func TestDatabaseThatIsAwayIsUnavailable(t *testing.T) {
	b := newBench(t, shared)
	away := func(c *mysql.Config) { c.Address = "127.0.0.1:1" }
	db := pool(t, b.servers.Primary, local.AccountMonitor, away)
	if _, err := db.Probe(t.Context()); !errors.Is(err, mysql.ErrUnavailable) {
		t.Errorf("probe: got %v, want %v", err, mysql.ErrUnavailable)
	}
	primary := primaryOf(t, b.servers.Primary, away)
	for name, r := range map[string]*mysql.ApplyRequest{"rows": request(1, 1, 2, counted("a", minute(12, 0), 1)), "heartbeat": request(1, 1, 1)} {
		if err := primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnavailable) || errors.Is(err, mysql.ErrUnknownOutcome) {
			t.Errorf("%s: got %v, want %v for certain", name, err, mysql.ErrUnavailable)
		}
	}
}

// A database that was demoted refuses writes, and that is a certain failure.
func TestReadOnlyDatabaseRefusesWrites(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.exec(t, "SET GLOBAL read_only = ON")
	defer b.exec(t, "SET GLOBAL read_only = OFF")
	for name, r := range map[string]*mysql.ApplyRequest{"rows": request(epoch, 1, 2, counted("a", minute(12, 0), 1)), "heartbeat": request(epoch, 1, 1)} {
		if err := b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnavailable) || errors.Is(err, mysql.ErrUnknownOutcome) {
			t.Errorf("%s: got %v, want %v for certain", name, err, mysql.ErrUnavailable)
		}
	}
}

func TestPoolIsBounded(t *testing.T) {
	b := newBench(t, shared)
	one := pool(t, shared.Primary, local.AccountRead, func(c *mysql.Config) { c.MaxConnections = 1; c.StatementTimeout = 300 * time.Millisecond })
	blocker, err := b.servers.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	if _, err := blocker.ExecContext(t.Context(), "LOCK TABLES quipu.checkpoints WRITE"); err != nil {
		t.Fatal(err)
	}
	defer blocker.ExecContext(t.Context(), "UNLOCK TABLES")
	results := make(chan error, 3)
	for range cap(results) {
		go func() { _, err := one.Checkpoints(t.Context()); results <- err }()
	}
	for range cap(results) {
		if err := <-results; !errors.Is(err, mysql.ErrDeadline) {
			t.Errorf("got %v, want %v", err, mysql.ErrDeadline)
		}
	}
	if got := one.PoolStats().OpenConnections; got > 1 {
		t.Errorf("got %d connections, want 1 at most", got)
	}
}
