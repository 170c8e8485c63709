package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/backup"
	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

func folderStore(t *testing.T) (*blob.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := blob.Open(t.Context(), blob.Config{URL: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store, dir
}

// tables are what a backup looks at, and one of counts. Grants on tables that are not there yet need them first.
func tables() []string {
	return []string{
		"CREATE TABLE quipu.shard_state (id TINYINT PRIMARY KEY, cluster_id VARCHAR(64), shard_id VARCHAR(64), term BIGINT UNSIGNED)",
		"CREATE TABLE quipu.checkpoints (partition_id INT PRIMARY KEY, owned BOOL, next_offset BIGINT UNSIGNED, window_from BIGINT UNSIGNED, incarnation VARCHAR(64))",
		"CREATE TABLE quipu.schema_migrations (version INT, dirty BOOL)",
		"CREATE TABLE quipu.counts (id INT PRIMARY KEY, n INT)",
		"INSERT INTO quipu.shard_state VALUES (1, 'c-1', 's1', 3)",
		"INSERT INTO quipu.checkpoints VALUES (0, TRUE, 40, 30, 'log'), (1, TRUE, 0, 0, ''), (2, FALSE, 9, 9, 'log')",
		"INSERT INTO quipu.schema_migrations VALUES (6, FALSE)",
	}
}

func execute(t *testing.T, db *testkit.Database, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Root().ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func number(t *testing.T, db *testkit.Database, query string) (n uint64) {
	t.Helper()
	if err := db.Root().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func source(db *testkit.Database) backup.Source {
	return backup.Source{
		ClusterID: "c-1", Shard: "s1", Database: db.Name(), Address: db.Address(),
		User: string(local.AccountBackup), Password: db.Passwords[local.AccountBackup],
	}
}

// TestLostShardComesBack loses both databases of a shard, makes new ones of a backup that was taken from the replica, and goes on with them.
func TestLostShardComesBack(t *testing.T) {
	t.Parallel()
	store, objects := folderStore(t)
	dir := t.TempDir()
	shard, err := testkit.StartShard(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shard.Close(); err != nil {
			t.Error(err)
		}
	})
	execute(t, shard.Primary, tables()...)
	execute(t, shard.Primary, "INSERT INTO quipu.counts SELECT seq, seq FROM quipu.seq_1_to_20000")
	shard.AwaitReplica(t)
	made, err := backup.Create(t.Context(), backup.CreateConfig{Store: store, Source: source(shard.Replica), PartBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	d := made.Description
	want := []backup.Checkpoint{{Partition: 0, NextOffset: 40, WindowFrom: 30, Incarnation: "log"}, {Partition: 1}}
	if diff := cmp.Diff(want, d.Checkpoints); diff != "" || d.Term != 3 || d.SchemaVersion != 6 || len(d.Parts) < 2 || d.Position == "" {
		t.Errorf("got %+v\n%s", d, diff)
	}
	execute(t, shard.Primary, "INSERT INTO quipu.counts VALUES (99999, 1)", "UPDATE quipu.shard_state SET term = 4")

	databases := map[string]*testkit.Database{"primary": shard.Primary, "replica": shard.Replica}
	for name, db := range databases {
		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, name, "data")); err != nil {
			t.Fatal(err)
		}
		found, err := backup.Find(t.Context(), store, "s1", "latest")
		if err != nil {
			t.Fatal(err)
		}
		cfg := backup.RestoreConfig{Store: store, Backup: found, Into: filepath.Join(dir, name, "data"), Term: 1000}
		restored, err := backup.Restore(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&backup.Restored{Position: d.Position, Term: 1000, Checkpoints: want}, restored); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, err := backup.Restore(t.Context(), cfg); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("got %v, want that nothing is written over", err)
		}
		if err := db.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := local.Replicate(t.Context(), shard.Primary.MariaDB, shard.Replica.MariaDB, shard.Replica.Passwords[local.AccountReplicate]); err != nil {
		t.Fatal(err)
	}
	execute(t, shard.Primary, "INSERT INTO quipu.counts VALUES (88888, 1)")
	shard.AwaitReplica(t)
	for name, db := range databases {
		if rows, lost, term := number(t, db, "SELECT COUNT(*) FROM quipu.counts"), number(t, db, "SELECT COUNT(*) FROM quipu.counts WHERE id = 99999"),
			number(t, db, "SELECT term FROM quipu.shard_state"); rows != 20001 || lost != 0 || term != 1000 {
			t.Errorf("%s: got %d rows, %d of them from after the backup, term %d", name, rows, lost, term)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*.unfinished")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	damaged(t, store, objects, made, dir)
	pruned(t, store, shard.Primary, made)
}

// damaged changes one byte of a part.
func damaged(t *testing.T, store *blob.Store, objects string, made *backup.Stored, dir string) {
	t.Helper()
	if err := backup.Verify(t.Context(), store, made); err != nil {
		t.Errorf("got %v of a whole backup", err)
	}
	file := filepath.Join(objects, filepath.FromSlash(made.Description.Parts[1].Name))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), whole...)
	changed[len(changed)/2] ^= 1
	for _, bytes := range [][]byte{changed, whole[:len(whole)-1]} {
		if err := os.WriteFile(file, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := backup.Verify(t.Context(), store, made); err == nil {
			t.Error("a damaged backup is taken for a whole one")
		}
		into := filepath.Join(dir, "damaged")
		if _, err := backup.Restore(t.Context(), backup.RestoreConfig{Store: store, Backup: made, Into: into, Term: 1000}); err == nil {
			t.Error("a damaged backup was restored")
		}
		if left, _ := filepath.Glob(into + "*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pruned makes backups that end and backups that don't, and keeps one.
func pruned(t *testing.T, store *blob.Store, db *testkit.Database, first *backup.Stored) {
	t.Helper()
	ctx := t.Context()
	cfg := backup.CreateConfig{Store: store, Source: source(db)}
	second, err := backup.Create(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source.Shard = "s2"
	if _, err := backup.Create(ctx, cfg); !errors.Is(err, backup.ErrOther) {
		t.Errorf("got %v, want that another shard's database is refused", err)
	}
	cfg.Source.Shard = "s1"
	cfg.Store = undescribed{store}
	if _, err := backup.Create(ctx, cfg); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	if _, err := store.Upload(ctx, "backup/shard=s1/20990101T000000Z-00000000/part-0001.xb.zst", func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		stored, err := backup.List(ctx, store, "s1")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stored {
			all = append(all, fmt.Sprint(s.Name, " ", s.Description != nil))
		}
		return all
	}
	if diff := cmp.Diff([]string{first.Name + " true", second.Name + " true", "20990101T000000Z-00000000 false"}, names()); diff != "" {
		t.Errorf("backups (-want +got):\n%s", diff)
	}
	if latest, err := backup.Find(ctx, store, "s1", "latest"); err != nil || latest.Name != second.Name {
		t.Errorf("got %+v, %v", latest, err)
	}
	if _, err := backup.Find(ctx, store, "s1", "20990101T000000Z-00000000"); !errors.Is(err, backup.ErrNone) {
		t.Errorf("got %v, want that an incomplete one is none", err)
	}
	deleted, err := backup.Prune(ctx, store, "s1", 1, time.Now())
	if diff := cmp.Diff([]string{first.Name}, deleted); diff != "" || err != nil {
		t.Errorf("deleted (-want +got): %v\n%s", err, diff)
	}
	deleted, err = backup.Prune(ctx, store, "s1", 1, time.Now().Add(25*time.Hour))
	if diff := cmp.Diff([]string{"20990101T000000Z-00000000"}, deleted); diff != "" || err != nil {
		t.Errorf("deleted a day later (-want +got): %v\n%s", err, diff)
	}
}

var errFull = errors.New("no space")

// undescribed is a store that takes no descriptions.
type undescribed struct{ *blob.Store }

func (u undescribed) Upload(ctx context.Context, name string, write func(io.Writer) error) (blob.Info, error) {
	if strings.HasSuffix(name, ".json") {
		return blob.Info{}, errFull
	}
	return u.Store.Upload(ctx, name, write)
}

// TestBackupInS3 makes a backup of many parts in a bucket, and a data folder of it.
func TestBackupInS3(t *testing.T) {
	t.Parallel()
	server, db := testkit.S3(t), testkit.MariaDB(t)
	access, secret := server.Credentials()
	store, err := blob.Open(t.Context(), blob.Config{URL: server.URL(), AccessKey: access, SecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	execute(t, db, tables()...)
	execute(t, db, "INSERT INTO quipu.counts SELECT seq, seq FROM quipu.seq_1_to_5000")
	made, err := backup.Create(t.Context(), backup.CreateConfig{Store: store, Source: source(db), PartBytes: 100 << 10})
	if err != nil {
		t.Fatal(err)
	}
	found, err := backup.Find(t.Context(), store, "s1", made.Name)
	if err != nil || len(found.Description.Parts) < 5 || len(found.Objects) != len(found.Description.Parts)+1 {
		t.Fatalf("got %+v, %v", found, err)
	}
	if err := backup.Verify(t.Context(), store, found); err != nil {
		t.Error(err)
	}
	restored, err := backup.Restore(t.Context(), backup.RestoreConfig{Store: store, Backup: found, Into: filepath.Join(t.TempDir(), "data"), Term: 4})
	if err != nil || restored.Position != found.Description.Position {
		t.Errorf("got %+v, %v", restored, err)
	}
	if _, err := backup.Restore(t.Context(), backup.RestoreConfig{Store: store, Backup: found, Into: filepath.Join(t.TempDir(), "data"), Term: 3}); err == nil {
		t.Error("the term of the backup itself is accepted")
	}
	deleted, err := backup.Prune(t.Context(), store, "s1", 0, time.Now())
	if diff := cmp.Diff([]string{made.Name}, deleted); diff != "" || err != nil {
		t.Errorf("deleted (-want +got): %v\n%s", err, diff)
	}
	for object, err := range store.List(t.Context(), "backup/") {
		t.Errorf("left: %+v, %v", object, err)
	}
}

func TestReach(t *testing.T) {
	hold := &wire.LogHold{Incarnation: "log", Partitions: []wire.LogHeldPartition{{First: 10, Next: 20}, {Partition: 1, First: 1, Next: 1}}}
	for name, test := range map[string]struct {
		checkpoint backup.Checkpoint
		reaches    bool
	}{
		"all there":        {backup.Checkpoint{NextOffset: 20, WindowFrom: 10, Incarnation: "log"}, true},
		"window is gone":   {backup.Checkpoint{NextOffset: 20, WindowFrom: 9, Incarnation: "log"}, false},
		"counts are gone":  {backup.Checkpoint{NextOffset: 5, WindowFrom: 5, Incarnation: "log"}, false},
		"another log":      {backup.Checkpoint{NextOffset: 15, WindowFrom: 12, Incarnation: "other"}, false},
		"beyond the end":   {backup.Checkpoint{NextOffset: 21, WindowFrom: 12, Incarnation: "log"}, false},
		"never counted":    {backup.Checkpoint{Partition: 1}, true},
		"nothing counted":  {backup.Checkpoint{}, false},
		"no such lane":     {backup.Checkpoint{Partition: 2}, false},
		"window at counts": {backup.Checkpoint{NextOffset: 12, WindowFrom: 12, Incarnation: "log"}, true},
	} {
		if got := backup.Reach([]backup.Checkpoint{test.checkpoint}, hold); (len(got) == 0) != test.reaches {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
