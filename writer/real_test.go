package writer_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
	"github.com/quipudb/quipu/wire/proxyclient"
	"github.com/quipudb/quipu/writer"
)

const realPartitions = 4

// realParts are an embedded log and a shard proxy over HTTP before a real server.
type realParts struct {
	log    *embedded.Log
	server *testkit.Database
	client *wire.Client
	proxy  *proxyclient.Client
	leases *memLeases
	view   *view
	dir    string
	random *rand.Rand
}

func newRealParts(t *testing.T) *realParts {
	t.Helper()
	r := &realParts{
		server: testkit.MariaDB(t), leases: &memLeases{holders: map[int]string{}}, view: newView(realPartitions, "w1"), dir: t.TempDir(),
		random: rand.New(rand.NewPCG(20, 26)),
	}
	runner, err := migrations.New(migrations.Config{Shards: []migrations.Shard{{ID: "s1", DSN: r.server.DSN(local.AccountMigrate)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := mysql.Ownership{ClusterID: "c1", ShardID: "s1", CreatedAt: time.Now()}
	for p := range realPartitions {
		want.Partitions = append(want.Partitions, p)
	}
	if err := mysql.EnsureOwnership(t.Context(), r.pool(t, local.AccountMigrate), want); err != nil {
		t.Fatal(err)
	}
	r.view.describe("c1", cluster.Shard{ID: "s1", Databases: []cluster.Database{{ID: r.server.Name(), Address: r.server.Address(), Role: cluster.Primary}}})
	url := r.serve(t)
	r.client = wire.NewClient(wire.ClientConfig{})
	t.Cleanup(r.client.Close)
	r.proxy = proxyclient.New(proxyclient.Config{URLs: func() []string { return []string{url} }, Client: r.client, Registerer: prometheus.NewRegistry()})
	r.log = embedded.New(embedded.Config{Dir: filepath.Join(r.dir, "log"), Partitions: realPartitions})
	if err := r.log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.log.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *realParts) pool(t *testing.T, account local.Account) *mysql.DB {
	t.Helper()
	db, err := mysql.Open(mysql.Config{ID: r.server.Name(), Address: r.server.Address(), User: string(account), Password: r.server.Passwords[account]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// start runs a writer until the returned function is called.
func (r *realParts) start(t *testing.T, id string) (stop func()) {
	t.Helper()
	output := io.Writer(io.Discard)
	if os.Getenv("QUIPU_TEST_LOG") != "" {
		output = os.Stderr
	}
	w, err := writer.New(writer.Config{
		ID: id, Log: r.log, Proxy: r.proxy, Leases: r.leases.of(id), Cluster: r.view.Cluster, Changed: r.view.Changed,
		DeadLetterDir: filepath.Join(r.dir, "dead"), Flush: writer.Flush{Interval: 100 * time.Millisecond, MaxRows: 200, Timeout: 5 * time.Second},
		Logger: slog.New(slog.NewTextHandler(output, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// produce appends a batch: new ids, repeated ones, none, late events, negative weights.
func (r *realParts) produce(t *testing.T, n int) {
	t.Helper()
	p, now := r.random.IntN(realPartitions), time.Now()
	events := make([]event.Event, 1+r.random.IntN(200))
	for i := range events {
		e := event.Event{Type: "view", Key: r.key(p), Weight: 1, TimeMs: now.Add(-time.Duration(r.random.IntN(7200)) * time.Second).UnixMilli()}
		switch r.random.IntN(5) {
		case 0:
			e.ID = fmt.Sprint(r.random.IntN(n*100 + 1))
		case 1, 2, 3:
			e.ID = fmt.Sprint(n, "-", i)
		}
		if r.random.IntN(4) == 0 {
			e.Weight = int64(r.random.IntN(9)) - 10
		}
		if e.HasValue = r.random.IntN(2) == 0; e.HasValue {
			e.Value = r.random.Int64N(2_000_000) - 1_000_000
		}
		events[i] = e
	}
	if _, err := r.log.Append(t.Context(), p, batch(events...)); err != nil {
		t.Fatal(err)
	}
}

func (r *realParts) key(p int) string {
	for {
		key := fmt.Sprint("key ", r.random.IntN(400))
		if cluster.Partition("view", key, realPartitions) == p {
			return key
		}
	}
}

// serve runs the shard proxy behind HTTP and returns its address. One answer to an Apply in ten is lost after its work was done.
func (r *realParts) serve(t *testing.T) string {
	t.Helper()
	account := func(name local.Account) shardproxy.Account {
		return shardproxy.Account{User: string(name), Password: r.server.Passwords[name]}
	}
	proxy, err := shardproxy.New(shardproxy.Config{
		ShardID: "s1", Snapshot: r.view.Cluster, Changed: r.view.Changed, ProbeInterval: 50 * time.Millisecond, ApplyTimeout: 4 * time.Second,
		Apply: account(local.AccountApply), Read: account(local.AccountRead), Monitor: account(local.AccountMonitor),
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := httpserver.New(httpserver.Config{Role: "shard_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	if err != nil {
		t.Fatal(err)
	}
	proxy.Register(server.Echo(), nil)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != wire.PathApply || rand.IntN(10) > 0 {
			server.Echo().ServeHTTP(w, q)
			return
		}
		server.Echo().ServeHTTP(httptest.NewRecorder(), q)
		panic(http.ErrAbortHandler)
	}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- proxy.Run(ctx) }()
	t.Cleanup(func() {
		front.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("run the shard proxy: %v", err)
		}
	})
	testkit.Eventually(t, time.Minute, func() error { return proxy.Ready(t.Context()) })
	return front.URL
}

// TestExactlyOnceOnARealShard: batches with duplicates, late events and negative weights go from an embedded log through the shard
// proxy to a real server while answers are lost, writers come and go and the server is killed; every cell is right in the end (INV-1, INV-4, INV-7).
func TestExactlyOnceOnARealShard(t *testing.T) {
	r := newRealParts(t)
	stop := r.start(t, "w1")
	defer func() { stop() }()
	const batches, kills = 600, 2
	for n := range batches {
		r.produce(t, n)
		switch {
		case n%(batches/(kills+1)) == batches/(kills+1)-1:
			if err := r.server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := r.server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		case n%100 == 50:
			stop()
			stop = r.start(t, "w1")
		case n%7 == 0:
			time.Sleep(time.Duration(r.random.IntN(40)) * time.Millisecond)
		}
	}
	r.awaitAll(t)
	stop()
	stop = func() {}
	for p := range realPartitions {
		chunk, err := r.log.Read(t.Context(), p, 1, 1<<30, 0)
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Next != chunk.End {
			t.Fatalf("partition %d: read to offset %d of %d", p, chunk.Next, chunk.End)
		}
		if diff := cmp.Diff(recount(chunk.Records, nil), r.counted(t, p)); diff != "" {
			t.Errorf("partition %d (-want +got):\n%s", p, diff)
		}
	}
}

// awaitAll waits until every batch is committed.
func (r *realParts) awaitAll(t *testing.T) {
	t.Helper()
	db := r.pool(t, local.AccountRead)
	testkit.Eventually(t, time.Minute, func() error {
		stored, err := db.Checkpoints(t.Context())
		if err != nil {
			return err
		}
		for _, c := range stored {
			bounds, err := r.log.Bounds(t.Context(), c.Partition)
			if err != nil {
				return err
			}
			if c.NextOffset != bounds.Next {
				return fmt.Errorf("partition %d is counted up to offset %d of %d", c.Partition, c.NextOffset, bounds.Next)
			}
		}
		return nil
	})
}

// counted reads the cells of a partition.
func (r *realParts) counted(t *testing.T, p int) counts {
	t.Helper()
	rows, err := r.server.Open(t, local.AccountRead).QueryContext(t.Context(), `
		SELECT e.name, k.name, TIMESTAMPDIFF(MINUTE, '1970-01-01', m.start), m.event_count, m.value_count, m.value_sum, m.value_min, m.value_max
		FROM minute_counts m JOIN counted_keys k ON k.id = m.key_id JOIN event_types e ON e.id = m.event_type_id
		WHERE k.partition_id = ?`, p)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := counts{}
	for rows.Next() {
		var name cellName
		var valueCount, least, most sql.NullInt64
		var sum sql.NullString
		a := event.NewAggregate()
		if err := rows.Scan(&name.Kind, &name.Key, &name.Minute, &a.Count, &valueCount, &sum, &least, &most); err != nil {
			t.Fatal(err)
		}
		if valueCount.Valid {
			a.HasValues, a.ValueCount, a.Min, a.Max = true, valueCount.Int64, least.Int64, most.Int64
			if a.Sum, err = event.ParseSum(sum.String); err != nil {
				t.Fatal(err)
			}
		}
		out[name] = a
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
