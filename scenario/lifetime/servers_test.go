package lifetime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// databases are the two servers of a shard, of which one is the primary. Their data is in memory and not flushed: what is tested
// here are states, which kill -9 of servers is tested for elsewhere.
type databases struct {
	servers          map[string]*testkit.Database // by id
	primary, replica string
	dir              string
	stalled          bool // the replica gets nothing new
	alone            bool // the replica is lost
}

func startDatabases(t *testing.T, created time.Time) *databases {
	t.Helper()
	dir := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "quipu-lifetime-"); err == nil {
		dir = memory
		t.Cleanup(func() { _ = os.RemoveAll(memory) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shard, err := testkit.StartShard(ctx, dir, func(c *local.MariaDBConfig) {
		c.Settings = map[string]string{"sync_binlog": "0", "innodb_flush_log_at_trx_commit": "0", "innodb_file_per_table": "ON", "innodb_buffer_pool_size": "134217728"}
	})
	must(t, err)
	t.Cleanup(func() { must(t, shard.Close()) })
	d := &databases{servers: map[string]*testkit.Database{"s1-a": shard.Primary, "s1-b": shard.Replica}, primary: "s1-a", replica: "s1-b", dir: dir}
	runner, err := migrations.New(migrations.Config{Shards: []migrations.Shard{{ID: "s1", DSN: shard.Primary.DSN(local.AccountMigrate)}}})
	must(t, err)
	must(t, runner.Up(ctx))
	owner, err := mysql.Open(mysql.Config{
		ID: "s1-a", Address: shard.Primary.Address(), User: string(local.AccountMigrate), Password: shard.Primary.Passwords[local.AccountMigrate],
	})
	must(t, err)
	defer owner.Close()
	want := mysql.Ownership{ClusterID: clusterID, ShardID: "s1", CreatedAt: created}
	for p := range partitions {
		want.Partitions = append(want.Partitions, p)
	}
	must(t, mysql.EnsureOwnership(ctx, owner, want))
	must(t, shard.Await(ctx))
	return d
}

func (d *databases) described() []cluster.Database {
	return []cluster.Database{
		{ID: d.primary, Address: d.servers[d.primary].Address(), Role: cluster.Primary},
		{ID: d.replica, Address: d.servers[d.replica].Address(), Role: cluster.Replica},
	}
}

func (d *databases) execute(t testing.TB, id string, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := d.servers[id].Root().ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s on %s: %v", statement, id, err)
		}
	}
}

// stall keeps the replica in the state that it has now.
func (d *databases) stall(t testing.TB) {
	d.execute(t, d.replica, "STOP SLAVE SQL_THREAD")
	d.stalled = true
}

// resume lets the replica catch up.
func (d *databases) resume(t testing.TB) {
	d.execute(t, d.replica, "START SLAVE")
	d.stalled = false
}

// promote makes the replica the primary in the state that it has, however old, and loses the primary.
func (d *databases) promote(t testing.TB) {
	t.Helper()
	must(t, d.servers[d.primary].Kill())
	d.execute(t, d.replica, "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1")
	d.primary, d.replica = d.replica, d.primary
	d.stalled, d.alone = false, true
}

// rebuild makes the lost server a replica of the primary, from a copy of its data. The primary is away meanwhile.
func (d *databases) rebuild(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	primary, replica := d.servers[d.primary], d.servers[d.replica]
	must(t, primary.Stop(ctx))
	data := func(s *testkit.Database) string { return filepath.Join(filepath.Dir(s.LogFile()), "data") }
	must(t, os.RemoveAll(data(replica)))
	must(t, os.CopyFS(data(replica), os.DirFS(data(primary))))
	must(t, primary.Start(ctx))
	must(t, replica.Start(ctx))
	d.execute(t, d.primary, "SET GLOBAL read_only = OFF")
	d.execute(t, d.replica, "SET GLOBAL read_only = ON", "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL gtid_slave_pos = @@GLOBAL.gtid_binlog_pos")
	must(t, local.Replicate(ctx, primary.MariaDB, replica.MariaDB, primary.Passwords[local.AccountReplicate]))
	d.alone = false
}

// await waits until the replica has what the primary has, unless it is stalled.
func (d *databases) await(t testing.TB) {
	t.Helper()
	if d.stalled || d.alone {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(t, local.AwaitReplica(ctx, d.servers[d.primary].MariaDB, d.servers[d.replica].MariaDB))
}

// offsets are the stored checkpoints of the primary.
func (d *databases) offsets() (map[int]uint64, error) {
	rows, err := d.servers[d.primary].Root().QueryContext(context.Background(), "SELECT partition_id, next_offset FROM quipu.checkpoints")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[int]uint64{}
	for rows.Next() {
		var partition int
		var next uint64
		if err := rows.Scan(&partition, &next); err != nil {
			return nil, err
		}
		out[partition] = next
	}
	return out, rows.Err()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("%w", err))
	}
}
