package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// describeParts lays down what is to be started.
func (c *Cluster) describeParts(context.Context) error {
	c.parts, c.shards, c.roles = nil, nil, nil
	c.zookeeper = NewZooKeeper(ZooKeeperConfig{
		Dir: c.folder.file("zookeeper"), Port: c.ports["zookeeper"], DieWithParent: c.config.DieWithParent,
	})
	for i := range c.shape.Shards {
		c.shards = append(c.shards, c.describeShard(i))
	}
	c.addRole("failover", "failover", "", rankFailover)
	c.addRole("reader", "reader", "", rankReader)
	c.addRole("rollup", "rollup", "", rankRollup)
	for i := range c.config.Writers {
		c.addRole(numbered("writer", i), "writer", "", rankWriter)
	}
	c.addRole("ingest", "ingest", "", rankIngest)
	for i := range c.config.ClusterProxies {
		c.addRole(numbered("cluster-proxy", i), "cluster-proxy", "", rankClusterProxy)
	}
	for _, shard := range c.shards {
		for i := range c.config.ShardProxies {
			c.addRole(numbered("shard-proxy-"+shard.id, i), "shard-proxy", shard.id, rankShardProxy)
		}
	}
	for _, shard := range c.shards {
		for _, server := range shard.servers {
			c.parts = append(c.parts, &part{name: server.Name(), rank: rankDatabases, proc: server})
		}
	}
	c.parts = append(c.parts, &part{name: "zookeeper", rank: rankZooKeeper, proc: c.zookeeper})
	return c.writeFiles()
}

func (c *Cluster) describeShard(i int) shardServers {
	shard := shardServers{id: shardID(i)}
	for j := range c.shape.Replicas + 1 {
		name := databaseID(i, j)
		server := NewMariaDB(MariaDBConfig{
			Name: name, Dir: c.folder.database(name), Port: c.ports[name],
			ServerID:        uint32((i+1)*100 + j + 1),
			ReadOnly:        true, // until it is known who the primary is: it may have been replaced while it was away
			BufferPoolBytes: c.config.BufferPoolBytes, DieWithParent: c.config.DieWithParent,
		})
		shard.servers = append(shard.servers, server)
	}
	shard.primary, shard.replicas = shard.servers[0], shard.servers[1:]
	return shard
}

func (c *Cluster) addRole(name, role, shard string, rank int) {
	dir := c.folder.role(name)
	args := []string{role, "--config", filepath.Join(dir, "quipu.yaml")}
	for _, setting := range slices.Concat(c.config.Settings, c.config.SettingsOf[name]) {
		args = append(args, "--set", setting)
	}
	c.parts = append(c.parts, &part{name: name, rank: rank, proc: NewRole(RoleConfig{
		Name: name, Program: c.config.Program, Args: args, Dir: dir,
		LogFile: c.folder.log(name), Port: c.ports[name], DieWithParent: c.config.DieWithParent,
	})})
	c.roles = append(c.roles, roleSpec{name: name, role: role, shard: shard})
}

// roleSpec says what a role's configuration depends on.
type roleSpec struct{ name, role, shard string }

// writeFiles writes what roles, commands and people read.
func (c *Cluster) writeFiles() error {
	if err := os.MkdirAll(c.folder.file("secrets"), 0o700); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.MkdirAll(c.folder.file("commands"), 0o700); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	var errs []error
	for account, password := range c.passwords {
		errs = append(errs, writeFileAtomically(c.folder.secret(account), []byte(password+"\n"), 0o600))
	}
	const comment = "Written at every start; change settings with `quipu up --set section.key=value`."
	for _, r := range c.roles {
		if err := os.MkdirAll(c.folder.role(r.name), 0o700); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
		content := c.roleSettings(r.name, r.role, r.shard).yaml(comment)
		errs = append(errs, writeFileAtomically(filepath.Join(c.folder.role(r.name), "quipu.yaml"), content, 0o600))
	}
	errs = append(errs,
		writeFileAtomically(c.folder.file("quipu.yaml"), c.commandSettings().yaml("For commands: quipu … --config this-file. Written at every start."), 0o600),
		writeFileAtomically(c.folder.file("topology.yaml"), c.topologyFile(), 0o644),
	)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// startServers runs ZooKeeper and all databases at once.
func (c *Cluster) startServers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range c.parts {
		if p.rank < rankDatabases {
			continue
		}
		group.Go(func() error {
			begun := time.Now()
			if err := p.proc.Start(ctx); err != nil {
				return err
			}
			c.say("%s is up on %s (%.1f s)", p.name, LoopbackAddress(c.ports[p.name]), time.Since(begun).Seconds())
			return nil
		})
	}
	return group.Wait()
}

// prepareDatabases sets accounts and replication right, shard by shard at once.
func (c *Cluster) prepareDatabases(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, shard := range c.shards {
		group.Go(func() error {
			if shard.primary == nil {
				c.say("shard %s has no primary: its change is under way and goes on", shard.id)
				return nil
			}
			quick, cancel := context.WithTimeout(ctx, startPatience)
			defer cancel()
			if err := ConfigureAccounts(quick, shard.primary, c.passwords); err != nil {
				return err
			}
			if err := letWrite(quick, shard.primary); err != nil {
				return err
			}
			for _, replica := range shard.replicas {
				if err := c.prepareReplica(ctx, shard.primary, replica); err != nil {
					return err
				}
				c.say("%s replicates %s", replica.Name(), shard.primary.Name())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.replicating = true
	return nil
}

// prepareReplica starts replication. A replica that can't go on is made anew: better
// now, when nobody works with the primary, than never.
func (c *Cluster) prepareReplica(ctx context.Context, primary, replica *MariaDB) error {
	quick, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	password := c.passwords[AccountReplicate]
	err := Replicate(quick, primary, replica, password)
	if err == nil {
		err = c.followsFor(ctx, primary, replica)
	}
	if !errors.Is(err, ErrForked) {
		return err
	}
	c.say("%v; making %s anew from a copy of %s", err, replica.Name(), primary.Name())
	begun := time.Now()
	if err := cloneData(ctx, primary, replica); err != nil {
		return err
	}
	c.say("%s is a copy of %s (%.1f s)", replica.Name(), primary.Name(), time.Since(begun).Seconds())
	quick, cancel = context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := letWrite(quick, primary); err != nil { // it was started again
		return err
	}
	return Replicate(quick, primary, replica, password)
}

// followsFor watches a replica until it has caught up, or seems to take long: that it
// can't go on may show only then.
func (c *Cluster) followsFor(ctx context.Context, primary, replica *MariaDB) error {
	short, cancel := context.WithTimeout(ctx, followPatience)
	defer cancel()
	err := AwaitReplica(short, primary, replica)
	if err == nil || errors.Is(err, ErrForked) || ctx.Err() != nil {
		return err
	}
	c.say("%s lags behind %s", replica.Name(), primary.Name())
	return nil
}

// startRoles runs all roles at once: each waits for those it needs.
func (c *Cluster) startRoles(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range c.parts {
		role, ok := p.proc.(*Role)
		if !ok {
			continue
		}
		group.Go(func() error {
			begun := time.Now()
			if err := role.Start(ctx); err != nil {
				return err
			}
			c.say("%s is ready at %s (%.1f s)", p.name, role.URL(), time.Since(begun).Seconds())
			return nil
		})
	}
	return group.Wait()
}
