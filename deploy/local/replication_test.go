package local_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

func TestReplicationSurvivesKills(t *testing.T) {
	t.Parallel()
	shard := testkit.Shard(t)
	primary, replica := shard.Primary, shard.Replica
	execAll(t, primary.Open(t, local.AccountMigrate),
		"CREATE TABLE t (id INT PRIMARY KEY)",
		"CREATE TABLE numbers (seq INT PRIMARY KEY)",
		"INSERT INTO numbers SELECT seq FROM (WITH RECURSIVE n AS (SELECT 0 AS seq UNION ALL SELECT seq + 1 FROM n WHERE seq < 999) SELECT seq FROM n) AS small",
		"INSERT IGNORE INTO numbers SELECT a.seq * 1000 + b.seq FROM numbers a, numbers b WHERE a.seq < 100",
	)
	rows := 0
	insert := func(t *testing.T) {
		t.Helper()
		db := primary.Open(t, local.AccountApply)
		for range 20 {
			execAll(t, db, fmt.Sprintf("INSERT INTO t VALUES (%d)", rows))
			rows++
		}
	}
	check := func(t *testing.T) {
		t.Helper()
		shard.AwaitReplica(t)
		if got, want := query(t, replica.Open(t, local.AccountRead), "SELECT COUNT(*) FROM t"), fmt.Sprint(rows); got != want {
			t.Errorf("the replica has %s rows, want %s", got, want)
		}
	}
	kill := func(t *testing.T, db *testkit.Database) {
		t.Helper()
		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"nothing", insert},
		{"a killed replica misses writes", func(t *testing.T) {
			kill(t, replica)
			insert(t)
			start(t, replica)
		}},
		{"the primary is killed", func(t *testing.T) {
			insert(t)
			kill(t, primary)
			start(t, primary)
			insert(t)
		}},
		{"both are killed", func(t *testing.T) {
			insert(t)
			kill(t, primary)
			kill(t, replica)
			start(t, replica)
			start(t, primary)
			insert(t)
		}},
		{"the replica is killed while it applies", func(t *testing.T) {
			for range 3 {
				statement := fmt.Sprintf("INSERT INTO quipu.t SELECT seq FROM quipu.numbers WHERE seq BETWEEN %d AND %d", rows, rows+19999)
				done := make(chan error, 1)
				go func() {
					_, err := primary.Root().Exec(statement)
					done <- err
				}()
				rows += 20000
				kill(t, replica)
				start(t, replica)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				insert(t)
				kill(t, replica)
				start(t, replica)
			}
		}},
		{"replication is set up again", func(t *testing.T) {
			if err := local.Replicate(t.Context(), primary.MariaDB, replica.MariaDB, primary.Passwords[local.AccountReplicate]); err != nil {
				t.Fatal(err)
			}
			insert(t)
		}},
		{"accounts are configured again", func(t *testing.T) {
			if err := local.ConfigureAccounts(t.Context(), primary.MariaDB, primary.Passwords); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do(t)
			check(t)
		})
	}
}

func TestReplicaHasTheAccountsAndRefusesWrites(t *testing.T) {
	t.Parallel()
	shard := testkit.Shard(t)
	execAll(t, shard.Primary.Open(t, local.AccountMigrate), "CREATE TABLE t (id INT PRIMARY KEY)")
	shard.AwaitReplica(t)
	for _, account := range local.Accounts() {
		if err := shard.Replica.Open(t, account).PingContext(t.Context()); err != nil {
			t.Errorf("%s on the replica: %v", account, err)
		}
	}
	for _, account := range []local.Account{local.AccountApply, local.AccountMigrate} {
		_, err := shard.Replica.Open(t, account).ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
		var refusal *mysql.MySQLError
		if !errors.As(err, &refusal) || refusal.Number != 1290 { // ER_OPTION_PREVENTS_STATEMENT
			t.Errorf("%s writes on the replica: %v, want error 1290", account, err)
		}
	}
}

func TestAwaitReplicaSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	shard := testkit.Shard(t)
	execAll(t, shard.Replica.Root(), "STOP SLAVE SQL_THREAD")
	execAll(t, shard.Primary.Open(t, local.AccountMigrate), "CREATE TABLE t (id INT PRIMARY KEY)")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := shard.Await(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Await = %v, want the deadline's error", err)
	}
	execAll(t, shard.Replica.Root(), "START SLAVE")
	shard.AwaitReplica(t)
}

func TestReplicateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	shard := testkit.Shard(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := local.Replicate(ctx, shard.Primary.MariaDB, shard.Replica.MariaDB, "wrong")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a wrong password: %v, want the deadline's error", err)
	}
	if err := local.Replicate(t.Context(), shard.Primary.MariaDB, shard.Replica.MariaDB, shard.Primary.Passwords[local.AccountReplicate]); err != nil {
		t.Fatalf("with the right one: %v", err)
	}
	shard.AwaitReplica(t)
}
