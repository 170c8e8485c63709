package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// serverPortOffset is where the servers' preferred ports begin, beyond the roles'.
const serverPortOffset = 40

// portPatience is how long a port may stay taken after its process is gone.
const portPatience = 2 * time.Second

// ErrPortTaken says that a port of the cluster is in use by another program.
var ErrPortTaken = errors.New("port is in use by another program")

// portName says what has a port in the book.
type portName struct {
	name string
	role bool
}

// portNames lists what needs a port, roles first, each in a fixed order: with
// ingest on the base itself, and the reader next, as in the configuration's defaults.
func (c *Cluster) portNames() []portName {
	names := []portName{{"ingest", true}, {"reader", true}}
	for i := range c.config.ClusterProxies {
		names = append(names, portName{numbered("cluster-proxy", i), true})
	}
	for i := range c.shape.Shards {
		for j := range c.config.ShardProxies {
			names = append(names, portName{numbered("shard-proxy-"+shardID(i), j), true})
		}
	}
	for i := range c.config.Writers {
		names = append(names, portName{numbered("writer", i), true})
	}
	names = append(names, portName{"rollup", true}, portName{"failover", true}, portName{"zookeeper", false})
	for i := range c.shape.Shards {
		for j := range c.shape.Replicas + 1 {
			names = append(names, portName{databaseID(i, j), false})
		}
	}
	return names
}

// choosePorts looks every port up in the book, or chooses it.
func (c *Cluster) choosePorts() error {
	if base := c.config.PortBase; base != 0 && base != c.shape.PortBase {
		for _, n := range c.portNames() {
			if n.role {
				c.book.Forget(n.name)
			}
		}
		c.shape.PortBase = base
		if err := c.folder.save(c.shape); err != nil {
			return err
		}
	}
	c.ports = map[string]int{}
	next := map[bool]int{true: c.shape.PortBase, false: c.shape.PortBase + serverPortOffset}
	for _, n := range c.portNames() {
		preferred := next[n.role]
		next[n.role]++
		if c.shape.PortBase == AnyPorts {
			preferred = 0
		}
		known := c.book.Known(n.name)
		number, err := c.book.Port(n.name, preferred)
		if err != nil {
			return err
		}
		c.ports[n.name] = number
		if !known && preferred != 0 && number != preferred {
			c.say("port %d is taken: %s is on port %d instead", preferred, n.name, number)
		}
	}
	return nil
}

// checkPorts tells which ports other programs have taken since they were chosen.
// What was just stopped is given a moment.
func (c *Cluster) checkPorts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	var taken []string
	err := poll(ctx, lockPoll, func(context.Context) error {
		taken = c.takenPorts()
		if len(taken) > 0 {
			return ErrPortTaken
		}
		return nil
	})
	if errors.Is(err, ErrPortTaken) {
		return fmt.Errorf("%w: %s; stop that program, or move the roles with --port-base", ErrPortTaken, strings.Join(taken, ", "))
	}
	return err
}

func (c *Cluster) takenPorts() []string {
	var taken []string
	for _, n := range c.portNames() {
		if !PortFree(c.ports[n.name]) {
			taken = append(taken, fmt.Sprintf("%d (%s)", c.ports[n.name], n.name))
		}
	}
	return taken
}
