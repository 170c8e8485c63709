package cluster

import (
	"errors"
	"fmt"
	"time"
)

// Settings are fixed when a cluster is created.
type Settings struct {
	ClusterID  string    `json:"cluster_id"`
	Partitions int       `json:"partitions"`
	DedupKey   string    `json:"dedup_key"` // 32 hex digits: the key of the event ids' fingerprints
	CreatedAt  time.Time `json:"created_at"`
	// Window is W, the de-duplication window. All processes must decide alike which event is a duplicate, on a replay too.
	Window time.Duration `json:"dedup_window_ns"`
}

// Bounds of a cluster.
const (
	MaxPartitions = 4096
	MaxShards     = 1024
)

// DatabaseRole says what a database of a shard is for.
type DatabaseRole string

// The roles of a database.
const (
	Primary DatabaseRole = "primary"
	Replica DatabaseRole = "replica"
)

// DatabaseState says whether a database of a shard has its place in it.
type DatabaseState string

// The states of a database.
const (
	// Attached: it is the primary, or it follows it.
	Attached DatabaseState = ""
	// Detached: it lost its role, or its primary did, and it has not been made to follow the new one yet. It is not read.
	Detached DatabaseState = "detached"
	// Diverged: it holds what the primary lacks, and can't follow it until it is rebuilt. It is not read.
	Diverged DatabaseState = "diverged"
)

// Database is one MySQL or MariaDB server of a shard.
type Database struct {
	ID      string       `json:"id"`      // unique in the cluster: "s1-a"
	Address string       `json:"address"` // host:port
	Role    DatabaseRole `json:"role"`
	Zone    string       `json:"zone,omitempty"`
	// Unpromotable is set on a replica that the log is no longer kept for: as the primary it would lack counts that nothing can bring back.
	Unpromotable bool `json:"unpromotable,omitempty"`
	// State is set on replicas alone.
	State DatabaseState `json:"state,omitempty"`
}

// Shard is a primary and its replicas.
type Shard struct {
	ID        string     `json:"id"` // "s1"
	Databases []Database `json:"databases"`
}

// PrimaryDatabase returns the shard's primary, and false when it has none just now.
func (s Shard) PrimaryDatabase() (Database, bool) {
	for _, d := range s.Databases {
		if d.Role == Primary {
			return d, true
		}
	}
	return Database{}, false
}

// Topology maps partitions to shards and shards to databases. INV-3: every partition has exactly one shard.
type Topology struct {
	Shards     []Shard  `json:"shards"`
	Partitions []string `json:"partitions"` // shard id by partition
}

// Database returns a database of the shard.
func (s Shard) Database(id string) (Database, bool) {
	for _, d := range s.Databases {
		if d.ID == id {
			return d, true
		}
	}
	return Database{}, false
}

// ErrTopology is wrapped by what Validate returns.
var ErrTopology = errors.New("invalid topology")

// Shard returns the shard of that id.
func (t *Topology) Shard(id string) (Shard, bool) {
	for _, s := range t.Shards {
		if s.ID == id {
			return s, true
		}
	}
	return Shard{}, false
}

// PartitionsOf returns the partitions of a shard, ascending.
func (t *Topology) PartitionsOf(shardID string) []int {
	var out []int
	for p, id := range t.Partitions {
		if id == shardID {
			out = append(out, p)
		}
	}
	return out
}

// Validate checks that every partition names a known shard and every shard has unique databases and one primary at most.
func (t *Topology) Validate() error {
	if len(t.Partitions) == 0 || len(t.Partitions) > MaxPartitions {
		return fmt.Errorf("%w: %d partitions, must be 1 to %d", ErrTopology, len(t.Partitions), MaxPartitions)
	}
	if len(t.Shards) == 0 || len(t.Shards) > MaxShards {
		return fmt.Errorf("%w: %d shards, must be 1 to %d", ErrTopology, len(t.Shards), MaxShards)
	}
	shards, databases := map[string]bool{}, map[string]bool{}
	for _, s := range t.Shards {
		if s.ID == "" || shards[s.ID] {
			return fmt.Errorf("%w: shard id %q is empty or named twice", ErrTopology, s.ID)
		}
		shards[s.ID] = true
		if err := s.validate(databases); err != nil {
			return err
		}
	}
	for p, id := range t.Partitions {
		if !shards[id] {
			return fmt.Errorf("%w: partition %d names the unknown shard %q", ErrTopology, p, id)
		}
	}
	return nil
}

func (s Shard) validate(seen map[string]bool) error {
	primaries := 0
	for _, d := range s.Databases {
		if d.ID == "" || seen[d.ID] {
			return fmt.Errorf("%w: database id %q of shard %s is empty or named twice", ErrTopology, d.ID, s.ID)
		}
		seen[d.ID] = true
		switch {
		case d.Role == Primary:
			primaries++
		case d.Role != Replica:
			return fmt.Errorf("%w: database %s has the role %q, must be primary or replica", ErrTopology, d.ID, d.Role)
		}
		if d.State != Attached && (d.Role != Replica || d.State != Detached && d.State != Diverged) {
			return fmt.Errorf("%w: database %s, a %s, is in the state %q", ErrTopology, d.ID, d.Role, d.State)
		}
		if d.Address == "" {
			return fmt.Errorf("%w: database %s has no address", ErrTopology, d.ID)
		}
	}
	if primaries > 1 {
		return fmt.Errorf("%w: shard %s has %d primaries", ErrTopology, s.ID, primaries)
	}
	return nil
}
