package failover_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/failover"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/zookeeper"
)

const (
	patience   = 30 * time.Second // a busy machine is no failure
	partitions = 2
)

// zk is one ZooKeeper for all tests; each has a root of its own.
var zk *testkit.ZooKeeperServer

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, func(ctx context.Context, dir string) (closeAll func() error, err error) {
		if zk, err = testkit.StartZooKeeper(ctx, dir); err != nil {
			return nil, err
		}
		return zk.Close, nil
	}))
}

// rig is a shard of real servers in a real ZooKeeper, with a proxy and a log that say what the test wants.
type rig struct {
	t       *testing.T
	servers map[string]*testkit.Database
	store   *zookeeper.Client
	client  *wire.Client
	front   *httptest.Server
	log     *bounds

	mu      sync.Mutex
	verdict map[string]wire.DatabaseVerdict // of the proxy, by database
}

// bounds is a log that holds offsets 1 to 999 of each partition, or as the test says.
type bounds struct {
	mu    sync.Mutex
	first uint64
	err   error
}

func (b *bounds) Bounds(context.Context, int) (eventlog.Bounds, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return eventlog.Bounds{Incarnation: "log-1", First: b.first, Next: 1000}, b.err
}

func (b *bounds) set(first uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.first, b.err = first, err
}

// newRig starts s1-a, the primary, and its replicas s1-b, s1-c ….
func newRig(t *testing.T, replicas int) *rig {
	t.Helper()
	r := &rig{t: t, servers: map[string]*testkit.Database{}, log: &bounds{first: 1}, verdict: map[string]wire.DatabaseVerdict{}}
	r.startServers(replicas)
	r.store = r.connect()
	r.client = wire.NewClient(wire.ClientConfig{Timeout: patience})
	t.Cleanup(r.client.Close)
	r.bootstrap()
	r.front = httptest.NewServer(http.HandlerFunc(r.serveVerdicts))
	t.Cleanup(r.front.Close)
	return r
}

func id(i int) string { return fmt.Sprintf("s1-%c", 'a'+i) }

func (r *rig) startServers(replicas int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	set := testkit.Servers(r.t, 1+replicas)
	for i, db := range set {
		r.servers[id(i)] = db
	}
	bootstrap(r.t, set[0])
	for _, replica := range set[1:] {
		r.must(local.AwaitReplica(ctx, set[0].MariaDB, replica.MariaDB))
	}
}

func bootstrap(t *testing.T, db *testkit.Database) {
	t.Helper()
	runner, err := migrations.New(migrations.Config{Shards: []migrations.Shard{{ID: "s1", DSN: db.DSN(local.AccountMigrate)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner := open(t, db, local.AccountMigrate)
	err = mysql.EnsureOwnership(t.Context(), owner, mysql.Ownership{ClusterID: "c-1", ShardID: "s1", Partitions: []int{0, 1}, CreatedAt: created})
	if err != nil {
		t.Fatal(err)
	}
}

var created = time.Now().UTC().Add(-time.Hour)

func open(t *testing.T, db *testkit.Database, account local.Account) *mysql.DB {
	t.Helper()
	pool, err := mysql.Open(mysql.Config{ID: db.Name(), Address: db.Address(), User: string(account), Password: db.Passwords[account]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func (r *rig) connect() *zookeeper.Client {
	client := zookeeper.New(zookeeper.Config{
		Servers: []string{zk.Address()}, Root: "/" + r.t.Name(), SessionTimeout: 4 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.t.Errorf("ZooKeeper client: %v", err)
		}
	})
	return client
}

func (r *rig) bootstrap() {
	r.t.Helper()
	topology := cluster.Topology{Shards: []cluster.Shard{{ID: "s1"}, {ID: "s2"}}, Partitions: []string{"s1", "s1"}}
	for i := range len(r.servers) {
		d := cluster.Database{ID: id(i), Address: r.servers[id(i)].Address(), Role: cluster.Replica}
		if i == 0 {
			d.Role = cluster.Primary
		}
		topology.Shards[0].Databases = append(topology.Shards[0].Databases, d)
	}
	created, err := r.store.Bootstrap(r.t.Context(), cluster.Settings{
		ClusterID: "c-1", Partitions: partitions, DedupKey: "00112233445566778899aabbccddeeff", CreatedAt: created, Window: time.Minute,
	}, topology)
	if err != nil || !created {
		r.t.Fatalf("create cluster: %v, %v", created, err)
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// serveVerdicts is the shard's proxy.
func (r *rig) serveVerdicts(w http.ResponseWriter, _ *http.Request) {
	topology, _, err := r.store.Topology(context.Background())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := wire.DatabasesAnswer{Shard: "s1"}
	for _, d := range topology.Shards[0].Databases {
		v, ok := r.verdict[d.ID]
		if !ok {
			v = wire.DatabaseVerdict{Healthy: true, Probed: true}
		}
		v.ID, v.Address, v.Role = d.ID, d.Address, string(d.Role)
		answer.Databases = append(answer.Databases, v)
	}
	writeJSON(w, answer)
}

func (r *rig) says(database string, v wire.DatabaseVerdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict[database] = v
}

// down is what a proxy says of a server that does not answer.
func down() wire.DatabaseVerdict {
	return wire.DatabaseVerdict{Probed: true, Code: wire.CodeUnavailable, Reason: "connection refused"}
}

func (r *rig) snapshot() *cluster.Snapshot {
	topology, _, err := r.store.Topology(context.Background())
	if err != nil {
		return nil
	}
	return &cluster.Snapshot{
		Settings: cluster.Settings{ClusterID: "c-1"}, Topology: topology,
		Members: map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: {{ID: "p1", Role: cluster.RoleShardProxy, URL: r.front.URL, Shard: "s1"}}},
	}
}

// keeper is a process of the role.
func (r *rig) keeper(change ...func(*failover.Config)) *failover.Keeper {
	r.t.Helper()
	account := func(name local.Account) failover.Account {
		return failover.Account{User: string(name), Password: r.servers["s1-a"].Passwords[name]}
	}
	cfg := failover.Config{
		Owner: "keeper-" + strconv.Itoa(int(time.Now().UnixNano())), Store: r.store, Snapshot: r.snapshot, Client: r.client, Log: r.log,
		Account: account(local.AccountFailover), Replicate: account(local.AccountReplicate), Writers: []string{string(local.AccountApply)},
		Automatic: true, Interval: 50 * time.Millisecond, Confirm: 200 * time.Millisecond, Silence: 2 * time.Second, Timeout: 2 * time.Second,
		Rejoin: time.Second, CatchUp: 2 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	k, err := failover.New(cfg)
	r.must(err)
	r.t.Cleanup(func() {
		if err := k.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return k
}

// count applies batches to a server until its partition 0 stands at an offset, and returns what stopped it.
func (r *rig) count(database string, until uint64) error {
	db := r.servers[database]
	primary, err := mysql.NewPrimary(mysql.PrimaryConfig{DB: open(r.t, db, local.AccountApply), ClusterID: "c-1", ShardID: "s1"})
	if err != nil {
		return err
	}
	claimed, err := primary.Claim(r.t.Context(), 0, "w1", 0)
	if err != nil {
		return err
	}
	for at := claimed.NextOffset; at < until; at++ {
		row := event.Row{Type: "view", Key: fmt.Sprint("v", at%7), Minute: created.Unix() / 60, Aggregate: event.NewAggregate()}
		row.AddEvent(1, 0, false)
		err := primary.Apply(r.t.Context(), &mysql.ApplyRequest{
			Partition: 0, Epoch: claimed.Epoch, Expected: at, Next: at + 1, WindowFrom: 1, AsOf: int64(at), Incarnation: "log-1", Checksum: uint32(at), Rows: []event.Row{row},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// offset is where a server's partition 0 stands, and counted what its counts add up to, which must be the same less one.
func (r *rig) offset(database string) (next uint64) {
	r.t.Helper()
	var counted uint64
	row := r.servers[database].Root().QueryRowContext(r.t.Context(),
		"SELECT next_offset, (SELECT COALESCE(SUM(event_count), 0) FROM quipu.minute_counts) FROM quipu.checkpoints WHERE partition_id = 0")
	r.must(row.Scan(&next, &counted))
	if counted != next-1 {
		r.t.Errorf("%s: %d counted, but the checkpoint is at %d", database, counted, next)
	}
	return next
}

func (r *rig) root(database, query string, into any) error {
	return r.servers[database].Root().QueryRowContext(r.t.Context(), query).Scan(into)
}

// tables lists those of a shard, and its views.
func (r *rig) tables() (all []string) {
	r.t.Helper()
	rows, err := r.servers["s1-b"].Root().QueryContext(r.t.Context(), `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES
		WHERE TABLE_SCHEMA IN ('quipu', 'analytics')`)
	r.must(err)
	defer rows.Close()
	for rows.Next() {
		var name string
		r.must(rows.Scan(&name))
		all = append(all, name)
	}
	r.must(rows.Err())
	if len(all) < 20 {
		r.t.Errorf("the shard has the tables %v", all)
	}
	return all
}

func (r *rig) checksum(database, table string, into *string) error {
	var name string
	if strings.HasPrefix(table, "analytics.") {
		return r.root(database, "SELECT COUNT(*) FROM "+table, into)
	}
	return r.servers[database].Root().QueryRowContext(r.t.Context(), "CHECKSUM TABLE "+table).Scan(&name, into)
}

func (r *rig) exec(database string, statements ...string) {
	r.t.Helper()
	for _, s := range statements {
		if _, err := r.servers[database].Root().ExecContext(r.t.Context(), testkit.Speak(s)); err != nil {
			r.t.Fatalf("%s: %s: %v", database, s, err)
		}
	}
}

func (r *rig) readOnly(database string) bool {
	r.t.Helper()
	var on bool
	r.must(r.root(database, "SELECT @@GLOBAL.read_only", &on))
	return on
}

// place is a database's place in the topology: "primary", "replica", "detached" ….
func (r *rig) place(database string) string {
	r.t.Helper()
	topology, _, err := r.store.Topology(r.t.Context())
	r.must(err)
	d, _ := topology.Shards[0].Database(database)
	if d.State != cluster.Attached {
		return string(d.State)
	}
	return string(d.Role)
}

func (r *rig) places(want map[string]string) error {
	for database, place := range want {
		if got := r.place(database); got != place {
			return fmt.Errorf("%s is %s, want %s", database, got, place)
		}
	}
	return nil
}

func (r *rig) caughtUp(primary, replica string) error {
	if a, b := r.offset(primary), r.offset(replica); a != b {
		return fmt.Errorf("%s is at %d, %s at %d", primary, a, replica, b)
	}
	return nil
}

// tendUntil tends the shard until its databases are in these places.
func (r *rig) tendUntil(k *failover.Keeper, want map[string]string) {
	r.t.Helper()
	testkit.Eventually(r.t, patience, func() error {
		if err := k.Tend(r.t.Context(), "s1"); err != nil {
			return err
		}
		return r.places(want)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", wire.JSONType)
	_ = json.NewEncoder(w).Encode(v)
}

var errAway = errors.New("nobody answers")
