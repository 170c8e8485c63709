package local

import (
	"errors"
	"fmt"

	"github.com/quipudb/quipu/event"
)

// Defaults of ClusterConfig.
const (
	DefaultShards     = 2
	DefaultReplicas   = 1
	DefaultPartitions = 16
	DefaultWriters    = 1
	DefaultPortBase   = 8080
	DefaultMinFree    = 2 << 30
)

// Values of ClusterConfig that say what a number can't.
const (
	// NoReplicas for Replicas: primaries only.
	NoReplicas = -1
	// AnyPorts for PortBase: whatever is free. For tests, which run side by side.
	AnyPorts = -1
)

// Bounds of a cluster on one machine.
const (
	maxShards   = 16
	maxReplicas = 4
	maxWriters  = 16
	maxProxies  = 8
)

// ErrClusterConfig says that a cluster of this kind can't be.
var ErrClusterConfig = errors.New("no such cluster can be made")

// ClusterConfig describes a whole cluster on this machine. Zero means the default,
// or, where the data folder holds a cluster already, what that has.
type ClusterConfig struct {
	// Dir is the data folder.
	Dir string
	// Program is the quipu program: it is run for every role and every setup step.
	Program string
	// Version of the program, for the folder's record.
	Version string

	Shards     int
	Replicas   int // for each shard; NoReplicas for none
	Partitions int
	Writers    int
	// ClusterProxies, and ShardProxies for each shard: 1 of each.
	ClusterProxies, ShardProxies int
	// PortBase is where the ports are preferred: ingest's, the reader's, then one for each
	// other role; servers follow at an offset. AnyPorts: anywhere. Ports keep from
	// one start to the next; another base moves the roles' ports.
	PortBase int
	// EventTypes are registered once the cluster is there.
	EventTypes []event.Type
	// Settings of every role, each "section.key=value" in the words of --set.
	Settings []string
	// SettingsOf are settings of single processes, by their names, beyond those of every role.
	SettingsOf map[string][]string
	// BufferPoolBytes is the cache of each database; 0 means 256 MiB.
	BufferPoolBytes int64
	// MinFreeBytes is how much of the disk must be free to start; 0 means 2 GiB.
	MinFreeBytes uint64
	// DieWithParent: see Command. For tests.
	DieWithParent bool
	// Progress is told each step, one line each, from several goroutines but one
	// line at a time. Nil: nobody is.
	Progress func(line string)
}

func (c ClusterConfig) withDefaults() ClusterConfig {
	c.Dir = absolute(c.Dir)
	c.Writers = orDefault(c.Writers, DefaultWriters)
	c.ClusterProxies, c.ShardProxies = orDefault(c.ClusterProxies, 1), orDefault(c.ShardProxies, 1)
	if c.MinFreeBytes == 0 {
		c.MinFreeBytes = DefaultMinFree
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c
}

func (c ClusterConfig) check() error {
	for _, bound := range []struct {
		name              string
		value, low, limit int
	}{
		{"shards", c.Shards, 0, maxShards},
		{"replicas", c.Replicas, NoReplicas, maxReplicas},
		{"partitions", c.Partitions, 0, 1024},
		{"writers", c.Writers, 1, maxWriters},
		{"cluster proxies", c.ClusterProxies, 1, maxProxies},
		{"shard proxies", c.ShardProxies, 1, maxProxies},
		{"port base", c.PortBase, AnyPorts, 65000},
	} {
		if bound.value < bound.low || bound.value > bound.limit {
			return fmt.Errorf("%w: %s must be at most %d, is %d", ErrClusterConfig, bound.name, bound.limit, bound.value)
		}
	}
	return nil
}
