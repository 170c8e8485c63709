package zookeeper

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/cluster"
)

// Bootstrap creates a cluster, once: settings and topology together or not at all. If there is one already, whatever its
// settings, nothing changes and created is false.
func (c *Client) Bootstrap(ctx context.Context, settings cluster.Settings, topology cluster.Topology) (created bool, err error) {
	if err := checkSettings(settings, topology); err != nil {
		return false, fmt.Errorf("create cluster: %w", err)
	}
	first, err := json.Marshal(settings)
	if err != nil {
		return false, fmt.Errorf("create cluster: %w", err)
	}
	second, err := json.Marshal(topology)
	if err != nil {
		return false, fmt.Errorf("create cluster: %w", err)
	}
	if err := c.ensureFolders(ctx); err != nil {
		return false, fmt.Errorf("create cluster: %w", err)
	}
	err = c.multi(ctx, createRequest(c.paths.settings(), first, 0), createRequest(c.paths.topology(), second, 0))
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, zk.ErrNodeExists):
		return false, fmt.Errorf("create cluster: %w", err)
	}
	// The node may be our own of a try whose reply was lost: the cluster id is random.
	found, err := c.Settings(ctx)
	return err == nil && found.ClusterID == settings.ClusterID, err
}

func checkSettings(s cluster.Settings, t cluster.Topology) error {
	if key, err := hex.DecodeString(s.DedupKey); err != nil || len(key) != 16 {
		return fmt.Errorf("%w: dedup_key must be 32 hex digits", ErrSettings)
	}
	if s.ClusterID == "" {
		return fmt.Errorf("%w: cluster_id is empty", ErrSettings)
	}
	if err := t.Validate(); err != nil {
		return err
	}
	if len(t.Partitions) != s.Partitions {
		return fmt.Errorf("%w: the topology has %d partitions, the settings have %d", ErrSettings, len(t.Partitions), s.Partitions)
	}
	return nil
}

// ensureFolders makes the nodes that only hold others.
func (c *Client) ensureFolders(ctx context.Context) error {
	if c.foldersMade.Load() {
		return nil
	}
	var parent string
	for _, name := range strings.Split(strings.Trim(c.paths.root, "/"), "/") {
		parent = path.Join("/", parent, name)
		if _, err := c.create(ctx, parent, nil, 0); err != nil {
			return err
		}
	}
	for _, folder := range c.paths.folders() {
		if _, err := c.create(ctx, folder, nil, 0); err != nil {
			return err
		}
	}
	c.foldersMade.Store(true)
	return nil
}

// Settings reads the cluster's settings. ErrNoCluster when there is none.
func (c *Client) Settings(ctx context.Context) (cluster.Settings, error) {
	var s cluster.Settings
	n, found, err := c.get(ctx, c.paths.settings())
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if !found {
		return s, ErrNoCluster
	}
	if err := json.Unmarshal(n.data, &s); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// Topology reads the topology and its version for SetTopology. ErrNoCluster when there is none.
func (c *Client) Topology(ctx context.Context) (cluster.Topology, int32, error) {
	var t cluster.Topology
	n, found, err := c.get(ctx, c.paths.topology())
	if err != nil {
		return t, 0, fmt.Errorf("read topology: %w", err)
	}
	if !found {
		return t, 0, ErrNoCluster
	}
	if err := json.Unmarshal(n.data, &t); err != nil {
		return t, 0, fmt.Errorf("read topology: %w", err)
	}
	return t, n.stat.Version, nil
}

// SetTopology replaces the topology of the given version; ErrTopologyChanged if it has another one by now. The number of
// partitions can't change.
func (c *Client) SetTopology(ctx context.Context, topology cluster.Topology, version int32) error {
	settings, err := c.Settings(ctx)
	if err != nil {
		return fmt.Errorf("set topology: %w", err)
	}
	if err := checkSettings(settings, topology); err != nil {
		return fmt.Errorf("set topology: %w", err)
	}
	data, err := json.Marshal(topology)
	if err != nil {
		return fmt.Errorf("set topology: %w", err)
	}
	_, err = call(ctx, c, func(conn *zk.Conn) (struct{}, error) {
		_, err := conn.Set(c.paths.topology(), data, version)
		return struct{}{}, err
	})
	if errors.Is(err, zk.ErrBadVersion) {
		return c.ownTopology(ctx, data, version)
	}
	if err != nil {
		return fmt.Errorf("set topology: %w", err)
	}
	return nil
}

// topologyTries bounds how often a small change is made again because somebody else changed the topology meanwhile.
const topologyTries = 5

// SetPromotable says of a replica whether it may become the primary of its shard. A database that is the primary by now, or is not there, is an
// error: whoever promotes and whoever forbids it can't both succeed.
func (c *Client) SetPromotable(ctx context.Context, database string, promotable bool) error {
	for try := 1; ; try++ {
		topology, version, err := c.Topology(ctx)
		if err != nil {
			return err
		}
		d, err := replicaOf(&topology, database)
		if err != nil {
			return err
		}
		if d.Unpromotable == !promotable {
			return nil
		}
		d.Unpromotable = !promotable
		if err = c.SetTopology(ctx, topology, version); !errors.Is(err, ErrTopologyChanged) || try == topologyTries {
			return err
		}
	}
}

func replicaOf(topology *cluster.Topology, id string) (*cluster.Database, error) {
	for s := range topology.Shards {
		for d := range topology.Shards[s].Databases {
			switch found := &topology.Shards[s].Databases[d]; {
			case found.ID != id:
			case found.Role != cluster.Replica:
				return nil, fmt.Errorf("%w: %s is the %s of shard %s, not a replica", cluster.ErrTopology, id, found.Role, topology.Shards[s].ID)
			default:
				return found, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: there is no database %s", cluster.ErrTopology, id)
}

// ownTopology forgives a version that moved if it is our own doing, by a try whose reply was lost.
func (c *Client) ownTopology(ctx context.Context, data []byte, version int32) error {
	n, _, err := c.get(ctx, c.paths.topology())
	if err != nil {
		return fmt.Errorf("set topology: %w", err)
	}
	if n.stat.Version == version+1 && bytes.Equal(n.data, data) {
		return nil
	}
	return fmt.Errorf("set topology: %w: its version is %d, not %d", ErrTopologyChanged, n.stat.Version, version)
}

// EnsureLog records which event log the cluster counts, at the first call; later ones compare. ErrOtherLog names both.
func (c *Client) EnsureLog(ctx context.Context, incarnation string) error {
	if incarnation == "" {
		return errors.New("record log: incarnation is empty")
	}
	if err := c.ensureFolders(ctx); err != nil {
		return fmt.Errorf("record log: %w", err)
	}
	if _, err := c.create(ctx, c.paths.log(), []byte(incarnation), 0); err != nil {
		return fmt.Errorf("record log: %w", err)
	}
	n, found, err := c.get(ctx, c.paths.log())
	if err != nil {
		return fmt.Errorf("record log: %w", err)
	}
	if !found {
		return fmt.Errorf("record log: node %s was removed meanwhile", c.paths.log())
	}
	if string(n.data) != incarnation {
		return fmt.Errorf("%w: it counts %s, this log is %s", ErrOtherLog, n.data, incarnation)
	}
	return nil
}
