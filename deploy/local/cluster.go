package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// clusterName is the configured name of every local cluster: its data folder
	// tells it from others.
	clusterName = "local"
	// stopGrace is how long a role may take to stop, and serverStopGrace a server:
	// a database writes back what it holds in memory.
	stopGrace       = 30 * time.Second
	serverStopGrace = 60 * time.Second
	// catchUpGrace is how long replicas may take to catch up before the end.
	catchUpGrace = 10 * time.Second
	// followPatience is how long a start watches whether a replica follows.
	followPatience = 3 * time.Second
	// startPatience bounds the start of one server or role.
	startPatience = 60 * time.Second
)

// Cluster is a whole cluster on this machine: ZooKeeper, the shards' databases and
// every role, each a process of its own, with all data in one folder.
//
// Start runs it, Supervise keeps it running, Stop or Kill ends it: also after a
// Start that failed. One of these four runs at a time. The rest may be called from
// any goroutine once Start has returned.
type Cluster struct {
	config    ClusterConfig
	folder    folder
	begun     time.Time
	lock      *Lock
	shape     shape
	book      *PortBook
	ports     map[string]int
	passwords Passwords
	zookeeper *ZooKeeper
	shards    []shardServers
	roles     []roleSpec
	parts     []*part // in the order in which they stop
	// replicating: every replica was told what to replicate.
	replicating bool

	sayMu   sync.Mutex
	writeMu sync.Mutex // of cluster.json

	mu    sync.Mutex
	again map[string]int // how often a part was started again
	ready time.Time
}

// shardServers are the databases of one shard.
type shardServers struct {
	id      string
	servers []*MariaDB // all of them, as they were made
	// As the topology has it when the cluster starts: replicas that have lost their place are in neither.
	primary  *MariaDB // nil while it is being changed
	replicas []*MariaDB
}

// part is one process of the cluster.
type part struct {
	name string
	rank int
	proc interface {
		Start(ctx context.Context) error
		Stop(ctx context.Context) error
		Kill() error
		Process() *Process
	}
}

// NewCluster describes a cluster; Start runs it.
func NewCluster(config ClusterConfig) *Cluster {
	return &Cluster{config: config.withDefaults(), again: map[string]int{}}
}

// Start runs everything, in a folder that may hold an earlier run's data or the
// processes of a killed launcher, and returns when every role is ready.
func (c *Cluster) Start(ctx context.Context) error {
	c.begun = time.Now()
	if err := c.open(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		c.sweep, c.checkGround, c.describeParts, c.startServers, c.learnPlaces, c.prepareDatabases, c.bootstrap, c.startRoles, c.nowReady,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// open takes the data folder.
func (c *Cluster) open() (err error) {
	if err := c.config.check(); err != nil {
		return err
	}
	if err := CheckPrograms(); err != nil {
		return err
	}
	lock, err := LockDir(c.config.Dir)
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("%w: is another `quipu up` running on it?", err)
	}
	if err != nil {
		return err
	}
	c.lock = lock
	dir, err := filepath.EvalSymlinks(c.config.Dir)
	if err != nil {
		return fmt.Errorf("open data folder: %w", err)
	}
	c.folder = folder(dir)
	if err := checkRoom(dir, c.config.MinFreeBytes); err != nil {
		return err
	}
	found := false
	c.shape, found, err = c.folder.open(shape{
		MadeBy: c.config.Version, Shards: c.config.Shards, Replicas: c.config.Replicas,
		Partitions: c.config.Partitions, PortBase: c.config.PortBase,
	})
	if err != nil {
		return err
	}
	c.forget() // a killed launcher may have left it
	if found {
		c.say("going on with the data in %s", c.folder)
	} else {
		c.say("new data folder %s", c.folder)
	}
	if c.book, err = OpenPortBook(c.folder.file("ports.json")); err != nil {
		return err
	}
	c.passwords, err = OpenPasswords(c.folder.file("passwords.json"))
	return err
}

// checkGround settles the ports once left-over processes are gone.
func (c *Cluster) checkGround(ctx context.Context) error {
	if err := c.choosePorts(); err != nil {
		return err
	}
	return c.checkPorts(ctx)
}

// Stop ends everything in order, readers before those who answer them, and waits.
// When ctx is done it kills what is left. Stopping twice is no error.
func (c *Cluster) Stop(ctx context.Context) error {
	c.forget()
	var errs []error
	parts := slices.Clone(c.parts)
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.rank, b.rank) })
	for len(parts) > 0 {
		same := 1
		for same < len(parts) && parts[same].rank == parts[0].rank {
			same++
		}
		if parts[0].rank == rankDatabases && c.replicating {
			c.awaitReplicas(ctx)
		}
		errs = append(errs, c.stopParts(ctx, parts[:same]))
		parts = parts[same:]
	}
	return errors.Join(append(errs, c.close())...)
}

func (c *Cluster) stopParts(ctx context.Context, parts []*part) error {
	var group errgroup.Group
	for _, p := range parts {
		process := p.proc.Process()
		if process == nil || ended(process) {
			continue
		}
		group.Go(func() error {
			grace := stopGrace
			if p.rank >= rankDatabases {
				grace = serverStopGrace
			}
			patient, cancel := context.WithTimeout(ctx, grace)
			defer cancel()
			begun := time.Now()
			err := p.proc.Stop(patient)
			if errors.Is(err, ErrKilled) && ctx.Err() != nil {
				c.say("%s killed", p.name)
				return err
			}
			if err != nil {
				c.say("%v", err)
				return err
			}
			c.say("%s stopped (%.1f s)", p.name, time.Since(begun).Seconds())
			return nil
		})
	}
	return group.Wait()
}

// awaitReplicas lets replicas catch up before their primaries stop: at the next
// start what they lack may be too old for the primary's log.
func (c *Cluster) awaitReplicas(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpGrace)
	defer cancel()
	var group errgroup.Group
	for _, shard := range c.shards {
		primary := shard.primaryNow(ctx)
		for _, replica := range shard.servers {
			if primary == nil || replica == primary || !running(replica) || !follows(ctx, primary, replica) {
				continue
			}
			group.Go(func() error {
				if err := AwaitReplica(ctx, primary, replica); err != nil {
					c.say("%v", err)
				}
				return nil
			})
		}
	}
	_ = group.Wait() // told already
}

func running(server *MariaDB) bool {
	p := server.Process()
	return p != nil && !ended(p)
}

// close gives the data folder back.
func (c *Cluster) close() error {
	var errs []error
	if c.book != nil {
		errs = append(errs, c.book.Release())
		c.book = nil
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Unlock())
		c.lock = nil
	}
	return errors.Join(errs...)
}

// Process is what runs now under a part's name, nil if there is no such part or it
// was never started. Killing it is how a test has the supervisor start it again.
func (c *Cluster) Process(name string) *Process {
	for _, p := range c.parts {
		if p.name == name {
			return p.proc.Process()
		}
	}
	return nil
}

// Database is the database of that id, nil if there is none.
func (c *Cluster) Database(id string) *MariaDB {
	for _, p := range c.parts {
		if server, ok := p.proc.(*MariaDB); ok && p.name == id {
			return server
		}
	}
	return nil
}

// Passwords of the database accounts, once started.
func (c *Cluster) Passwords() Passwords { return c.passwords }

// say reports progress.
func (c *Cluster) say(format string, args ...any) {
	c.sayMu.Lock()
	defer c.sayMu.Unlock()
	c.config.Progress(fmt.Sprintf(format, args...))
}

func shardID(i int) string { return fmt.Sprintf("s%d", i+1) }

// databaseID is s1-a for the first database of the first shard, its primary.
func databaseID(shard, i int) string { return fmt.Sprintf("%s-%c", shardID(shard), 'a'+i) }

// numbered names one of several processes that are alike: the first has the plain name.
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, i+1)
}
