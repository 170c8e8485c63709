package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/rollup/archive"
	"github.com/quipudb/quipu/rollup/shards"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

const (
	patience     = 30 * time.Second
	partitions   = 4
	minutesOfDay = 24 * 60
)

// created is when the cluster was: everything before its day can be frozen at every resolution.
var created = time.Now().UTC().Add(-time.Hour)

func today() int64 { return created.Unix() / 60 / minutesOfDay * minutesOfDay }

var servers *testkit.ShardServers

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, func(ctx context.Context, dir string) (closeAll func() error, err error) {
		servers, err = testkit.StartShard(ctx, dir)
		if err != nil {
			return nil, err
		}
		return servers.Close, nil
	}))
}

// rig is cold storage and a shard behind its proxy, on real databases, with a model of what was counted.
type rig struct {
	t      *testing.T
	proxy  *shardproxy.Proxy
	calls  *faultyShards
	store  *faultyStore
	folder string // of the store
	epoch  map[int]uint64
	next   map[int]uint64
	model  map[cell]event.Aggregate
}

// cell is a key's minute.
type cell struct {
	kind, key string
	minute    int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	testkit.FreshDatabase(t, servers.Primary)
	bootstrap(t, servers.Primary)
	servers.AwaitReplica(t)
	r := &rig{t: t, epoch: map[int]uint64{}, next: map[int]uint64{}, model: map[cell]event.Aggregate{}}
	snapshot := topology()
	var err error
	r.proxy, err = shardproxy.New(shardproxy.Config{
		ShardID: "s1", Snapshot: func() *cluster.Snapshot { return snapshot }, Changed: func() <-chan struct{} { return nil },
		EventTypes: func() map[string]event.Type {
			return map[string]event.Type{"view": {Name: "view", Unit: "ms", AllowNegative: true}, "like": {Name: "like"}}
		},
		Apply: account(local.AccountApply), Read: account(local.AccountRead), Monitor: account(local.AccountMonitor),
		MaxLag: patience, ProbeInterval: 50 * time.Millisecond, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.serve(snapshot)
	r.folder = t.TempDir()
	store, err := blob.Open(t.Context(), blob.Config{URL: r.folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	r.store = &faultyStore{Store: store, faults: r.calls.faults}
	return r
}

func (r *rig) serve(snapshot *cluster.Snapshot) {
	server, err := httpserver.New(httpserver.Config{Role: "shard_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	if err != nil {
		r.t.Fatal(err)
	}
	r.proxy.Register(server.Echo(), nil)
	front := httptest.NewServer(server.Echo())
	client := wire.NewClient(wire.ClientConfig{Timeout: patience})
	snapshot.Members = map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: {{ID: "p1", Shard: "s1", URL: front.URL}}}
	caller := shards.New(shards.Config{Snapshot: func() *cluster.Snapshot { return snapshot }, Client: client, Patience: time.Second})
	r.calls = &faultyShards{Caller: caller, faults: &faults{}}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.proxy.Run(ctx) }()
	r.t.Cleanup(func() {
		client.Close()
		front.Close()
		stop()
		if err := <-ended; err != nil {
			r.t.Errorf("run ended: %v", err)
		}
	})
	testkit.Eventually(r.t, patience, func() error { return r.proxy.Ready(r.t.Context()) })
}

func account(name local.Account) shardproxy.Account {
	return shardproxy.Account{User: string(name), Password: servers.Primary.Passwords[name]}
}

func topology() *cluster.Snapshot {
	owned := make([]string, partitions)
	for i := range owned {
		owned[i] = "s1"
	}
	return &cluster.Snapshot{
		Settings: cluster.Settings{ClusterID: "c1", Partitions: partitions, CreatedAt: created},
		Topology: cluster.Topology{
			Shards: []cluster.Shard{{ID: "s1", Databases: []cluster.Database{
				{ID: "s1-a", Address: servers.Primary.Address(), Role: cluster.Primary}, {ID: "s1-b", Address: servers.Replica.Address(), Role: cluster.Replica},
			}}},
			Partitions: owned,
		},
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
	owner, err := mysql.Open(mysql.Config{ID: db.Name(), Address: db.Address(), User: string(local.AccountMigrate), Password: db.Passwords[local.AccountMigrate]})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	ownership := mysql.Ownership{ClusterID: "c1", ShardID: "s1", CreatedAt: created}
	for p := range partitions {
		ownership.Partitions = append(ownership.Partitions, p)
	}
	if err := mysql.EnsureOwnership(t.Context(), owner, ownership); err != nil {
		t.Fatal(err)
	}
}

// faults fail chosen calls, before or after they were made.
type faults struct {
	mu    sync.Mutex
	seen  []string
	fails func(n int, what string) (before, after error)
}

func (f *faults) next(what string) (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, what)
	if f.fails == nil {
		return nil, nil
	}
	return f.fails(len(f.seen), what)
}

// set begins to count anew.
func (f *faults) set(fails func(n int, what string) (before, after error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.seen = fails, nil
}

func around[T any](f *faults, what string, call func() (T, error)) (T, error) {
	var none T
	before, after := f.next(what)
	if before != nil {
		return none, before
	}
	got, err := call()
	if err == nil && after != nil {
		return none, after
	}
	return got, err
}

// faultyShards is a way to the shards with faults.
type faultyShards struct {
	*shards.Caller
	faults *faults
}

func (s *faultyShards) JSON(ctx context.Context, shard, path string, in, out any) error {
	_, err := around(s.faults, strings.TrimPrefix(path, "/internal/v1/"), func() (any, error) { return nil, s.Caller.JSON(ctx, shard, path, in, out) })
	return err
}

func (s *faultyShards) Bytes(ctx context.Context, shard, path, contentType string, body []byte) ([]byte, error) {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/internal/v1/"), "?")
	return around(s.faults, name, func() ([]byte, error) { return s.Caller.Bytes(ctx, shard, path, contentType, body) })
}

// faultyStore is cold storage with faults.
type faultyStore struct {
	*blob.Store
	faults *faults
}

func (s *faultyStore) Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error) {
	return around(s.faults, "upload", func() (blob.Info, error) { return s.Store.Upload(ctx, name, write) })
}

func (s *faultyStore) Download(ctx context.Context, name string, w io.Writer) (blob.Info, error) {
	return around(s.faults, "download", func() (blob.Info, error) { return s.Store.Download(ctx, name, w) })
}

func (s *faultyStore) Delete(ctx context.Context, name string) error {
	_, err := around(s.faults, "delete", func() (any, error) { return nil, s.Store.Delete(ctx, name) })
	return err
}

func (s *faultyStore) Probe(ctx context.Context) error {
	_, err := around(s.faults, "probe", func() (any, error) { return nil, s.Store.Probe(ctx) })
	return err
}

func (s *faultyStore) List(ctx context.Context, prefix string) iter.Seq2[blob.Attributes, error] {
	if before, _ := s.faults.next("list"); before != nil {
		return func(yield func(blob.Attributes, error) bool) { yield(blob.Attributes{}, before) }
	}
	return s.Store.List(ctx, prefix)
}

// archiver returns a new one: a process that knows nothing of the ones before.
func (r *rig) archiver(change func(*archive.Config)) *archive.Archiver {
	r.t.Helper()
	cfg := archive.Config{Shards: r.calls, Store: r.store, Cluster: "c1", Registerer: prometheus.NewRegistry(), SpillDir: r.t.TempDir(), DropDelay: time.Hour}
	if change != nil {
		change(&cfg)
	}
	a, err := archive.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// until is a change of Config: all minutes before an instant.
func until(minute int64, resolutions ...string) func(*archive.Config) {
	if len(resolutions) == 0 {
		resolutions = []string{"minute"}
	}
	return func(c *archive.Config) {
		c.Until = &archive.Until{Before: time.Unix(minute*60, 0), Resolutions: resolutions}
	}
}

// lead takes the shard over.
func (r *rig) lead(owner string) wire.Leader {
	r.t.Helper()
	var claimed wire.RollupClaimed
	if err := r.calls.Caller.JSON(r.t.Context(), "s1", wire.PathRollupClaim, &wire.RollupClaim{Owner: owner}, &claimed); err != nil {
		r.t.Fatal(err)
	}
	return wire.Leader{Epoch: claimed.Epoch, Owner: owner}
}

// run does all steps.
func run(ctx context.Context, a *archive.Archiver, leader wire.Leader) error {
	for {
		more, err := a.Step(ctx, "s1", leader)
		if err != nil || !more {
			return err
		}
	}
}

func (r *rig) mustRun(a *archive.Archiver) {
	r.t.Helper()
	servers.AwaitReplica(r.t)
	if err := run(r.t.Context(), a, r.lead("archiver")); err != nil {
		r.t.Fatal(err)
	}
}

// archived makes minutes cold up to some days ago.
func (r *rig) archived(days int64) {
	r.t.Helper()
	r.mustRun(r.archiver(until(today() - days*minutesOfDay)))
}

func (r *rig) state() *wire.ArchiveState {
	r.t.Helper()
	state := &wire.ArchiveState{}
	if err := r.calls.Caller.JSON(r.t.Context(), "s1", wire.PathArchive, nil, state); err != nil {
		r.t.Fatal(err)
	}
	return state
}

func (r *rig) mark(resolution string) wire.ArchiveMark {
	r.t.Helper()
	for _, mark := range r.state().Marks {
		if mark.Resolution == resolution {
			return mark
		}
	}
	r.t.Fatalf("there is no mark of %s", resolution)
	return wire.ArchiveMark{}
}

// count adds events through Apply, as a writer does, and to the model.
func (r *rig) count(rows ...wire.Row) {
	r.t.Helper()
	byPartition := map[int][]wire.Row{}
	for _, row := range rows {
		p := cluster.Partition(row.Type, row.Key, partitions)
		byPartition[p] = append(byPartition[p], row)
		at := cell{row.Type, row.Key, row.Minute}
		sum, ok := r.model[at]
		if !ok {
			sum = event.NewAggregate()
		}
		sum.Merge(row.Aggregate)
		r.model[at] = sum
	}
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		if r.next[p] == 0 {
			var claimed wire.Checkpoint
			if err := r.calls.Caller.JSON(r.t.Context(), "s1", wire.PathClaim, &wire.ClaimRequest{Partition: p, Owner: "w1"}, &claimed); err != nil {
				r.t.Fatal(err)
			}
			r.epoch[p], r.next[p] = claimed.Epoch, 1
		}
		apply := &wire.ApplyRequest{
			Partition: p, Epoch: r.epoch[p], Expected: r.next[p], Next: r.next[p] + 1, WindowFrom: 1, AsOf: time.Now().UnixMilli(),
			Incarnation: "log-1", Checksum: uint32(r.next[p]), Rows: byPartition[p],
		}
		if _, err := r.calls.Caller.Bytes(r.t.Context(), "s1", fmt.Sprintf("%s?partition=%d", wire.PathApply, p), wire.ApplyType, wire.EncodeApply(nil, apply)); err != nil {
			r.t.Fatal(err)
		}
		r.next[p]++
	}
}

// viewed is a count of some days ago.
func viewed(key string, days, minute, count int64) wire.Row {
	row := wire.Row{Type: "view", Key: key, Minute: today() - days*minutesOfDay + minute, Aggregate: event.NewAggregate()}
	row.AddEvent(count, 7*count+minute, true)
	return row
}

func liked(key string, days, minute, count int64) wire.Row {
	row := wire.Row{Type: "like", Key: key, Minute: today() - days*minutesOfDay + minute, Aggregate: event.NewAggregate()}
	row.AddEvent(count, 0, false)
	return row
}

// fill counts some keys on some days.
func (r *rig) fill(keys int, days ...int64) {
	r.t.Helper()
	for _, day := range days {
		var rows []wire.Row
		for k := range keys {
			key := fmt.Sprintf("video-%d", k)
			rows = append(rows, viewed(key, day, int64(k%3), int64(k+1)), viewed(key, day, 60+int64(k%5), 2), liked(key, day, 1439, 1))
		}
		r.count(rows...)
	}
}

// check holds (A) of docs/archive.md against the model, at every resolution (INV-5): tables, late rows, restored copies and objects
// together are what was counted.
func (r *rig) check() {
	r.t.Helper()
	for resolution, minutes := range map[string]int64{"minute": 1, "hour": 60, "day": minutesOfDay} {
		want := map[cell]event.Aggregate{}
		watermark := r.watermark(resolution)
		for at, a := range r.model {
			at.minute -= at.minute % minutes
			if minutes > 1 && at.minute >= watermark {
				continue
			}
			add(want, at, a)
		}
		if diff := cmp.Diff(want, r.everything(resolution)); diff != "" {
			r.t.Fatalf("%s rows differ (-want +got):\n%s", resolution, diff)
		}
	}
}

func (r *rig) watermark(resolution string) int64 {
	for _, w := range r.state().Watermarks {
		if w.Resolution == resolution {
			return w.CompleteBefore
		}
	}
	return 0
}

func add(to map[cell]event.Aggregate, at cell, a event.Aggregate) {
	sum, ok := to[at]
	if !ok {
		sum = event.NewAggregate()
	}
	sum.Merge(a)
	to[at] = sum
}

// everything adds up all places that a resolution is in, from the tables themselves and the objects themselves.
func (r *rig) everything(resolution string) map[cell]event.Aggregate {
	r.t.Helper()
	all := map[cell]event.Aggregate{}
	state, mark := r.state(), r.mark(resolution)
	watermark := int64(event.MaxMinute)
	if resolution != "minute" {
		watermark = r.watermark(resolution)
	}
	restored := func(minute int64) bool {
		for _, known := range state.Restored {
			if known.Resolution == resolution && known.State == "ready" && known.From <= minute && minute < known.To {
				return true
			}
		}
		return false
	}
	r.table(resolution+"_counts", func(at cell, a event.Aggregate) {
		if at.minute >= mark.ColdBefore && at.minute < watermark {
			add(all, at, a)
		}
	})
	r.table("late_"+resolution+"_counts", func(at cell, a event.Aggregate) { add(all, at, a) })
	r.table("restored_"+resolution+"_counts", func(at cell, a event.Aggregate) {
		if restored(at.minute) {
			add(all, at, a)
		}
	})
	for object, parts := range r.manifest(resolution) {
		r.object(object, func(row countfile.Row) {
			if parts[row.Partition] && !restored(row.Minute) {
				add(all, cell{row.Type, row.Key, row.Minute}, row.Aggregate)
			}
		})
	}
	return all
}

func (r *rig) table(name string, each func(cell, event.Aggregate)) {
	r.t.Helper()
	rows, err := servers.Primary.Root().Query(`SELECT t.name, k.name, TIMESTAMPDIFF(MINUTE, '1970-01-01 00:00:00', c.start), c.event_count,
		c.value_count IS NOT NULL, COALESCE(c.value_count, 0), COALESCE(c.value_sum, 0), COALESCE(c.value_min, 0), COALESCE(c.value_max, 0)
		FROM quipu.` + name + ` c JOIN quipu.event_types t ON t.id = c.event_type_id JOIN quipu.counted_keys k ON k.id = c.key_id`)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var at cell
		a := event.NewAggregate()
		var sum, low, high int64
		if err := rows.Scan(&at.kind, &at.key, &at.minute, &a.Count, &a.HasValues, &a.ValueCount, &sum, &low, &high); err != nil {
			r.t.Fatal(err)
		}
		if a.Sum = event.SumOf(sum); a.HasValues {
			a.Min, a.Max = low, high
		}
		each(at, a)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
}

// manifest lists the stored objects of a resolution and the partitions that they are to be read for.
func (r *rig) manifest(resolution string) map[string]map[int]bool {
	r.t.Helper()
	objects := map[string]map[int]bool{}
	rows, err := servers.Primary.Root().Query("SELECT object, partition_id FROM quipu.archive_manifest WHERE state = 'stored' AND resolution = ?", resolution)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var object string
		var partition int
		if err := rows.Scan(&object, &partition); err != nil {
			r.t.Fatal(err)
		}
		if objects[object] == nil {
			objects[object] = map[int]bool{}
		}
		objects[object][partition] = true
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return objects
}

func (r *rig) object(name string, each func(countfile.Row)) {
	r.t.Helper()
	attributes, err := r.store.Attributes(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	reader := r.store.Store.Reader(r.t.Context(), name, attributes.Bytes, blob.ReaderConfig{})
	file, err := countfile.Open(reader, attributes.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	for row, err := range file.All(r.t.Context(), reader) {
		if err != nil {
			r.t.Fatal(err)
		}
		each(row)
	}
}

// objects lists what is in cold storage.
func (r *rig) objects() []string {
	r.t.Helper()
	var names []string
	for object, err := range r.store.Store.List(r.t.Context(), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		names = append(names, object.Name)
	}
	return names
}

func exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := servers.Primary.Root().Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

var errInjected = errors.New("injected")
