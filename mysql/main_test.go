package mysql_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// shared is one primary and its replica for the tests that break neither.
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

// created is when the tests' cluster was created: its watermarks stand at 10:00 and at midnight of that day.
var created = time.Date(2025, 11, 20, 10, 17, 0, 0, time.UTC)

// minute returns a minute of the day on which the cluster was created.
func minute(hour, min int) int64 {
	return time.Date(2025, 11, 20, hour, min, 0, 0, time.UTC).Unix() / 60
}

// bench is a migrated shard that owns partitions 0 to 7, and the pools of its accounts.
type bench struct {
	servers *testkit.ShardServers
	primary *mysql.Primary
	read    *mysql.DB // on the primary
}

func newBench(t testing.TB, servers *testkit.ShardServers) *bench {
	t.Helper()
	testkit.FreshDatabase(t, servers.Primary)
	migrate(t, servers.Primary)
	b := &bench{servers: servers, read: pool(t, servers.Primary, local.AccountRead, nil)}
	b.primary = primaryOf(t, servers.Primary, nil)
	return b
}

func migrate(t testing.TB, db *testkit.Database) {
	t.Helper()
	owner := pool(t, db, local.AccountMigrate, nil)
	migrateTo(t, db, migrations.Latest())
	if err := mysql.EnsureOwnership(t.Context(), owner, ownership()); err != nil {
		t.Fatal(err)
	}
}

func migrateTo(t testing.TB, db *testkit.Database, version uint) {
	t.Helper()
	runner, err := migrations.New(migrations.Config{Shards: []migrations.Shard{{ID: "s1", DSN: db.DSN(local.AccountMigrate)}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Goto(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

func ownership() mysql.Ownership {
	return mysql.Ownership{ClusterID: "c1", ShardID: "s1", Partitions: []int{0, 1, 2, 3, 4, 5, 6, 7}, CreatedAt: created}
}

func config(db *testkit.Database, account local.Account) mysql.Config {
	return mysql.Config{
		ID: db.Name(), Address: db.Address(), User: string(account), Password: db.Passwords[account],
		ReadOnly: account != local.AccountApply && account != local.AccountMigrate,
	}
}

func pool(t testing.TB, db *testkit.Database, account local.Account, change func(*mysql.Config)) *mysql.DB {
	t.Helper()
	cfg := config(db, account)
	if change != nil {
		change(&cfg)
	}
	p, err := mysql.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func primaryOf(t testing.TB, db *testkit.Database, change func(*mysql.Config)) *mysql.Primary {
	t.Helper()
	p, err := mysql.NewPrimary(mysql.PrimaryConfig{
		DB: pool(t, db, local.AccountApply, change), ClusterID: "c1", ShardID: "s1",
		EventTypes: func() map[string]event.Type {
			return map[string]event.Type{"view": {Name: "view", Unit: "ms", Description: "somebody watched"}}
		},
		Now: func() time.Time { return created.Add(time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// claim takes a partition and returns its epoch.
func (b *bench) claim(t testing.TB, partition int) uint64 {
	t.Helper()
	c, err := b.primary.Claim(t.Context(), partition, "w1", 0)
	if err != nil {
		t.Fatal(err)
	}
	return c.Epoch
}

// request is an Apply of partition 3 that moves the offset from one to another.
func request(epoch, expected, next uint64, rows ...event.Row) *mysql.ApplyRequest {
	return &mysql.ApplyRequest{
		Partition: 3, Epoch: epoch, Expected: expected, Next: next, WindowFrom: 1, AsOf: int64(next) * 1000,
		Incarnation: "log-1", Checksum: uint32(next) * 7, Rows: rows,
	}
}

func counted(key string, minute, count int64) event.Row {
	row := event.Row{Type: "view", Key: key, Minute: minute, Aggregate: event.NewAggregate()}
	row.AddEvent(count, 0, false)
	return row
}

func measured(key string, minute, weight, value int64) event.Row {
	row := event.Row{Type: "view", Key: key, Minute: minute, Aggregate: event.NewAggregate()}
	row.AddEvent(weight, value, true)
	return row
}

func (b *bench) apply(t testing.TB, r *mysql.ApplyRequest) {
	t.Helper()
	if err := b.primary.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) checkpoint(t testing.TB, partition int) mysql.Checkpoint {
	t.Helper()
	all, err := b.read.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Partition == partition {
			return c
		}
	}
	t.Fatalf("no checkpoint of partition %d", partition)
	return mysql.Checkpoint{}
}

// total returns the count of a key of partition 3 over all time, by way of every table.
func (b *bench) total(t testing.TB, key string) int64 {
	t.Helper()
	return b.stats(t, key, 0, event.MaxMinute+1, mysql.StepNone)[0].Count
}

func (b *bench) stats(t testing.TB, key string, from, to int64, step mysql.Step) []mysql.Point {
	t.Helper()
	answer, err := b.read.Stats(t.Context(), &mysql.StatsRequest{
		Type: "view", Keys: []mysql.StatsKey{{Partition: 3, Name: key}}, From: from, To: to, Step: step, MaxPoints: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Keys[0].Points
}

func (b *bench) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := b.servers.Primary.Root().Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (b *bench) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := b.servers.Primary.Root().QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func contextWithin(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
