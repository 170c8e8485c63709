package cluster

import "slices"

// Role names a kind of process.
type Role string

// The roles that register as members.
const (
	RoleIngest       Role = "ingest"
	RoleWriter       Role = "writer"
	RoleClusterProxy Role = "cluster-proxy"
	RoleShardProxy   Role = "shard-proxy"
	RoleReader       Role = "reader"
	RoleRollup       Role = "rollup"
	RoleFailover     Role = "failover"
)

// Roles lists every role that registers.
func Roles() []Role {
	return []Role{RoleIngest, RoleWriter, RoleClusterProxy, RoleShardProxy, RoleReader, RoleRollup, RoleFailover}
}

// Member is one live process of a role, as it registered itself.
type Member struct {
	ID      string `json:"id"` // unique among the live members of its role
	Role    Role   `json:"role"`
	URL     string `json:"url"`             // base address: "http://127.0.0.1:8080"
	Shard   string `json:"shard,omitempty"` // a shard proxy's shard
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"`
}

// Snapshot is everything that routing needs, as last known. It is immutable.
type Snapshot struct {
	Settings Settings          `json:"settings"`
	Topology Topology          `json:"topology"`
	Members  map[Role][]Member `json:"members"` // sorted by id
	Version  int64             `json:"version"` // grows with every change that this process saw
}

// PartitionOf returns the partition of a key.
func (s *Snapshot) PartitionOf(eventType, key string) int {
	return Partition(eventType, key, s.Settings.Partitions)
}

// ShardOf returns the id of the shard that owns a partition, and false when the topology has no such partition.
func (s *Snapshot) ShardOf(partition int) (string, bool) {
	if partition < 0 || partition >= len(s.Topology.Partitions) {
		return "", false
	}
	return s.Topology.Partitions[partition], true
}

// ShardProxies returns the live shard proxies of a shard.
func (s *Snapshot) ShardProxies(shardID string) []Member {
	var out []Member
	for _, m := range s.Members[RoleShardProxy] {
		if m.Shard == shardID {
			out = append(out, m)
		}
	}
	return out
}

// MemberIDs returns the ids of a role's live members, ascending.
func (s *Snapshot) MemberIDs(role Role) []string {
	ids := make([]string, 0, len(s.Members[role]))
	for _, m := range s.Members[role] {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return ids
}
