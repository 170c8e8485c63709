package scenario_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

// mesh is a cluster whose parts come twice, and whose parts reach each other over links that a test can spoil: every proxy, ingest and every
// database is known to the others by the address of its link, and each proxy has a link to ZooKeeper of its own.
type mesh struct {
	*rig
	directory *zookeeper.Client
	ledger    *ledger
	reads     *watchers
	keys      map[string][]string // watched ones by shard
	streams   int
	seed      uint64

	to        map[string]*testkit.Link // by who is reached
	zooKeeper map[string]*testkit.Link // by who reaches it
}

// The roles of a mesh that others reach, and those that reach ZooKeeper over links of their own.
var (
	meshProxies = []string{"cluster-proxy", "cluster-proxy-2", "shard-proxy-s1", "shard-proxy-s1-2", "shard-proxy-s2", "shard-proxy-s2-2"}
	meshReached = append([]string{"ingest"}, meshProxies...)
)

// sections of the configuration, by process.
func sectionOf(process string) string {
	switch process[0] {
	case 'c':
		return "cluster_proxy"
	case 's':
		return "shard_proxy"
	}
	return process
}

func newMesh(t *testing.T, change func(*local.ClusterConfig)) *mesh {
	t.Helper()
	m := &mesh{seed: drawSeed(t), ledger: newLedger(), to: map[string]*testkit.Link{}, zooKeeper: map[string]*testkit.Link{}}
	settings := map[string][]string{}
	for _, name := range meshReached {
		m.to[name] = testkit.NewLink(t)
		m.to[name].LeadTo(func() string { return strings.TrimPrefix(m.url(name), "http://") })
		settings[name] = append(settings[name], sectionOf(name)+".advertise="+m.to[name].URL())
	}
	for _, name := range meshProxies {
		m.zooKeeper[name] = testkit.NewLink(t)
		m.zooKeeper[name].LeadTo(func() string { return m.Description().ZooKeeper })
		settings[name] = append(settings[name], "cluster.zookeeper="+m.zooKeeper[name].Address())
	}
	m.rig = &rig{}
	m.begin(t, func(c *local.ClusterConfig) {
		c.Writers, c.ClusterProxies, c.ShardProxies, c.SettingsOf = 2, 2, 2, settings
		c.Settings = append(c.Settings, meshFailover...)
		if change != nil {
			change(c)
		}
	})
	for name, link := range m.to { // from here on nobody needs to be asked
		link.Lead(strings.TrimPrefix(m.url(name), "http://"))
	}
	for _, link := range m.zooKeeper {
		link.Lead(m.Description().ZooKeeper)
	}
	m.connect(t)
	m.linkDatabases(t)
	m.spread(t)
	m.reads = watch(t, m.url("reader"), m.ledger)
	return m
}

// connect opens the directory until the test ends.
func (m *mesh) connect(t *testing.T) {
	t.Helper()
	m.directory = zookeeper.New(zookeeper.Config{Servers: []string{m.Description().ZooKeeper}, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.directory.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("directory: %v", err)
		}
	})
}

// linkDatabases puts a link in front of every database, for all who know it from the topology.
func (m *mesh) linkDatabases(t *testing.T) {
	t.Helper()
	for _, server := range m.Description().Databases {
		m.to[server.ID] = testkit.NewLink(t)
		m.to[server.ID].Lead(server.Address)
	}
	testkit.Eventually(t, patience, func() error {
		topology, version, err := m.directory.Topology(t.Context())
		if err != nil {
			return err
		}
		for i := range topology.Shards {
			for j := range topology.Shards[i].Databases {
				d := &topology.Shards[i].Databases[j]
				d.Address = m.to[d.ID].Address()
			}
		}
		return m.directory.SetTopology(t.Context(), topology, version)
	})
	for _, shard := range []string{"s1", "s2"} { // they replicate over the link as well
		host, port, err := net.SplitHostPort(m.to[m.primaryOf(t, shard)].Address())
		must(t, err)
		m.root(t, m.replicaOf(t, shard), "STOP SLAVE", fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USE_GTID=slave_pos", host, port), "START SLAVE")
	}
}

// primaryOf is which database of a shard the topology says is written to.
func (m *mesh) primaryOf(t *testing.T, shard string) (id string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		topology, _, err := m.directory.Topology(t.Context())
		if err != nil {
			return err
		}
		s, _ := topology.Shard(shard)
		primary, ok := s.PrimaryDatabase()
		if !ok {
			return fmt.Errorf("shard %s has no primary", shard)
		}
		id = primary.ID
		return nil
	})
	return id
}

func (m *mesh) replicaOf(t *testing.T, shard string) (id string) {
	t.Helper()
	primary := m.primaryOf(t, shard)
	for _, server := range m.Description().Databases {
		if server.Shard == shard && server.ID != primary {
			id = server.ID
		}
	}
	return id
}

// now is the description with the databases' roles as the topology has them.
func (m *mesh) now(t *testing.T) local.Description {
	d := m.Description()
	primaries := map[string]bool{}
	for _, shard := range []string{"s1", "s2"} {
		primaries[m.primaryOf(t, shard)] = true
	}
	for i := range d.Databases {
		d.Databases[i].Role = string(cluster.Replica)
		if primaries[d.Databases[i].ID] {
			d.Databases[i].Role = string(cluster.Primary)
		}
	}
	return d
}

// kill ends processes as kill -9 does. Nobody starts them again but startAgain.
func (m *mesh) kill(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, m.Process(name).Kill())
	}
}

func (m *mesh) startAgain(t *testing.T, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	for _, name := range names {
		must(t, m.StartAgain(ctx, name))
	}
}

// stream has producers send known events to the mesh's ledger.
func (m *mesh) stream(t *testing.T) *stream {
	t.Helper()
	m.streams++
	return startStreamInto(t, m.ledger, m.url("ingest"), m.seed+uint64(m.streams), m.streams*100, 2)
}

// keysOf are the watched keys whose partition is a shard's.
func (m *mesh) keysOf(shard string) []string { return m.keys[shard] }

// spread sorts the watched keys by shard.
func (m *mesh) spread(t *testing.T) {
	t.Helper()
	topology, _, err := m.directory.Topology(t.Context())
	must(t, err)
	m.keys = map[string][]string{}
	for _, key := range watchedKeys() {
		shard := topology.Partitions[cluster.Partition("view", key, len(topology.Partitions))]
		m.keys[shard] = append(m.keys[shard], key)
	}
	for _, shard := range topology.Shards {
		if len(m.keys[shard.ID]) == 0 {
			t.Fatalf("no watched key is of shard %s", shard.ID)
		}
	}
}

// observe lets a fault last.
func observe(t *testing.T, lasting time.Duration) {
	t.Helper()
	timer := time.NewTimer(lasting)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
