package writer_test

import (
	"sync"

	"github.com/quipudb/quipu/cluster"
)

// view is the cluster as writers see it.
type view struct {
	mu       sync.Mutex
	snapshot *cluster.Snapshot
	changed  chan struct{}
}

func newView(partitions int, writers ...string) *view {
	v := &view{changed: make(chan struct{})}
	v.snapshot = &cluster.Snapshot{Settings: cluster.Settings{Partitions: partitions}, Topology: cluster.Topology{Partitions: make([]string, partitions)}}
	for p := range partitions {
		v.snapshot.Topology.Partitions[p] = "s1"
	}
	v.set(writers...)
	return v
}

// set says which writers live.
func (v *view) set(writers ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := *v.snapshot
	next.Members = map[cluster.Role][]cluster.Member{}
	for _, id := range writers {
		next.Members[cluster.RoleWriter] = append(next.Members[cluster.RoleWriter], cluster.Member{ID: id, Role: cluster.RoleWriter})
	}
	next.Version++
	v.snapshot = &next
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *view) Cluster() *cluster.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.snapshot
}

func (v *view) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// describe names the cluster and the shard of all partitions.
func (v *view) describe(clusterID string, shard cluster.Shard) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := *v.snapshot
	next.Settings.ClusterID, next.Topology.Shards = clusterID, []cluster.Shard{shard}
	next.Version++
	v.snapshot = &next
}
