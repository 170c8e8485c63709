package migrations_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/testkit"
)

// servers are shared by the tests of this package, which empty them first.
var servers [2]*testkit.Database

func TestMain(m *testing.M) {
	os.Exit(testkit.Main(m, func(ctx context.Context, dir string) (func() error, error) {
		closeAll := func() (err error) {
			for _, s := range servers {
				if s != nil {
					err = errors.Join(err, s.Close())
				}
			}
			return err
		}
		for i := range servers {
			var err error
			if servers[i], err = testkit.StartMariaDB(ctx, filepath.Join(dir, fmt.Sprint(i))); err != nil {
				return nil, errors.Join(err, closeAll())
			}
		}
		return closeAll, nil
	}))
}

func fresh(t *testing.T) []migrations.Shard {
	t.Helper()
	var shards []migrations.Shard
	for i, s := range servers {
		testkit.FreshDatabase(t, s)
		shards = append(shards, migrations.Shard{ID: fmt.Sprintf("s%d", i+1), DSN: s.DSN(local.AccountMigrate)})
	}
	return shards
}

func runner(t *testing.T, cfg migrations.Config) *migrations.Runner {
	t.Helper()
	r, err := migrations.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tables(t *testing.T, s *testkit.Database) string {
	t.Helper()
	var names sql.NullString
	err := s.Root().QueryRow(`SELECT GROUP_CONCAT(CONCAT(table_schema, '.', table_name) ORDER BY 1) FROM information_schema.tables
		WHERE table_schema IN ('quipu', 'analytics')`).Scan(&names)
	if err != nil {
		t.Fatal(err)
	}
	return names.String
}

// files are a small schema: 1 and 2 are sound, and 2's way down destroys data.
func files(more map[string]string) fstest.MapFS {
	all := map[string]string{
		"0001_a.up.sql":   "CREATE TABLE a (id INT PRIMARY KEY); INSERT INTO a VALUES (1);",
		"0001_a.down.sql": "DROP TABLE a;",
		"0002_b.up.sql":   "CREATE TABLE b (id INT PRIMARY KEY);",
		"0002_b.down.sql": "-- destroys data\n\nDROP TABLE b;",
	}
	maps.Copy(all, more)
	fsys := fstest.MapFS{}
	for name, text := range all {
		fsys["sql/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestUpThenDownLeavesNothing(t *testing.T) {
	shards := fresh(t)
	r := runner(t, migrations.Config{Shards: shards, AllowDataLoss: true})
	for range 2 { // the second Up changes nothing
		if err := r.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	version, err := r.Version(t.Context())
	if err != nil || version != migrations.Latest() {
		t.Fatalf("got version %d, %v; want %d", version, err, migrations.Latest())
	}
	if err := migrations.Known(version, false); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"quipu.minute_counts", "quipu.archive_manifest", "analytics.freshness", "analytics.counts_per_day"} {
		if got := tables(t, servers[1]); !strings.Contains(got, want) {
			t.Errorf("no %s among %s", want, got)
		}
	}
	if err := r.Goto(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if got, want := tables(t, s), "quipu.migration_history,quipu.schema_migrations"; got != want {
			t.Errorf("after going down: got tables %s, want %s", got, want)
		}
	}
	if err := r.Up(t.Context()); err != nil {
		t.Errorf("up again: %v", err)
	}
}

func TestEveryStepGoesDownAndUpAgain(t *testing.T) {
	shards := fresh(t)[:1]
	r := runner(t, migrations.Config{Shards: shards, AllowDataLoss: true})
	for v := uint(1); v <= migrations.Latest(); v++ {
		if err := r.Goto(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		before := tables(t, servers[0])
		if err := r.Down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Version(t.Context()); err != nil || got != v-1 {
			t.Errorf("got version %d, %v after going down from %d", got, err, v)
		}
		if err := r.Goto(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, tables(t, servers[0])); diff != "" {
			t.Errorf("tables after down and up of version %d (-before +after):\n%s", v, diff)
		}
	}
}

func TestPlanAndStatusWriteNothing(t *testing.T) {
	shards := fresh(t)
	r := runner(t, migrations.Config{Shards: shards, Files: files(nil)})
	steps, err := r.PlanUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range steps {
		got = append(got, fmt.Sprintf("%s %s %d", s.Shard, s.File, len(s.Statements)))
	}
	want := []string{"s1 0001_a.up.sql 2", "s1 0002_b.up.sql 1", "s2 0001_a.up.sql 2", "s2 0002_b.up.sql 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	for _, s := range r.Status(t.Context()) {
		if s.Err != nil || s.Version != 0 || s.Dirty != nil || s.History != nil {
			t.Errorf("status of an empty shard: %+v", s)
		}
	}
	if got := tables(t, servers[0]); got != "" {
		t.Errorf("got tables %s, want none", got)
	}
}

func TestOneShardFirstThenTheRest(t *testing.T) {
	shards := fresh(t)
	var mu sync.Mutex
	var order []string
	r := runner(t, migrations.Config{Shards: shards, Files: files(nil), Progress: func(p migrations.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Done {
			order = append(order, p.Shard+" "+p.File)
		}
	}})
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"s1 0001_a.up.sql", "s1 0002_b.up.sql", "s2 0001_a.up.sql", "s2 0002_b.up.sql"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestFailureNamesTheStatementAndStopsTheOthers(t *testing.T) {
	shards := fresh(t)
	broken := files(map[string]string{
		"0003_c.up.sql":   "CREATE TABLE c (id INT PRIMARY KEY); ALTER TABLE nowhere ADD COLUMN x INT; CREATE TABLE d (id INT PRIMARY KEY);",
		"0003_c.down.sql": "DROP TABLE c;",
	})
	r := runner(t, migrations.Config{Shards: shards, Files: broken})
	check := func(err error) {
		t.Helper()
		var dirty *migrations.DirtyError
		if !errors.As(err, &dirty) {
			t.Fatalf("got %v, want a DirtyError", err)
		}
		got := []any{dirty.Shard, dirty.Version, dirty.File, dirty.Statement, dirty.Text, dirty.Before, dirty.After}
		want := []any{"s1", uint(3), "0003_c.up.sql", 2, "ALTER TABLE nowhere ADD COLUMN x INT", uint(2), uint(3)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dirty error (-want +got):\n%s", diff)
		}
		for _, words := range []string{"quipu migrate force --shard s1 2", "nowhere' doesn't exist"} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("error %q lacks %q", err, words)
			}
		}
	}
	check(r.Up(t.Context()))
	if got := tables(t, servers[1]); got != "" {
		t.Errorf("the second shard was started: %s", got)
	}
	check(r.Up(t.Context())) // nothing runs on top of it, and the reason is still known
	status := r.Status(t.Context())[0]
	if status.Dirty == nil || status.Dirty.Statement != 2 || status.History[0].State != "failed" {
		t.Errorf("status after a failure: %+v", status)
	}

	repaired := runner(t, migrations.Config{Shards: shards[:1], Files: broken})
	if _, err := servers[0].Root().Exec("DROP TABLE quipu.c"); err != nil {
		t.Fatal(err)
	}
	if err := repaired.Force(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if got, err := repaired.Version(t.Context()); err != nil || got != 2 {
		t.Errorf("got version %d, %v after force, want 2", got, err)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	shards := fresh(t)[:1]
	newer := files(map[string]string{"0003_c.up.sql": "CREATE TABLE c (id INT PRIMARY KEY);", "0003_c.down.sql": "DROP TABLE c;"})
	if err := runner(t, migrations.Config{Shards: shards, Files: newer}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	older := runner(t, migrations.Config{Shards: shards, Files: files(nil), AllowDataLoss: true})
	for name, err := range map[string]error{
		"up": older.Up(t.Context()), "down": older.Down(t.Context(), 1), "goto": older.Goto(t.Context(), 1),
	} {
		var unknown *migrations.VersionError
		if !errors.As(err, &unknown) || unknown.Version != 3 {
			t.Errorf("%s: got %v, want a VersionError for version 3", name, err)
		}
	}
	if err := older.Goto(t.Context(), 3); !errors.Is(err, migrations.ErrUnknown) {
		t.Errorf("goto 3: got %v, want %v", err, migrations.ErrUnknown)
	}
}

func TestDataIsNotDestroyedUnasked(t *testing.T) {
	shards := fresh(t)[:1]
	r := runner(t, migrations.Config{Shards: shards, Files: files(nil)})
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(t.Context(), 1); !errors.Is(err, migrations.ErrDataLoss) {
		t.Errorf("got %v, want %v", err, migrations.ErrDataLoss)
	}
	if got, err := r.Version(t.Context()); err != nil || got != 2 {
		t.Errorf("got version %d, %v, want 2", got, err)
	}
}

// Going back behind the archive would forget what left the tables. The refusal leaves the schema clean, as often as it is asked.
func TestArchiveInUseRefusesToGoBack(t *testing.T) {
	shards := fresh(t)[:1]
	r := runner(t, migrations.Config{Shards: shards, AllowDataLoss: true})
	if err := r.Goto(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := servers[0].Root().Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	why := "going_back_would_forget_what_is_archived" // or, as MySQL tells the last of the constraints that refuse, not the first:
	if os.Getenv(testkit.MySQL8Variable) != "" {
		why = "archive_marks_resolution"
	}
	refused := func() {
		t.Helper()
		before := tables(t, servers[0])
		for range 2 {
			err := r.Goto(t.Context(), 5)
			if !errors.Is(err, migrations.ErrRefused) || !strings.Contains(err.Error(), why) {
				t.Errorf("got %v, want %v and %s", err, migrations.ErrRefused, why)
			}
		}
		if version, err := r.Version(t.Context()); err != nil || version != 6 {
			t.Errorf("got version %d, %v, want 6, clean", version, err)
		}
		if diff := cmp.Diff(before, tables(t, servers[0])); diff != "" {
			t.Errorf("tables (-before +after):\n%s", diff)
		}
	}
	exec("UPDATE quipu.archive_marks SET frozen_before = '2025-11-20' WHERE resolution = 'minute'")
	refused()
	exec("UPDATE quipu.archive_marks SET frozen_before = '1970-01-01'")
	exec("INSERT INTO quipu.checkpoints (partition_id) VALUES (1)")
	exec(`INSERT INTO quipu.archive_manifest (partition_id, resolution, range_start, range_end, object, byte_size, checksum, row_count, event_count_sum, value_count_sum, value_sum_sum, state, changed_at)
VALUES (1, 'minute', '2025-11-20', '2025-11-21', 'o', 1, 'x', 1, 1, 0, 0, 'stored', '2025-11-30')`)
	refused()
	exec("DELETE FROM quipu.archive_manifest")
	if err := r.Goto(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	if err := r.Up(t.Context()); err != nil {
		t.Errorf("up again: %v", err)
	}
}

func TestConcurrentRunsExcludeEachOther(t *testing.T) {
	shards := fresh(t)[:1]
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := runner(t, migrations.Config{Shards: shards, Files: files(nil), Progress: func(migrations.Progress) {
		once.Do(func() { close(inside); <-release })
	}})
	finished := make(chan error, 1)
	go func() { finished <- slow.Up(context.Background()) }()
	<-inside
	other := runner(t, migrations.Config{Shards: shards, Files: files(nil)})
	if err := other.Up(t.Context()); !errors.Is(err, migrations.ErrLocked) {
		t.Errorf("got %v, want %v", err, migrations.ErrLocked)
	}
	if status := other.Status(t.Context())[0]; !status.Running || status.Dirty != nil {
		t.Errorf("status during a run: %+v", status)
	}
	close(release)
	if err := <-finished; err != nil {
		t.Error(err)
	}
	if err := other.Up(t.Context()); err != nil {
		t.Errorf("after the other run: %v", err)
	}
}

func TestInterruptedRunStopsBetweenFiles(t *testing.T) {
	shards := fresh(t)[:1]
	ctx, cancel := context.WithCancel(t.Context())
	r := runner(t, migrations.Config{Shards: shards, Files: files(nil), Progress: func(migrations.Progress) { cancel() }})
	if err := r.Up(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got, err := r.Version(t.Context()); err != nil || got != 1 {
		t.Errorf("got version %d, %v, want 1, clean", got, err)
	}
}

// A run that is killed leaves a dirty version and a history row that says how far it came.
func TestKilledRunIsReported(t *testing.T) {
	shards := fresh(t)[:1]
	slow := files(map[string]string{"0003_c.up.sql": "CREATE TABLE c (id INT PRIMARY KEY); DO SLEEP(60);", "0003_c.down.sql": "DROP TABLE c;"})
	r := runner(t, migrations.Config{Shards: shards, Files: slow})
	finished := make(chan error, 1)
	go func() { finished <- r.Up(context.Background()) }()
	testkit.Eventually(t, 30*time.Second, func() error {
		var id int
		if err := servers[0].Root().QueryRow("SELECT id FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'").Scan(&id); err != nil {
			return err
		}
		_, err := servers[0].Root().Exec(fmt.Sprintf("KILL CONNECTION %d", id))
		return err
	})
	if err := <-finished; err == nil {
		t.Fatal("the run succeeded")
	}
	var dirty *migrations.DirtyError
	if err := r.Up(t.Context()); !errors.As(err, &dirty) {
		t.Fatalf("got %v, want a DirtyError", err)
	}
	if dirty.Statement != 2 || dirty.Text != "DO SLEEP(60)" || dirty.File != "0003_c.up.sql" {
		t.Errorf("got %+v", dirty)
	}
}

func TestClusterLockIsTakenAndReleased(t *testing.T) {
	var calls []string
	refused := errors.New("somebody else has it")
	lock := func(context.Context) (func(), error) {
		calls = append(calls, "lock")
		if len(calls) > 2 {
			return nil, refused
		}
		return func() { calls = append(calls, "unlock") }, nil
	}
	r := runner(t, migrations.Config{Shards: fresh(t)[:1], Files: files(nil), Lock: lock})
	if err := r.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Down(t.Context(), 1); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	if diff := cmp.Diff([]string{"lock", "unlock", "lock"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestKnown(t *testing.T) {
	for _, test := range []struct {
		version uint
		dirty   bool
		want    string
	}{
		{migrations.Latest(), false, ""},
		{migrations.Oldest, false, ""},
		{migrations.Latest(), true, "half done"},
		{migrations.Latest() + 1, false, "newer than"},
		{migrations.Oldest - 1, false, "older than"},
		{0, false, "no schema"},
	} {
		err := migrations.Known(test.version, test.dirty)
		if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("version %d, dirty %t: got %v, want an error with %q", test.version, test.dirty, err, test.want)
		}
	}
}
