package zookeeper

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// known is what a directory has learnt so far.
type known struct {
	settings *cluster.Settings
	topology *cluster.Topology
	members  map[cluster.Role]map[string]cluster.Member
	types    map[string]event.Type

	typesRead bool // all types that there are were read once: one that is not in types does not exist
}

func newKnown() *known {
	return &known{members: map[cluster.Role]map[string]cluster.Member{}, types: map[string]event.Type{}}
}

// snapshot returns an immutable copy, nil until settings and topology are known.
func (k *known) snapshot() *cluster.Snapshot {
	if k.settings == nil || k.topology == nil {
		return nil
	}
	s := &cluster.Snapshot{Settings: *k.settings, Topology: *k.topology, Members: map[cluster.Role][]cluster.Member{}}
	for role, members := range k.members {
		for _, m := range members {
			s.Members[role] = append(s.Members[role], m)
		}
		slices.SortFunc(s.Members[role], func(a, b cluster.Member) int { return cmp.Compare(a.ID, b.ID) })
	}
	return s
}

// sameSnapshot compares all but the version.
func sameSnapshot(a, b *cluster.Snapshot) bool {
	return sameSettings(a.Settings, b.Settings) && reflect.DeepEqual(a.Topology, b.Topology) && reflect.DeepEqual(a.Members, b.Members)
}

// sameSettings compares what decides where events go and what is a duplicate.
func sameSettings(a, b cluster.Settings) bool {
	return a.ClusterID == b.ClusterID && a.Partitions == b.Partitions && a.DedupKey == b.DedupKey && a.CreatedAt.Equal(b.CreatedAt) && a.Window == b.Window
}
