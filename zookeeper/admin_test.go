package zookeeper_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/zookeeper"
)

func TestConcurrentBootstrapCreatesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	proposals := make([]cluster.Settings, 6)
	created := make([]bool, len(proposals))
	var all sync.WaitGroup
	for i := range proposals {
		proposals[i] = sampleSettings()
		p := w.start()
		all.Go(func() {
			var err error
			if created[i], err = p.Bootstrap(t.Context(), proposals[i], sampleTopology()); err != nil {
				t.Errorf("bootstrap: %v", err)
			}
		})
	}
	all.Wait()
	got, err := w.start().Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range created {
		if won := proposals[i].ClusterID == got.ClusterID; won != c {
			t.Errorf("bootstrap %d returned created = %t, but the cluster is %s", i, c, got.ClusterID)
		}
	}
}

func TestBootstrapRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	p := newWorld(t, shared.Address()).start()
	for name, change := range map[string]func(*cluster.Settings){
		"partitions": func(s *cluster.Settings) { s.Partitions = 5 },
		"key":        func(s *cluster.Settings) { s.DedupKey = "abc" },
		"id":         func(s *cluster.Settings) { s.ClusterID = "" },
	} {
		s := sampleSettings()
		change(&s)
		if _, err := p.Bootstrap(t.Context(), s, sampleTopology()); !errors.Is(err, zookeeper.ErrSettings) {
			t.Errorf("%s: got %v, want ErrSettings", name, err)
		}
	}
	if _, err := p.Settings(t.Context()); !errors.Is(err, zookeeper.ErrNoCluster) {
		t.Errorf("got %v after refused settings, want ErrNoCluster", err)
	}
}

func TestSetPromotableMarksReplicasAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	w.bootstrap(p)
	topo, version, err := p.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topo.Shards[0].Databases = []cluster.Database{{ID: "a", Address: "h:1", Role: cluster.Primary}, {ID: "b", Address: "h:2", Role: cluster.Replica}}
	if err := p.SetTopology(t.Context(), topo, version); err != nil {
		t.Fatal(err)
	}
	for _, promotable := range []bool{false, false, true} {
		if err := p.SetPromotable(t.Context(), "b", promotable); err != nil {
			t.Fatal(err)
		}
		topo.Shards[0].Databases[1].Unpromotable = !promotable
		if got, _, err := p.Topology(t.Context()); err != nil || !reflect.DeepEqual(got, topo) {
			t.Errorf("got %+v, %v; want %+v", got, err, topo)
		}
	}
	for _, id := range []string{"a", "c"} {
		if err := p.SetPromotable(t.Context(), id, false); !errors.Is(err, cluster.ErrTopology) {
			t.Errorf("got %v for %s, want ErrTopology", err, id)
		}
	}
}

func TestSetTopologyComparesAndSets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	p := w.start()
	w.bootstrap(p)
	topo, version, err := p.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	moved := topo
	moved.Partitions = []string{"s1", "s2", "s2", "s2"}
	if err := p.SetTopology(t.Context(), moved, version); err != nil {
		t.Fatal(err)
	}
	other := topo
	other.Partitions = []string{"s2", "s2", "s2", "s2"}
	if err := p.SetTopology(t.Context(), other, version); !errors.Is(err, zookeeper.ErrTopologyChanged) {
		t.Errorf("got %v for the old version, want ErrTopologyChanged", err)
	}
	other.Partitions = []string{"s9", "s2", "s2", "s2"}
	if err := p.SetTopology(t.Context(), other, version+1); !errors.Is(err, cluster.ErrTopology) {
		t.Errorf("got %v for an unknown shard, want ErrTopology (INV-3)", err)
	}
	other.Partitions = []string{"s1"}
	if err := p.SetTopology(t.Context(), other, version+1); !errors.Is(err, zookeeper.ErrSettings) {
		t.Errorf("got %v for another number of partitions, want ErrSettings", err)
	}
	got, _, err := p.Topology(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(moved, got); d != "" {
		t.Errorf("topology differs (-want +got):\n%s", d)
	}
}

func TestEventTypesConflict(t *testing.T) {
	t.Parallel()
	p := newWorld(t, shared.Address()).start()
	view := event.Type{Name: "view", Unit: "ms", AcceptLate: event.DefaultAcceptLate, CreatedAt: time.Now()}
	if created, err := p.CreateEventType(t.Context(), view); !created || err != nil {
		t.Fatalf("got %t, %v for the first, want true", created, err)
	}
	again := view
	again.CreatedAt = view.CreatedAt.Add(time.Hour)
	if created, err := p.CreateEventType(t.Context(), again); created || err != nil {
		t.Errorf("got %t, %v for the same again, want false and no error", created, err)
	}
	other := view
	other.Unit = "s"
	if _, err := p.CreateEventType(t.Context(), other); !errors.Is(err, zookeeper.ErrTypeConflict) {
		t.Errorf("got %v for another unit, want ErrTypeConflict", err)
	}
	if _, err := p.CreateEventType(t.Context(), event.Type{Name: "View"}); !errors.Is(err, event.ErrType) {
		t.Errorf("got %v for a bad name, want ErrType", err)
	}
	types, err := p.ListEventTypes(t.Context())
	if err != nil || len(types) != 1 || types[0].Unit != "ms" || !types[0].CreatedAt.Equal(view.CreatedAt) {
		t.Errorf("got %v, %v from the list, want the first view", types, err)
	}
}

func TestMarkOnce(t *testing.T) {
	t.Parallel()
	p := newWorld(t, shared.Address()).start()
	if _, marked, err := p.Marked(t.Context(), "sample"); marked || err != nil {
		t.Fatalf("got %t, %v before, want false", marked, err)
	}
	for i, want := range []bool{false, true, true} {
		already, err := p.Mark(t.Context(), "sample", fmt.Append(nil, i))
		if err != nil || already != want {
			t.Errorf("mark %d: got %t, %v, want %t", i, already, err, want)
		}
	}
	if data, marked, err := p.Marked(t.Context(), "sample"); string(data) != "0" || !marked || err != nil {
		t.Errorf("got %q, %t, %v, want the first data", data, marked, err)
	}
	if _, err := p.Mark(t.Context(), "../cluster", nil); !errors.Is(err, zookeeper.ErrName) {
		t.Errorf("got %v for a name with a slash, want ErrName", err)
	}
}

func TestEnsureLogRefusesAnother(t *testing.T) {
	t.Parallel()
	p := newWorld(t, shared.Address()).start()
	for range 2 {
		if err := p.EnsureLog(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.EnsureLog(t.Context(), "second"); !errors.Is(err, zookeeper.ErrOtherLog) {
		t.Errorf("got %v, want ErrOtherLog", err)
	}
}

func TestLockExcludes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	var inside, rounds atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		p := w.start()
		all.Go(func() {
			for range 5 {
				unlock, err := p.Lock(t.Context(), "migrate")
				if err != nil {
					t.Errorf("lock: %v", err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d processes hold the lock", n)
				}
				rounds.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	all.Wait()
	if got := rounds.Load(); got != 20 {
		t.Errorf("got %d rounds, want 20", got)
	}
}

func TestCallsEndWithTheirBound(t *testing.T) {
	t.Parallel()
	p := newWorld(t, shared.Address()).start(func(c *zookeeper.Config) { c.CallTimeout = 300 * time.Millisecond })
	p.relay.Cut()
	if _, err := p.ListEventTypes(t.Context()); !errors.Is(err, zookeeper.ErrDisconnected) && !errors.Is(err, zookeeper.ErrTimeout) {
		t.Errorf("got %v with the server away, want ErrDisconnected or ErrTimeout (INV-9)", err)
	}
	p.stop()
	if _, err := p.ListEventTypes(t.Context()); !errors.Is(err, zookeeper.ErrClosed) {
		t.Errorf("got %v after the end, want ErrClosed", err)
	}
}
