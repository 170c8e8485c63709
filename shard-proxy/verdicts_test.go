package shardproxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

func (r *rig) verdicts() (map[string]wire.DatabaseVerdict, error) {
	var told wire.DatabasesAnswer
	if err := r.client.JSON(r.t.Context(), http.MethodGet, r.url+wire.PathDatabases, nil, &told); err != nil {
		return nil, err
	}
	all := map[string]wire.DatabaseVerdict{}
	for _, v := range told.Databases {
		all[v.ID] = v
	}
	return all, nil
}

// TestVerdicts: what is told of each database is what the probes found, and of one that is gone that it can't be reached.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	servers := testkit.Shard(t)
	r := newRig(t, servers).bothHealthy()
	all, err := r.verdicts()
	if err != nil {
		t.Fatal(err)
	}
	a, b := all["s1-a"], all["s1-b"]
	if !a.Healthy || a.Role != "primary" || a.ReadOnly || a.Term != 1 || a.Address != servers.Primary.Address() || a.SinceMs == 0 {
		t.Errorf("of the primary it is told %+v", a)
	}
	if !b.Healthy || b.Role != "replica" || !b.ReadOnly || !b.LagKnown {
		t.Errorf("of the replica it is told %+v", b)
	}
	if err := servers.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		all, err := r.verdicts()
		if err != nil {
			return err
		}
		if v := all["s1-a"]; v.Healthy || !v.Probed || v.Code != wire.CodeUnavailable || v.SinceMs <= a.SinceMs {
			return fmt.Errorf("of a primary that is gone it is told %+v", v)
		}
		return nil
	})
}

// TestRolesChangeUnderReads: no question stays unanswered while databases change their roles and places, and one that lost its place is not read.
func TestRolesChangeUnderReads(t *testing.T) {
	t.Parallel()
	r := newRig(t, testkit.Shard(t)).bothHealthy()
	var asked atomic.Int64
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var errs []error
		for {
			select {
			case <-stop:
				ended <- errors.Join(errs...)
				return
			default:
			}
			if _, err := r.stats(keyOf(1, 0)); err != nil {
				errs = append(errs, err)
			}
			asked.Add(1)
		}
	}()
	changed := func(change func(a, b *cluster.Database)) {
		before := asked.Load()
		s := *r.snapshot.Load()
		shard := s.Topology.Shards[0]
		shard.Databases = append([]cluster.Database(nil), shard.Databases...)
		change(&shard.Databases[0], &shard.Databases[1])
		s.Topology.Shards = append([]cluster.Shard{shard}, s.Topology.Shards[1:]...)
		r.publish(&s)
		testkit.Eventually(t, patience, func() error {
			if asked.Load() < before+20 {
				return errors.New("too few questions")
			}
			return nil
		})
	}
	for range 5 {
		changed(func(a, _ *cluster.Database) { a.Role, a.State = cluster.Replica, cluster.Detached })
		changed(func(_, b *cluster.Database) { b.Role = cluster.Primary })
		if answer, err := r.stats(keyOf(1, 0)); err != nil || answer.Sources[0].Database != "s1-b" {
			t.Errorf("a database that lost its place was read: %+v, %v", answer, err)
		}
		changed(func(a, _ *cluster.Database) { a.State = cluster.Attached })
		changed(func(a, b *cluster.Database) { a.Role, b.Role = cluster.Primary, cluster.Replica })
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("of %d questions these were not answered:\n%v", asked.Load(), err)
	}
}

// TestFrozenPrimaryIsLeftBehind: writes that a frozen server holds end when the topology has another primary, long before their own time.
func TestFrozenPrimaryIsLeftBehind(t *testing.T) {
	t.Parallel()
	servers := testkit.Shard(t)
	r := newRig(t, servers).bothHealthy()
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(keyOf(1, 0), 1)))
	servers.AwaitReplica(t)
	if err := servers.Primary.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- r.apply(request(epoch, 2, 3, counted(keyOf(1, 0), 1))) }()
	for _, statement := range []string{"STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1"} {
		if _, err := servers.Replica.Root().Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	s := *r.snapshot.Load()
	s.Topology.Shards = append([]cluster.Shard{{ID: "s1", Databases: []cluster.Database{
		{ID: "s1-a", Address: servers.Primary.Address(), Role: cluster.Replica, State: cluster.Detached},
		{ID: "s1-b", Address: servers.Replica.Address(), Role: cluster.Primary},
	}}}, s.Topology.Shards[1:]...)
	r.publish(&s)
	err := <-ended // the test's deadline is far beyond that of the call
	if err == nil || (wire.CodeOf(err) != wire.CodeDeadline && wire.CodeOf(err) != wire.CodeUnavailable) {
		t.Errorf("a write on a frozen primary ended with %v", err)
	}
	testkit.Eventually(t, patience, func() error { return r.apply(request(epoch, 2, 3, counted(keyOf(1, 0), 1))) })
	if err := servers.Primary.Process().Resume(); err != nil {
		t.Error(err)
	}
}
