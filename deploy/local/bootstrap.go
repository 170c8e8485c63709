package local

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quipudb/quipu/event"
)

// bootstrap makes the schema and the event types, with the program's own commands. Each changes nothing where its work is done already.
func (c *Cluster) bootstrap(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*startPatience)
	defer cancel()
	for _, args := range c.migrations() {
		if err := c.command(ctx, "migrate", args...); err != nil {
			return err
		}
	}
	for _, t := range c.config.EventTypes {
		if err := c.command(ctx, "event-type", eventTypeArgs(t)...); err != nil {
			return err
		}
	}
	return nil
}

func eventTypeArgs(t event.Type) []string {
	args := []string{"event-type", "create", t.Name, "--unit", t.Unit, "--description", t.Description}
	if t.AllowNegative {
		args = append(args, "--allow-negative")
	}
	if t.AcceptLate > 0 {
		args = append(args, "--accept-late", fmt.Sprintf("%dm", t.AcceptLate/time.Minute))
	}
	return args
}

// command runs one of the program's commands to its end.
func (c *Cluster) command(ctx context.Context, name string, args ...string) error {
	begun := time.Now()
	p, err := StartProcess(Command{
		Name: "quipu " + strings.Join(args[:2], " "), Path: c.config.Program,
		Args: append(args, "--config", c.folder.file("quipu.yaml")), Env: roleEnvironment(),
		LogFile: c.folder.log(name), PIDFile: c.folder.file("commands/" + name), DieWithParent: c.config.DieWithParent,
	})
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		_ = p.Stop(grace)
		return fmt.Errorf("run %s: %w", p.Name(), ctx.Err())
	}
	p.removePIDFile()
	if p.Err() != nil {
		return fmt.Errorf("run %s: %w\n%s:\n%s", p.Name(), p.Err(), p.LogFile(), indent(p.LogTail(startLogTail)))
	}
	c.say("%s: %s (%.1f s)", p.Name(), lastLine(p.LogTail(1)), time.Since(begun).Seconds())
	return nil
}

func lastLine(text string) string {
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// migrations are the arguments of the commands that bring the schema up: one for all shards, unless one of them has no primary just now.
func (c *Cluster) migrations() [][]string {
	if !slices.ContainsFunc(c.shards, func(s shardServers) bool { return s.primary == nil }) {
		return [][]string{{"migrate", "up"}}
	}
	var commands [][]string
	for _, shard := range c.shards {
		if shard.primary != nil {
			commands = append(commands, []string{"migrate", "up", "--shard", shard.id})
		}
	}
	return commands
}

// topologyFile is what `quipu cluster init` reads: the cluster as it is made. Which database is a shard's primary may change later.
func (c *Cluster) topologyFile() []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "# Written at every start.\npartitions: %d\nshards:\n", c.shape.Partitions)
	for i, shard := range c.shards {
		first, next := i*c.shape.Partitions/len(c.shards), (i+1)*c.shape.Partitions/len(c.shards)
		fmt.Fprintf(&text, "  - id: %s\n    partitions: %d-%d\n    databases:\n", shard.id, first, next-1)
		for j, server := range shard.servers {
			role := "replica"
			if j == 0 {
				role = "primary"
			}
			fmt.Fprintf(&text, "      - {id: %s, address: %q, role: %s}\n", server.Name(), server.Address(), role)
		}
	}
	return []byte(text.String())
}

// analystFile lets an analyst in without a password on the command line, to the
// shard's replica if it has one.
func (c *Cluster) analystFile(shard shardServers) []byte {
	server := cmp.Or(shard.primary, shard.servers[0])
	if len(shard.replicas) > 0 {
		server = shard.replicas[0]
	}
	return fmt.Appendf(nil, "# An analyst's way in to %s. Written at every start.\n[client]\nprotocol=tcp\nhost=127.0.0.1\nport=%d\nuser=%s\npassword=%s\n"+
		"[mysql]\ndatabase=%s\ndefault-character-set=utf8mb4\n", server.Name(), server.Port(), AccountAnalyst, c.passwords[AccountAnalyst], SchemaAnalytics)
}
