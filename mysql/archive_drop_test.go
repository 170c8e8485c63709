package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// dropAll drops until there is no more and returns how many time partitions and rows that were.
func (b *bench) dropAll(t testing.TB, l mysql.Leader, resolution string) (dropped mysql.ArchiveDropped) {
	t.Helper()
	for {
		d, err := b.primary.DropArchived(t.Context(), l, resolution)
		if err != nil {
			t.Fatal(err)
		}
		dropped.Partitions, dropped.Rows = dropped.Partitions+d.Partitions, dropped.Rows+d.Rows
		if !d.Again {
			return dropped
		}
	}
}

// What is cold is dropped by whole time partitions; Apply goes on at every age.
func TestDropCold(t *testing.T) {
	b, l := archiveBench(t)
	if got := b.dropAll(t, l, "minute"); got.Partitions != 0 {
		t.Errorf("dropped %+v, but nothing is cold", got)
	}
	b.turnCold(t, l, "minute", dayAt(-1))
	in := func(where string) int { return b.count(t, "SELECT COUNT(*) FROM quipu.minute_counts WHERE "+where) }
	young := in("start >= '2025-11-19'")
	if got := b.dropAll(t, l, "minute"); got.Partitions == 0 {
		t.Errorf("dropped %+v, want some", got)
	}
	for _, p := range b.archiveState(t).Tables {
		if p.Resolution == "minute" && p.To <= dayAt(-1) {
			t.Errorf("%+v is still there", p)
		}
	}
	if got := in("start >= '2025-11-19'"); got != young || young == 0 {
		t.Errorf("got %d rows that are not cold, want %d", got, young)
	}
	if got := b.dropAll(t, l, "minute"); got.Partitions != 0 {
		t.Errorf("dropped %+v again", got)
	}
	b.apply(t, request(b.claim(t, 3), 2, 3, counted("k0", 0, 1), counted("k0", dayAt(-2), 1), counted("k0", dayAt(-1), 1), counted("k0", dayAt(200), 1)))
	if _, err := b.primary.MakeTimePartitions(t.Context()); err != nil {
		t.Error(err)
	}
}

// The newest time partition stays, even when all its rows are cold.
func TestDropKeepsTheNewest(t *testing.T) {
	b, l := archiveBench(t)
	b.exec(t, "ALTER TABLE quipu.minute_counts DROP PARTITION "+strings.Join(b.rows(t, `SELECT partition_name FROM information_schema.partitions
WHERE table_schema = 'quipu' AND table_name = 'minute_counts' AND partition_description > '\'2025-11-20 00:00:00\''`), ", "))
	b.turnCold(t, l, "minute", dayAt(0))
	b.dropAll(t, l, "minute")
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.minute_counts"); n != 16 {
		t.Errorf("got %d rows, want the last day's", n)
	}
	if _, err := b.primary.MakeTimePartitions(t.Context()); err != nil {
		t.Error(err)
	}
	if got := b.dropAll(t, l, "minute"); got.Partitions != 1 {
		t.Errorf("dropped %+v, want the last, for others follow it now", got)
	}
}

// INV-5: a snapshot that began before the drop keeps its rows until it ends, on the primary and on the replica, and the drop waits.
func TestDropWaitsForReaders(t *testing.T) {
	b, l := archiveBench(t)
	b.turnCold(t, l, "minute", dayAt(-1))
	shared.AwaitReplica(t)
	const query = "SELECT COALESCE(SUM(event_count), 0) FROM minute_counts WHERE start < '2025-11-19'"
	want := b.count(t, "SELECT SUM(event_count) FROM quipu.minute_counts WHERE start < '2025-11-19'")
	type reader struct {
		read func() int
		end  func()
	}
	begin := func(db *testkit.Database) reader {
		conn, err := db.Open(t, local.AccountRead).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		exec := func(statement string) {
			t.Helper()
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Error(err)
			}
		}
		exec(testkit.Speak("SET SESSION tx_isolation = 'REPEATABLE-READ'"))
		exec("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
		exec("SELECT 1 FROM minute_counts WHERE FALSE") // the first statement names all its tables
		read := func() (n int) {
			if err := conn.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		return reader{read, func() { exec("COMMIT") }}
	}
	onPrimary, onReplica := begin(shared.Primary), begin(shared.Replica)
	done := make(chan error, 1)
	go func() {
		for { // its patience may end before the reader does
			dropped, err := b.primary.DropArchived(t.Context(), l, "minute")
			if !dropped.Again && !errors.Is(err, mysql.ErrUnavailable) {
				done <- err
				return
			}
		}
	}()
	waiting := func(db *testkit.Database) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			var n int
			err := db.Root().QueryRow("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'").Scan(&n)
			if err == nil && n == 0 {
				err = errors.New("nobody waits for the reader")
			}
			return err
		})
	}
	waiting(shared.Primary)
	if got := onPrimary.read(); got != want {
		t.Errorf("the primary's reader has %d, want %d", got, want)
	}
	onPrimary.end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	waiting(shared.Replica)
	if got := onReplica.read(); got != want {
		t.Errorf("the replica's reader has %d, want %d", got, want)
	}
	onReplica.end()
	shared.AwaitReplica(t)
	for _, db := range []*testkit.Database{shared.Primary, shared.Replica} {
		var left int
		if err := db.Root().QueryRow("SELECT COUNT(*) FROM quipu.minute_counts WHERE start < '2025-11-19'").Scan(&left); err != nil || left != 0 {
			t.Errorf("%s: %d rows are left, %v", db.Name(), left, err)
		}
	}
}

// In a replica whose own mark does not reach the range yet nothing is exported.
func TestExportFromALaggingReplica(t *testing.T) {
	b, l := archiveBench(t)
	shared.AwaitReplica(t)
	replica := pool(t, shared.Replica, local.AccountRead, nil)
	stop := func(statement string) {
		t.Helper()
		if _, err := shared.Replica.Root().Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	stop(testkit.Speak("STOP SLAVE SQL_THREAD"))
	b.freezeAs(t, l, "minute", dayAt(-1))
	ask := mysql.ArchiveRowsRequest{Resolution: "minute", From: 0, To: dayAt(-1), Rows: 5}
	_, err := replica.ArchiveRows(t.Context(), &ask)
	stop(testkit.Speak("START SLAVE SQL_THREAD"))
	if !errors.Is(err, mysql.ErrNotFrozen) {
		t.Errorf("got %v, want %v", err, mysql.ErrNotFrozen)
	}
	shared.AwaitReplica(t)
	if here, there := b.export(t, b.read, ask), b.export(t, replica, ask); fmt.Sprint(here) != fmt.Sprint(there) || len(here) != 32 {
		t.Errorf("got %d rows from the primary, %d from the replica, want the same 32", len(here), len(there))
	}
}
