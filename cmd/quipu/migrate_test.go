package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/testkit"
)

// bed is a cluster without roles: ZooKeeper, and a database for each shard.
type bed struct {
	t         *testing.T
	environ   []string
	databases []*testkit.Database
}

func newBed(t *testing.T, shards int) *bed {
	t.Helper()
	b := &bed{t: t, environ: []string{
		"QUIPU_CLUSTER_ZOOKEEPER=" + testkit.ZooKeeper(t).Address(), "QUIPU_CLUSTER_DATA_DIR=" + t.TempDir(), "QUIPU_LOG_LEVEL=warn",
	}}
	topology := "partitions: 4\nshards:\n"
	for i := range shards {
		db := testkit.MariaDB(t)
		b.databases = append(b.databases, db)
		topology += fmt.Sprintf("  - id: s%d\n    databases: [{id: s%d-a, address: %q, role: primary}]\n", i+1, i+1, db.Address())
		if i > 0 {
			continue // all databases have the same accounts: give the others the passwords of the first
		}
		for section, account := range map[string]local.Account{
			"APPLY": local.AccountApply, "READ": local.AccountRead, "MONITOR": local.AccountMonitor, "MIGRATE": local.AccountMigrate,
		} {
			b.environ = append(b.environ, "QUIPU_ACCOUNTS_"+section+"_PASSWORD="+db.Passwords[account])
		}
	}
	for _, db := range b.databases[1:] {
		if err := local.ConfigureAccounts(t.Context(), db.MariaDB, b.databases[0].Passwords); err != nil {
			t.Fatal(err)
		}
	}
	b.expect(exitDone, "created the cluster", "cluster", "init", "--topology", writeFile(t, "topology.yaml", topology))
	return b
}

func (b *bed) run(args ...string) outcome { return quipu(b.t, b.environ, args...) }

// expect runs a command and holds its exit code and some of its text against what should come.
func (b *bed) expect(code int, text string, args ...string) outcome {
	b.t.Helper()
	got := b.run(args...)
	if got.code != code || !strings.Contains(got.out+got.errors, text) {
		b.t.Errorf("quipu %v: got %+v, want exit code %d and %q", args, got, code, text)
	}
	return got
}

func TestMigrate(t *testing.T) {
	b := newBed(t, 2)
	latest := fmt.Sprint(migrations.Latest())

	b.expect(exitFailed, "shard s2: version 0 of "+latest, "migrate", "status")
	b.expect(exitDone, "CREATE TABLE", "migrate", "up", "--dry-run")
	b.expect(exitFailed, "version 0 of", "migrate", "status")
	b.expect(exitUsage, `the topology has no shard "s9"`, "migrate", "up", "--shard", "s9")

	first := b.expect(exitDone, "shard s1 owns the partitions 0-1", "migrate", "up")
	if !strings.Contains(first.out, "shard s2 owns the partitions 2-3") || !strings.Contains(first.out, "shard s2: 0001_") {
		t.Errorf("got %q, want both shards", first.out)
	}
	b.expect(exitDone, "nothing to do", "migrate", "up", "--dry-run")
	b.expect(exitDone, "shard s1 owns the partitions 0-1", "migrate", "up")
	b.expect(exitDone, latest+"\n", "migrate", "version")
	b.expect(exitDone, "done    0001_", "migrate", "status")
	for i, want := range []int{2, 2} {
		var owned int
		if err := b.databases[i].Root().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM quipu.checkpoints WHERE owned").Scan(&owned); err != nil || owned != want {
			t.Errorf("got %d, %v owned partitions on shard s%d, want %d", owned, err, i+1, want)
		}
	}

	b.expect(exitDone, "shard s1: version "+latest+" is on record; nothing was run", "migrate", "force", latest, "--shard", "s1")
	b.expect(exitDone, "forced  version "+latest+"\n", "migrate", "status")
	b.expect(exitFailed, "destroys data; with --allow-data-loss it runs", "migrate", "goto", "0")
	b.expect(exitFailed, "destroys data; with --allow-data-loss it runs", "migrate", "down", latest)
	b.expect(exitFailed, "no such version", "migrate", "goto", "999")
	b.expect(exitDone, "", "migrate", "goto", "0", "--shard", "s2", "--allow-data-loss")
	b.expect(exitFailed, "run quipu migrate up", "migrate", "version")

	// A shard that the cluster has seen with counts must not start anew.
	b.expect(exitFailed, "it is empty, but the shard has counted before", "migrate", "up", "--shard", "s2")
}

func TestMigrateWithoutAPassword(t *testing.T) {
	got := quipu(t, nil, "migrate", "up")
	if got.code != exitFailed || !strings.Contains(got.errors, `read password of database user "quipu_migrate": neither its password_file nor the environment gives one (is --config missing?)`) {
		t.Errorf("got %+v", got)
	}
}
