package shardproxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

const (
	patience   = 20 * time.Second // a busy machine is no failure
	partitions = 8                // 0 to 3 are of shard s1
)

// shared is one shard for the tests that break none of its servers.
var shared *testkit.ShardServers

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, func(ctx context.Context, dir string) (closeAll func() error, err error) {
		shared, err = testkit.StartShard(ctx, dir)
		if err != nil {
			return nil, err
		}
		return shared.Close, nil
	}))
}

// rig is a shard proxy behind HTTP, before real databases.
type rig struct {
	t        *testing.T
	servers  *testkit.ShardServers
	registry *prometheus.Registry
	client   *wire.Client
	url      string
	proxy    *shardproxy.Proxy
	cfg      shardproxy.Config

	snapshot atomic.Pointer[cluster.Snapshot]
	mu       sync.Mutex
	changed  chan struct{}
}

func newRig(t *testing.T, servers *testkit.ShardServers, change ...func(*shardproxy.Config)) *rig {
	t.Helper()
	testkit.FreshDatabase(t, servers.Primary)
	bootstrap(t, servers.Primary)
	servers.AwaitReplica(t)
	r := &rig{t: t, servers: servers, registry: prometheus.NewRegistry(), changed: make(chan struct{})}
	r.snapshot.Store(topology(servers.Primary, servers.Replica))
	cfg := shardproxy.Config{
		ShardID: "s1", Snapshot: r.snapshot.Load, Changed: r.changes,
		EventTypes: func() map[string]event.Type { return map[string]event.Type{"view": {Name: "view", Unit: "ms"}} },
		Apply:      account(servers, local.AccountApply), Read: account(servers, local.AccountRead), Monitor: account(servers, local.AccountMonitor),
		MaxLag: 2 * time.Second, ProbeInterval: 50 * time.Millisecond, Registerer: r.registry,
		Cache: shardproxy.CacheConfig{Bytes: -1}, // these tests look at what databases answer
	}
	for _, c := range change {
		c(&cfg)
	}
	r.serve(cfg)
	return r
}

// serve runs a proxy behind HTTP until the test ends.
func (r *rig) serve(cfg shardproxy.Config) {
	t := r.t
	t.Helper()
	r.cfg = cfg
	var err error
	if r.proxy, err = shardproxy.New(cfg); err != nil {
		t.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "shard_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	if err != nil {
		t.Fatal(err)
	}
	r.proxy.Register(server.Echo(), nil)
	front := httptest.NewServer(server.Echo())
	r.url, r.client = front.URL, wire.NewClient(wire.ClientConfig{Timeout: patience})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.proxy.Run(ctx) }()
	t.Cleanup(func() {
		r.client.Close()
		front.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run ended: %v", err)
		}
	})
	testkit.Eventually(t, patience, func() error { return r.proxy.Ready(t.Context()) })
}

// bothHealthy waits until reads come from the replica.
func (r *rig) bothHealthy() *rig {
	r.t.Helper()
	r.readsFrom("replica", false)
	return r
}

func account(servers *testkit.ShardServers, name local.Account) shardproxy.Account {
	return shardproxy.Account{User: string(name), Password: servers.Primary.Passwords[name]}
}

func topology(primary, replica *testkit.Database) *cluster.Snapshot {
	return &cluster.Snapshot{
		Settings: cluster.Settings{ClusterID: "c1", Partitions: partitions, CreatedAt: created},
		Topology: cluster.Topology{
			Shards: []cluster.Shard{
				{ID: "s1", Databases: []cluster.Database{
					{ID: "s1-a", Address: primary.Address(), Role: cluster.Primary}, {ID: "s1-b", Address: replica.Address(), Role: cluster.Replica},
				}},
				{ID: "s2"},
			},
			Partitions: []string{"s1", "s1", "s1", "s1", "s2", "s2", "s2", "s2"},
		},
	}
}

var created = time.Now().UTC().Add(-time.Hour)

func bootstrap(t *testing.T, db *testkit.Database) {
	t.Helper()
	runner, err := migrations.New(migrations.Config{Shards: []migrations.Shard{{ID: "s1", DSN: db.DSN(local.AccountMigrate)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner, err := mysql.Open(mysql.Config{ID: db.Name(), Address: db.Address(), User: string(local.AccountMigrate), Password: db.Passwords[local.AccountMigrate]})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	err = mysql.EnsureOwnership(t.Context(), owner, mysql.Ownership{ClusterID: "c1", ShardID: "s1", Partitions: []int{0, 1, 2, 3}, CreatedAt: created})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// publish makes another snapshot the last known one.
func (r *rig) publish(s *cluster.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot.Store(s)
	close(r.changed)
	r.changed = make(chan struct{})
}

// keyOf returns the i-th key of type view whose partition is the given one.
func keyOf(partition, i int) string {
	for n := 0; ; n++ {
		key := fmt.Sprint("video-", n)
		if cluster.Partition("view", key, partitions) != partition {
			continue
		}
		if i == 0 {
			return key
		}
		i--
	}
}

func (r *rig) post(path string, in, out any) error {
	return r.client.JSON(r.t.Context(), http.MethodPost, r.url+path, in, out)
}

func (r *rig) claim(partition int) uint64 {
	r.t.Helper()
	var c wire.Checkpoint
	if err := r.post(wire.PathClaim, wire.ClaimRequest{Partition: partition, Owner: "w1"}, &c); err != nil {
		r.t.Fatal(err)
	}
	return c.Epoch
}

// request is an Apply of partition 1 that moves the offset from one to another. Its as-of is now.
func request(epoch, expected, next uint64, rows ...wire.Row) *wire.ApplyRequest {
	return &wire.ApplyRequest{
		Partition: 1, Epoch: epoch, Expected: expected, Next: next, WindowFrom: 1, AsOf: time.Now().UnixMilli(), Incarnation: "log-1", Checksum: uint32(next), Rows: rows,
	}
}

func counted(key string, count int64) wire.Row {
	row := wire.Row{Type: "view", Key: key, Minute: event.MinuteOf(created.UnixMilli()), Aggregate: event.NewAggregate()}
	row.AddEvent(count, 0, false)
	return row
}

func (r *rig) apply(a *wire.ApplyRequest) error {
	_, err := r.client.Bytes(r.t.Context(), http.MethodPost, fmt.Sprintf("%s%s?partition=%d", r.url, wire.PathApply, a.Partition), wire.ApplyType, wire.EncodeApply(nil, a))
	return err
}

func (r *rig) mustApply(a *wire.ApplyRequest) {
	r.t.Helper()
	if err := r.apply(a); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stats(keys ...string) (*wire.StatsAnswer, error) {
	out := &wire.StatsAnswer{}
	return out, r.post(wire.PathStats, wire.StatsRequest{Type: "view", Keys: keys, To: event.MaxMinute + 1}, out)
}

// readsFrom waits until reads of partition 1 are answered by a database in a role, stale or not.
func (r *rig) readsFrom(role string, stale bool) *wire.StatsAnswer {
	r.t.Helper()
	var last *wire.StatsAnswer
	testkit.Eventually(r.t, patience, func() (err error) {
		if last, err = r.stats(keyOf(1, 0)); err != nil {
			return err
		}
		if got := last.Sources[0]; got.Role != role || last.Stale != stale {
			return fmt.Errorf("read from %+v, stale %t; want %s, stale %t", got, last.Stale, role, stale)
		}
		return nil
	})
	return last
}

// failsWith waits until a call fails with a code.
func (r *rig) failsWith(code wire.Code, call func() error) *wire.Problem {
	r.t.Helper()
	var problem *wire.Problem
	testkit.Eventually(r.t, patience, func() error {
		err := call()
		var ok bool
		if problem, ok = errors.AsType[*wire.Problem](err); !ok || problem.Code != code {
			return fmt.Errorf("got %v, want %s", err, code)
		}
		return nil
	})
	return problem
}

// beats sends heartbeats of all partitions from now on, as writers do, until the returned function is called.
func (r *rig) beats() (stop func()) {
	epochs := map[int]uint64{}
	for p := range 4 {
		epochs[p] = r.claim(p)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			for p, epoch := range epochs {
				beat := request(epoch, 1, 1)
				beat.Partition = p
				_ = r.apply(beat) // the primary may be away
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sync.OnceFunc(func() { cancel(); <-done })
}

func exec(t *testing.T, db *testkit.Database, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Root().Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
