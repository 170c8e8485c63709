package lifetime_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/cluster"
	clusterproxy "github.com/quipudb/quipu/cluster-proxy"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/rollup"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/writer"
)

const (
	partitions = 4
	clusterID  = "lifetime"
	patience   = time.Minute // a busy machine is no failure
)

var types = map[string]event.Type{
	"view":  {Name: "view", Unit: "ms", AcceptLate: 200 * 24 * time.Hour},
	"stock": {Name: "stock", Unit: "pieces", AllowNegative: true, AcceptLate: 200 * 24 * time.Hour},
}

// roles are the real roles before the databases, in this process, with a clock of their own.
type roles struct {
	t     *testing.T
	now   atomic.Int64 // seconds since 1970
	data  *databases
	dir   string
	log   *embedded.Log
	fuse  fuse
	calls *wire.Client

	mu       sync.Mutex // guards what follows
	snapshot *cluster.Snapshot
	changed  chan struct{}

	urls       map[cluster.Role]string
	stopProxy  func()
	stopWriter func()
	reader     *echo.Echo
	vault      string // folder of cold storage
	store      *blob.Store
	roller     *rollup.Roller
	lead       chan struct{} // holds a token while nobody leads
}

func startRoles(t *testing.T, created time.Time) *roles {
	t.Helper()
	r := &roles{
		t: t, data: startDatabases(t, created), dir: t.TempDir(), calls: wire.NewClient(wire.ClientConfig{Timeout: patience}),
		changed: make(chan struct{}), urls: map[cluster.Role]string{}, lead: make(chan struct{}, 1),
	}
	r.lead <- struct{}{}
	r.now.Store(created.Unix())
	t.Cleanup(r.calls.Close)
	r.log = embedded.New(embedded.Config{Dir: filepath.Join(r.dir, "log"), Partitions: partitions})
	must(t, r.log.Open(t.Context()))
	t.Cleanup(func() { must(t, r.log.Close()) })
	r.publish()
	r.startShardProxy()
	t.Cleanup(func() { r.stopProxy() })
	r.serveClusterProxy()
	r.publish()
	r.startWriter()
	t.Cleanup(func() { r.stopWriter() })
	r.vault = filepath.Join(r.dir, "cold")
	store, err := blob.Open(t.Context(), blob.Config{URL: r.vault, Registerer: prometheus.NewRegistry()})
	must(t, err)
	r.store = store
	t.Cleanup(func() { must(t, store.Close()) })
	r.makeReader()
	r.makeRoller()
	return r
}

func (r *roles) clock() time.Time { return time.Unix(r.now.Load(), 0).UTC() }

// publish makes what is the case now known to all roles.
func (r *roles) publish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &cluster.Snapshot{
		Settings: cluster.Settings{ClusterID: clusterID, Partitions: partitions, CreatedAt: r.clock()},
		Topology: cluster.Topology{Shards: []cluster.Shard{{ID: "s1", Databases: r.data.described()}}, Partitions: []string{"s1", "s1", "s1", "s1"}},
		Members: map[cluster.Role][]cluster.Member{
			cluster.RoleWriter:       {{ID: "w1", Role: cluster.RoleWriter}},
			cluster.RoleShardProxy:   {{ID: "p1", Role: cluster.RoleShardProxy, Shard: "s1", URL: r.urls[cluster.RoleShardProxy]}},
			cluster.RoleClusterProxy: {{ID: "c1", Role: cluster.RoleClusterProxy, URL: r.urls[cluster.RoleClusterProxy]}},
		},
	}
	if r.snapshot != nil {
		s.Version = r.snapshot.Version + 1
	}
	r.snapshot = s
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *roles) Cluster() *cluster.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot
}

func (r *roles) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// serve runs a handler behind HTTP.
func serve(h http.Handler) (url string, stop func()) {
	front := httptest.NewServer(h)
	return front.URL, front.Close
}

func (r *roles) startShardProxy() {
	r.t.Helper()
	passwords := r.data.servers["s1-a"].Passwords
	account := func(name local.Account) shardproxy.Account {
		return shardproxy.Account{User: string(name), Password: passwords[name]}
	}
	proxy, err := shardproxy.New(shardproxy.Config{
		ShardID: "s1", Snapshot: r.Cluster, Changed: r.Changed, EventTypes: func() map[string]event.Type { return types },
		Apply: account(local.AccountApply), Read: account(local.AccountRead), Monitor: account(local.AccountMonitor),
		ProbeInterval: 20 * time.Millisecond, MaxLag: 200 * time.Millisecond, ApplyTimeout: patience, PointTimeout: patience, ScanTimeout: patience,
		Now: r.clock,
		// A kept answer may be older than what a step has just counted, and says so; these answers are compared with the model of now.
		Cache: shardproxy.CacheConfig{Bytes: -1},
	})
	must(r.t, err)
	server, err := httpserver.New(httpserver.Config{Role: "shard_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	must(r.t, err)
	proxy.Register(server.Echo(), nil)
	url, closeFront := serve(r.fuse.guard(server.Echo()))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- proxy.Run(ctx) }()
	r.stopProxy = func() {
		closeFront()
		cancel()
		must(r.t, <-ended)
	}
	r.mu.Lock()
	r.urls[cluster.RoleShardProxy] = url
	r.mu.Unlock()
	r.publish()
	testkit.Eventually(r.t, patience, func() error { return proxy.Ready(context.Background()) })
}

func (r *roles) serveClusterProxy() {
	server, err := httpserver.New(httpserver.Config{Role: "cluster_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	must(r.t, err)
	clusterproxy.New(clusterproxy.Config{Snapshot: r.Cluster, Client: r.calls, ReadTimeout: patience}).Register(server.Echo(), nil)
	url, stop := serve(server.Echo())
	r.t.Cleanup(stop)
	r.urls[cluster.RoleClusterProxy] = url
}

func (r *roles) proxies() *proxyclient.Client {
	return proxyclient.New(proxyclient.Config{
		URLs: func() []string { return []string{r.urls[cluster.RoleClusterProxy]} }, Client: r.calls, Registerer: prometheus.NewRegistry(),
	})
}

// everyLease says that the one writer holds every partition.
type everyLease struct{}

func (everyLease) TryAcquire(context.Context, int) (bool, string, error) { return true, "w1", nil }
func (everyLease) Release(context.Context, int) error                    { return nil }

func (r *roles) startWriter() {
	r.t.Helper()
	output := slog.DiscardHandler
	if os.Getenv("QUIPU_TEST_LOG") != "" {
		output = slog.NewTextHandler(os.Stderr, nil)
	}
	w, err := writer.New(writer.Config{
		ID: "w1", Log: r.log, Proxy: r.proxies(), Leases: everyLease{}, Cluster: r.Cluster, Changed: r.Changed, DeadLetterDir: filepath.Join(r.dir, "dead"),
		Flush: writer.Flush{Interval: 2 * time.Millisecond, MaxInterval: 20 * time.Millisecond, Timeout: patience}, Read: writer.Read{Interval: time.Millisecond},
		Logger: slog.New(output),
	})
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.stopWriter = func() {
		cancel()
		must(r.t, <-ended)
	}
}

func (r *roles) makeReader() {
	objects, err := cold.NewObjects(cold.ObjectsConfig{URL: r.vault, FooterBytes: 1 << 20, Registerer: prometheus.NewRegistry()})
	must(r.t, err)
	storage, err := cold.New(cold.Config{Files: objects, CacheBytes: 64 << 10, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	must(r.t, err)
	c := reader.Config{
		Cold: storage, Partition: func(kind, key string) (int, bool) { return cluster.Partition(kind, key, partitions), true },
		Proxy: r.proxies(), EventTypes: func() map[string]event.Type { return types }, Now: r.clock, Limits: reader.Limits{Timeout: patience},
		Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	}
	made, err := reader.New(c)
	must(r.t, err)
	server, err := httpserver.New(httpserver.Config{Role: "reader", Address: "127.0.0.1:0"})
	must(r.t, err)
	made.Register(server.Echo(), nil)
	r.reader = server.Echo()
}

// await lets one be the leader at a time.
func (r *roles) await(ctx context.Context, _ string) (func(), error) {
	select {
	case <-r.lead:
		return func() { r.lead <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *roles) makeRoller() {
	roller, err := rollup.New(rollup.Config{
		Owner: "r1", Snapshot: r.Cluster, Client: r.calls, Lock: r.await, ChunkRows: 7, Ranked: 3, Patience: 5 * time.Second, Now: r.clock, Registerer: prometheus.NewRegistry(),
	})
	must(r.t, err)
	r.roller = roller
}

// fuse blows at a call of the roll-up or the archive: the caller is cut off before or after the call was served.
type fuse struct {
	left   atomic.Int64 // calls until it blows; 0 and below: it doesn't
	before atomic.Bool
	cut    atomic.Pointer[context.CancelFunc]
}

func (f *fuse) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		changes := q.Method == http.MethodPost && (strings.HasPrefix(q.URL.Path, wire.PathRollup) || strings.HasPrefix(q.URL.Path, wire.PathArchive))
		if !changes || f.left.Load() <= 0 || f.left.Add(-1) > 0 {
			next.ServeHTTP(w, q)
			return
		}
		if !f.before.Load() {
			next.ServeHTTP(httptest.NewRecorder(), q)
		}
		if cut := f.cut.Load(); cut != nil {
			(*cut)()
		}
		panic(http.ErrAbortHandler)
	})
}

// run runs the work of a leader that dies at the n-th of its calls, or lives if n is 0. It returns the work's error, or nil if it died.
func (f *fuse) run(n int, before bool, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.before.Store(before)
	f.cut.Store(&cancel)
	f.left.Store(int64(n))
	err := work(ctx)
	f.left.Store(0)
	if n > 0 && ctx.Err() != nil {
		return nil
	}
	return err
}
