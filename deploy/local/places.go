package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

// roleQuestion bounds a question to a server that may be frozen.
const roleQuestion = 300 * time.Millisecond

// learnPlaces makes the cluster in ZooKeeper, unless it is there, and learns from it which database is a shard's primary: it
// may be another one than at the last start. What has lost its place is left to the role failover.
func (c *Cluster) learnPlaces(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := c.command(ctx, "cluster-init", "cluster", "init", "--topology", c.folder.file("topology.yaml")); err != nil {
		return err
	}
	show := exec.CommandContext(ctx, c.config.Program, "cluster", "show", "--json", "--config", c.folder.file("quipu.yaml"))
	show.Env = roleEnvironment()
	out, err := show.Output()
	var found struct {
		Topology struct {
			Shards []struct {
				ID        string
				Databases []struct{ ID, Role, State string }
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		return fmt.Errorf("read the topology: %w", err)
	}
	for i := range c.shards {
		shard := &c.shards[i]
		for _, known := range found.Topology.Shards {
			if known.ID != shard.id {
				continue
			}
			shard.primary, shard.replicas = nil, nil
			for _, d := range known.Databases {
				server := c.Database(d.ID)
				switch {
				case server == nil:
					return fmt.Errorf("the topology has a database %s that is not in this folder", d.ID)
				case d.Role == "primary":
					shard.primary = server
				case d.State == "":
					shard.replicas = append(shard.replicas, server)
				}
			}
		}
	}
	return c.writeAnalystFiles()
}

func (c *Cluster) writeAnalystFiles() error {
	for _, shard := range c.shards {
		if err := writeFileAtomically(c.folder.file("analyst-"+shard.id+".cnf"), c.analystFile(shard), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// letWrite ends read_only of a primary: servers start with it.
func letWrite(ctx context.Context, primary *MariaDB) error {
	root, err := primary.rootConnection(ctx)
	if err != nil {
		return fmt.Errorf("let %s write: %w", primary.Name(), err)
	}
	defer root.Close()
	if _, err := root.ExecContext(ctx, "SET GLOBAL read_only = OFF"); err != nil {
		return fmt.Errorf("let %s write: %w", primary.Name(), err)
	}
	return nil
}

// primaryNow is the one server that takes writes, if there is exactly one; else the one that was the primary at the start.
func (s shardServers) primaryNow(ctx context.Context) *MariaDB {
	var writable []*MariaDB
	for _, server := range s.servers {
		if running(server) && takesWrites(ctx, server) {
			writable = append(writable, server)
		}
	}
	if len(writable) == 1 {
		return writable[0]
	}
	return s.primary
}

func takesWrites(ctx context.Context, server *MariaDB) bool {
	ctx, cancel := context.WithTimeout(ctx, roleQuestion)
	defer cancel()
	root := server.Root()
	if root == nil {
		return false
	}
	readOnly := true
	return root.QueryRowContext(ctx, "SELECT @@GLOBAL.read_only").Scan(&readOnly) == nil && !readOnly
}

// follows tells whether a server replicates another one.
func follows(ctx context.Context, primary, replica *MariaDB) bool {
	ctx, cancel := context.WithTimeout(ctx, roleQuestion)
	defer cancel()
	status, err := replicaStatus(ctx, replica)
	return err == nil && status["Master_Port"] == fmt.Sprint(primary.Port()) && status["Slave_IO_Running"] == "Yes"
}
