package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load/flights"
	"github.com/quipudb/quipu/wire"
)

// upOptions are the flags of quipu up.
type upOptions struct {
	data                         string
	shards                       int
	replicas                     int
	partitions                   int
	writers                      int
	clusterProxies, shardProxies int
	portBase                     int
	noSample                     bool
	databaseCache                config.Size
}

func newUpCommand(s *settings) *cobra.Command {
	var o upOptions
	o.databaseCache = 256 << 20
	c := &cobra.Command{
		Use:   "up",
		Short: "Run a whole cluster on this machine",
		Long: `Runs a whole cluster on this machine until Ctrl-C: ZooKeeper, for each shard a MariaDB primary
and its replica, and every role, each a process of its own, reachable from this machine only.
It makes the schema, registers event types, loads a sample of real data once, and says what
to try. Whatever ends by itself is started again.

All data is in one folder. A later 'quipu up' with it goes on with the data, on the same ports;
it also takes over what a launcher that was killed left running. Ctrl-C stops everything in
order; a second one kills what is left, and no acknowledged event is lost by that either.

Settings of all roles can be given with --set; variables QUIPU_… of the environment are not
passed on to them.

Needed are MariaDB 10.6 or later, Java and ZooKeeper 3.8 or later; 'make deps' installs what
is missing.

Files of interest in the data folder:
  cluster.json          what runs: addresses, pids (written once all is ready)
  quipu.yaml            configuration for commands: quipu cluster show --config data/quipu.yaml
  analyst-<shard>.cnf   an analyst's way into a shard's replica: mariadb --defaults-file=data/analyst-s1.cnf
  logs/<role>.log       what each role says`,
		Example: `  quipu up
  quipu up --data /var/tmp/quipu --no-sample --writers 2
  quipu up --set writer.flush_interval=200ms`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runUp(c, s, o) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "data", "data `folder`")
	f.IntVar(&o.shards, "shards", 0, "number of shards of a new cluster (default 2)")
	f.IntVar(&o.replicas, "replicas", 0, "number of replicas of each shard of a new cluster, 0 for none (default 1)")
	f.IntVar(&o.partitions, "partitions", 0, "number of partitions of a new cluster (default 16)")
	f.IntVar(&o.writers, "writers", local.DefaultWriters, "number of writers")
	f.IntVar(&o.clusterProxies, "cluster-proxies", 1, "number of cluster proxies")
	f.IntVar(&o.shardProxies, "shard-proxies", 1, "number of shard proxies of each shard")
	f.IntVar(&o.portBase, "port-base", 0, "preferred `port` of ingest; the reader and the other roles come next; 0: any free ports (default 8080 for a new cluster)")
	f.BoolVar(&o.noSample, "no-sample", false, "register the event types of the sample but load no data")
	f.Var(sizeFlag{&o.databaseCache}, "database-cache", "cache of each database")
	return c
}

// sizeFlag is a flag in the notation of the configuration: 64MiB.
type sizeFlag struct{ value *config.Size }

func (f sizeFlag) String() string {
	if f.value == nil {
		return ""
	}
	return f.value.String()
}

func (f sizeFlag) Type() string { return "size" }

func (f sizeFlag) Set(text string) (err error) {
	*f.value, err = config.ParseSize(text)
	return err
}

// sampleTypes are the event types that are there from the start.
func sampleTypes() []event.Type {
	view := event.Type{Name: "view", Unit: "ms", AcceptLate: 120 * 24 * time.Hour, Description: "A video was watched; key: the video, value: for how long"}
	return append([]event.Type{view}, flights.Types()...)
}

var (
	// errNotUp is for what was printed in full already.
	errNotUp = errors.New("the cluster is not up: see above")
	// errKilled is the end after a second request to stop.
	errKilled = errors.New("killed, as asked for, before everything had stopped")
)

func runUp(c *cobra.Command, s *settings, o upOptions) error {
	for flag, instead := range map[string]string{
		"config": "each role gets a file made for it; use --set", "data-dir": "use --data", "zookeeper": "it runs its own",
	} {
		if c.Flags().Changed(flag) {
			return usagef("flag --%s has no place here: %s", flag, instead)
		}
	}
	if err := o.check(c); err != nil {
		return err
	}
	cfg, err := s.load() // checks --set before anything starts
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	screen := newScreen(c.OutOrStdout())
	settings := s.set
	if c.Flags().Changed("log-level") {
		settings = append(settings[:len(settings):len(settings)], "log.level="+cfg.Log.Level)
	}
	u := &up{screen: screen, options: o, cluster: local.NewCluster(local.ClusterConfig{
		Dir: o.data, Program: program, Version: version,
		Shards: o.shards, Replicas: o.replicas, Partitions: o.partitions, Writers: o.writers, ClusterProxies: o.clusterProxies, ShardProxies: o.shardProxies, PortBase: o.portBase,
		EventTypes: sampleTypes(), Settings: settings, BufferPoolBytes: int64(o.databaseCache), Progress: screen.progress,
	})}
	ctx, release := outlive(c.Context())
	defer release()
	if err := u.run(ctx); errors.Is(err, errKilled) {
		return err
	} else if err != nil {
		fmt.Fprintln(c.ErrOrStderr(), err) // may hold many lines: the end of a log
		return errNotUp
	}
	return nil
}

// check refuses numbers that were given and mean nothing, where 0 stands for one that wasn't.
func (o *upOptions) check(c *cobra.Command) error {
	for flag, value := range map[string]int{"shards": o.shards, "partitions": o.partitions, "writers": o.writers, "cluster-proxies": o.clusterProxies, "shard-proxies": o.shardProxies} {
		if c.Flags().Changed(flag) && value < 1 {
			return usagef("flag --%s must be at least 1, is %d", flag, value)
		}
	}
	if c.Flags().Changed("replicas") && o.replicas == 0 {
		o.replicas = local.NoReplicas
	}
	if c.Flags().Changed("port-base") && o.portBase == 0 {
		o.portBase = local.AnyPorts
	}
	return nil
}

// outlive makes a terminal that is closed a request to stop in order, and a reader of the output that went away no reason to die
// and leave everything running.
func outlive(ctx context.Context) (context.Context, func()) {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	return ctx, func() {
		stop()
		signal.Stop(broken)
	}
}

// up is one run of a cluster.
type up struct {
	screen  *screen
	options upOptions
	cluster *local.Cluster
}

// run has three ends: a stop as asked for, a second request to stop, which kills, and an error.
func (u *up) run(ctx context.Context) error {
	impatient, release := secondSignal()
	defer release()
	err := u.cluster.Start(ctx)
	if err == nil {
		err = u.stay(ctx)
	}
	interrupted := ctx.Err() != nil
	if interrupted {
		u.screen.progress("stopping; Ctrl-C again kills what is left")
		err = nil // what was interrupted is no failure
	}
	stopped := u.cluster.Stop(impatient)
	if err == nil && impatient.Err() != nil && errors.Is(stopped, local.ErrKilled) {
		u.screen.progress("killed what was left; the data stays in " + u.options.data + ", and the next start recovers it")
		return errKilled
	}
	if stopped != nil {
		return errors.Join(err, stopped)
	}
	if err == nil {
		u.screen.progress("stopped; the data stays in " + u.options.data)
	}
	return err
}

// sameSignal is how close together two signals are one request: timeout, make and a terminal may each send one.
const sameSignal = 300 * time.Millisecond

// secondSignal is a context that ends at the second request to stop.
func secondSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var first time.Time
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if first.IsZero() {
				first = time.Now()
			} else if time.Since(first) > sameSignal {
				cancel()
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
		<-done
	}
}

// stay keeps the cluster running until ctx ends.
func (u *up) stay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	supervised := make(chan error, 1)
	go func() { supervised <- u.cluster.Supervise(ctx) }()
	err := u.greet(ctx)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-supervised)
}

// greet loads the sample, and says what there is.
func (u *up) greet(ctx context.Context) error {
	d := u.cluster.Description()
	if !u.options.noSample {
		if err := u.loadSample(ctx, d); err != nil {
			if ctx.Err() != nil {
				return nil // the next start goes on with it
			}
			return err
		}
	}
	calls := wire.NewClient(wire.ClientConfig{Timeout: askTimeout})
	defer calls.Close()
	counts, err := askCounts(ctx, calls, d.URLs["reader"])
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := summaryOf(d, counts)
	if err != nil {
		return err
	}
	u.screen.show(text)
	return nil
}
