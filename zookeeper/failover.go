package zookeeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/cluster"
)

// ErrFailoverChanged says that somebody else has taken a shard's failover in hand, or gone on with it.
var ErrFailoverChanged = errors.New("the shard's failover has been changed meanwhile")

// Failover reads what is remembered of the changes of a shard's primary, and its version for SetFailover; nothing and −1 if there was none.
func (c *Client) Failover(ctx context.Context, shard string) (cluster.Failover, int32, error) {
	var f cluster.Failover
	if err := checkName("shard", shard); err != nil {
		return f, 0, err
	}
	n, found, err := c.get(ctx, c.paths.failover(shard))
	if err != nil {
		return f, 0, fmt.Errorf("read failover of shard %s: %w", shard, err)
	}
	if !found {
		return f, -1, nil
	}
	if err := json.Unmarshal(n.data, &f); err != nil {
		return f, 0, fmt.Errorf("read failover of shard %s: %w", shard, err)
	}
	return f, n.stat.Version, nil
}

// SetFailover replaces what is remembered of a shard, of the given version; ErrFailoverChanged if that has another one by now. It returns the new
// version.
func (c *Client) SetFailover(ctx context.Context, shard string, f cluster.Failover, version int32) (int32, error) {
	after, err := c.changeFailover(ctx, shard, f, version)
	if err != nil {
		return 0, fmt.Errorf("set failover of shard %s: %w", shard, err)
	}
	return after, nil
}

// SwitchTopology is SetFailover with a change of the shard in the topology, both or none. The change is made again if somebody else changed
// the topology meanwhile; an error of its own is returned as it is.
func (c *Client) SwitchTopology(ctx context.Context, shard string, f cluster.Failover, version int32, change func(*cluster.Shard) error) (int32, error) {
	for try := 1; ; try++ {
		topology, at, err := c.Topology(ctx)
		if err != nil {
			return 0, err
		}
		if err := changeShard(&topology, shard, change); err != nil {
			return 0, err
		}
		data, err := json.Marshal(topology)
		if err != nil {
			return 0, fmt.Errorf("switch shard %s: %w", shard, err)
		}
		after, err := c.changeFailover(ctx, shard, f, version, &zk.SetDataRequest{Path: c.paths.topology(), Data: data, Version: at})
		if err == nil {
			return after, nil
		}
		if !errors.Is(err, ErrTopologyChanged) || try == topologyTries {
			return 0, fmt.Errorf("switch shard %s: %w", shard, err)
		}
	}
}

func changeShard(topology *cluster.Topology, id string, change func(*cluster.Shard) error) error {
	for i := range topology.Shards {
		if topology.Shards[i].ID == id {
			if err := change(&topology.Shards[i]); err != nil {
				return err
			}
			return topology.Validate()
		}
	}
	return fmt.Errorf("%w: there is no shard %s", cluster.ErrTopology, id)
}

// changeFailover writes the shard's record and whatever else, all or nothing. A version that moved is forgiven if it was our own doing, by a try
// whose reply was lost: epoch, owner and step make every record different from all others.
func (c *Client) changeFailover(ctx context.Context, shard string, f cluster.Failover, version int32, others ...any) (int32, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return 0, err
	}
	path := c.paths.failover(shard)
	record := any(&zk.SetDataRequest{Path: path, Data: data, Version: version})
	if version < 0 {
		if err := c.ensureFolders(ctx); err != nil {
			return 0, err
		}
		record = createRequest(path, data, 0)
	}
	err = c.multi(ctx, append([]any{record}, others...)...)
	switch {
	case err == nil:
		return version + 1, nil
	case !errors.Is(err, zk.ErrBadVersion) && !errors.Is(err, zk.ErrNodeExists) && !errors.Is(err, zk.ErrNoNode):
		return 0, err
	}
	n, found, err := c.get(ctx, path)
	switch {
	case err != nil:
		return 0, err
	case found && n.stat.Version == version+1 && bytes.Equal(n.data, data):
		return version + 1, nil
	case found && n.stat.Version == version || !found && version < 0:
		return 0, ErrTopologyChanged
	}
	return 0, fmt.Errorf("%w: its version is %d, not %d", ErrFailoverChanged, n.stat.Version, version)
}
