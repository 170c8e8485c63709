package testkit_test

import (
	"testing"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

func TestShardReplicates(t *testing.T) {
	t.Parallel()
	shard := testkit.Shard(t)
	migrate := shard.Primary.Open(t, local.AccountMigrate)
	for _, statement := range []string{
		"CREATE TABLE t (id INT PRIMARY KEY)",
		"INSERT INTO t VALUES (1), (2)",
	} {
		if _, err := migrate.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	shard.AwaitReplica(t)
	var got int
	if err := shard.Replica.Open(t, local.AccountRead).QueryRow("SELECT COUNT(*) FROM t").Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != 2 {
		t.Errorf("the replica has %d rows, want 2", got)
	}
}

func TestResetEmptiesTheSchemas(t *testing.T) {
	t.Parallel()
	db := testkit.MariaDB(t)
	migrate := db.Open(t, local.AccountMigrate)
	for round := range 2 {
		testkit.FreshDatabase(t, db)
		if _, err := migrate.Exec("CREATE TABLE t (id INT PRIMARY KEY)"); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if _, err := migrate.Exec("CREATE VIEW analytics.v AS SELECT id FROM quipu.t"); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var got int
		if err := db.Open(t, local.AccountAnalyst).QueryRow("SELECT COUNT(*) FROM v").Scan(&got); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

func TestZooKeeperServes(t *testing.T) {
	t.Parallel()
	zk := testkit.ZooKeeper(t)
	got, err := zk.FourLetter(t.Context(), "ruok")
	if err != nil || got != "imok" {
		t.Errorf("ruok answers %q, %v; want imok", got, err)
	}
}
