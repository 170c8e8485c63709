package zookeeper_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/zookeeper"
)

// TestFailoverIsWrittenByOne: of two that read the same version one writes; the topology changes with the record or not at all, and goes along with
// what others change in it.
func TestFailoverIsWrittenByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	first, second := w.start(), w.start()
	_, made := w.bootstrap(first)
	made.Shards[0].Databases = append(made.Shards[0].Databases, cluster.Database{ID: "s1-b", Address: "127.0.0.1:3309", Role: cluster.Replica})
	if err := first.SetTopology(t.Context(), made, 0); err != nil {
		t.Fatal(err)
	}
	record, version, err := first.Failover(t.Context(), "s1")
	if err != nil || version != -1 || record.Epoch != 0 {
		t.Fatalf("before there is one: %+v, version %d, %v", record, version, err)
	}
	took := cluster.Failover{Epoch: 1, Owner: "first"}
	version, err = first.SetFailover(t.Context(), "s1", took, version)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := first.SetFailover(t.Context(), "s1", took, version-1); err != nil || again != version {
		t.Errorf("the same once more, as after a lost reply: version %d, %v; want %d", again, err, version)
	}
	if _, err := second.SetFailover(t.Context(), "s1", cluster.Failover{Epoch: 1, Owner: "second"}, -1); !errors.Is(err, zookeeper.ErrFailoverChanged) {
		t.Errorf("a second one that saw none wrote: %v", err)
	}

	// Somebody else changes another part of the topology meanwhile: no reason to fail.
	if err := second.SetPromotable(t.Context(), "s1-b", false); err != nil {
		t.Fatal(err)
	}
	toReplica := func(s *cluster.Shard) error {
		s.Databases[0].Role, s.Databases[0].State = cluster.Replica, cluster.Detached
		return nil
	}
	took.Intent = &cluster.Intent{From: "s1-a", To: "s1-b", Step: cluster.StepIntended}
	after, err := first.SwitchTopology(t.Context(), "s1", took, version, toReplica)
	if err != nil {
		t.Fatal(err)
	}
	topology, _, err := second.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := topology.Shards[0].Databases[0], topology.Shards[0].Databases[1]; a.State != cluster.Detached || !b.Unpromotable {
		t.Errorf("the topology has %+v and %+v, want both changes", a, b)
	}
	found, at, err := second.Failover(t.Context(), "s1")
	if diff := cmp.Diff(took, found); err != nil || at != after || diff != "" {
		t.Errorf("read version %d of %d, %v:\n%s", at, after, err, diff)
	}

	// One of an earlier version changes neither.
	back := func(s *cluster.Shard) error {
		s.Databases[0].Role, s.Databases[0].State = cluster.Primary, cluster.Attached
		return nil
	}
	if _, err := second.SwitchTopology(t.Context(), "s1", cluster.Failover{Epoch: 9}, version, back); !errors.Is(err, zookeeper.ErrFailoverChanged) {
		t.Errorf("one that was overtaken wrote: %v", err)
	}
	refused := errors.New("no")
	if _, err := first.SwitchTopology(t.Context(), "s1", took, after, func(*cluster.Shard) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the change's own error became %v", err)
	}
	if _, err := first.SwitchTopology(t.Context(), "s9", took, after, back); !errors.Is(err, cluster.ErrTopology) {
		t.Errorf("a shard that is not there was changed: %v", err)
	}
	unchanged, _, err := first.Topology(t.Context())
	if diff := cmp.Diff(topology, unchanged); err != nil || diff != "" {
		t.Errorf("the topology changed: %v\n%s", err, diff)
	}
}
