package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/testkit"
)

// patience bounds what has no deadline of its own: a busy machine is no failure.
const patience = 20 * time.Second

// crossJoin runs for hours. Its marker tells it from those of other tests.
func crossJoin(marker string) string {
	return fmt.Sprintf("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) "+
		"SELECT COUNT(*), '%s' FROM n a JOIN n b JOIN n c JOIN n d WHERE a.i + b.i + c.i + d.i > 5", marker)
}

// guarded is a pool under a guard that runs.
type guarded struct {
	*guard.Guard
	db  *mysql.DB
	log *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newGuarded(t testing.TB, class time.Duration, change func(*mysql.Config)) *guarded {
	t.Helper()
	log := &lockedBuffer{}
	g := guard.New(guard.Config{
		Name: "s1~p", Deadlines: map[guard.Class]time.Duration{guard.Point: class}, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	db := pool(t, shared.Primary, local.AccountRead, func(c *mysql.Config) {
		c.Guard, c.StatementTimeout = g, time.Hour // the server's limit is out of the way
		if change != nil {
			change(c)
		}
	})
	return &guarded{Guard: g, db: db, log: log}
}

// nothing takes rows and keeps none.
type nothing struct{}

func (nothing) Columns([]mysql.Column, int64) error { return nil }
func (nothing) Row([]sql.RawBytes) error            { return nil }

func (g *guarded) run(ctx context.Context, text string) error {
	return g.db.Select(guard.WithCaller(guard.WithClass(ctx, guard.Point), "somebody"), mysql.Selection{Text: text}, nothing{})
}

// runsInServer tells whether the server still runs a statement.
func runsInServer(t testing.TB, marker string) bool {
	t.Helper()
	var n int
	err := shared.Primary.Root().QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE ?", "%'"+marker+"'%").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func awaitInServer(t testing.TB, marker string, want bool) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := runsInServer(t, marker); got != want {
			return fmt.Errorf("statement %s runs: %t, want %t", marker, got, want)
		}
		return nil
	})
}

// The watchdog ends what the server does not, and tells of it.
func TestRunawayDiesAtTheDeadlineOfItsClass(t *testing.T) {
	g := newGuarded(t, 300*time.Millisecond, nil)
	err := g.run(t.Context(), crossJoin("runaway-1"))
	if !errors.Is(err, mysql.ErrDeadline) {
		t.Fatalf("got %v, want %v", err, mysql.ErrDeadline)
	}
	awaitInServer(t, "runaway-1", false)
	if running := g.Running(); len(running) != 0 {
		t.Errorf("still listed: %+v", running)
	}
	log := g.log.String()
	for _, want := range []string{"query killed", "class=point", "caller=somebody", "reason=deadline", "digest=", "database=" + shared.Primary.Name(), "WITH RECURSIVE n AS"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	if strings.Contains(log, "rows_examined=-1") == tellsRows() || !strings.Contains(log, "rows_examined=") {
		t.Errorf("the log does not tell rows examined: %s", log)
	}
}

// The limit in the server ends it first; the guard tells of that as well, with the rows seen before.
func TestServerEndsRunawayByItself(t *testing.T) {
	g := newGuarded(t, 4*time.Second, nil) // its rows are looked at after 3
	err := g.db.Select(guard.WithClass(t.Context(), guard.Point), mysql.Selection{Text: crossJoin("runaway-2"), Timeout: 3500 * time.Millisecond}, nothing{})
	if !errors.Is(err, mysql.ErrDeadline) {
		t.Fatalf("got %v, want the server to have ended it", err)
	}
	if log := g.log.String(); !strings.Contains(log, "reason=limit") || strings.Contains(log, "rows_examined=-1") == tellsRows() {
		t.Errorf("log: %s", log)
	}
}

// A caller that goes away takes its statement along: while it computes, and while its rows are sent.
func TestCancelledCallKillsItsStatement(t *testing.T) {
	for marker, text := range map[string]string{
		"runaway-3": crossJoin("runaway-3"),
		"runaway-4": strings.Replace(crossJoin("runaway-4"), "COUNT(*)", "a.i", 1), // gives rows at once, and for hours
	} {
		t.Run(marker, func(t *testing.T) {
			g := newGuarded(t, time.Hour, nil)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- g.run(ctx, text) }()
			awaitInServer(t, marker, true)
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
			awaitInServer(t, marker, false)
			testkit.Eventually(t, patience, func() error {
				if running := g.Running(); len(running) != 0 {
					return fmt.Errorf("still listed: %+v", running)
				}
				return nil
			})
			// A server that was sending rows may see that nobody takes them before the kill comes.
			if log := g.log.String(); marker == "runaway-3" && !strings.Contains(log, "reason=cancelled") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// What runs is listed, can be killed by its id, and is counted by its digest.
func TestListKillAndDigests(t *testing.T) {
	g := newGuarded(t, time.Hour, nil)
	ended := make(chan error, 1)
	go func() { ended <- g.run(t.Context(), crossJoin("runaway-5")) }()
	awaitInServer(t, "runaway-5", true)
	running := g.Running()
	if len(running) != 1 || running[0].Class != guard.Point || running[0].Caller != "somebody" || !strings.Contains(running[0].Statement, "runaway-5") {
		t.Fatalf("got %+v", running)
	}
	number, ok := strings.CutPrefix(running[0].ID, "s1~p~")
	if !ok {
		t.Fatalf("id %s does not begin with the guard's name", running[0].ID)
	}
	if err := g.Kill(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, mysql.ErrDeadline) {
		t.Errorf("got %v, want %v", err, mysql.ErrDeadline)
	}
	awaitInServer(t, "runaway-5", false)
	if err := g.Kill(t.Context(), number); !errors.Is(err, guard.ErrUnknown) {
		t.Errorf("killing it again: got %v, want %v", err, guard.ErrUnknown)
	}
	if err := g.run(t.Context(), "SELECT 1, 'x' FROM DUAL WHERE 5 IN (1, 2, 3)"); err != nil {
		t.Fatal(err)
	}
	if err := g.run(t.Context(), "SELECT 2, 'y'  FROM DUAL WHERE 7 IN (1, 2)"); err != nil {
		t.Fatal(err)
	}
	found := map[string]guard.Digest{}
	for _, d := range g.Digests() {
		found[d.Text] = d
	}
	if d := found["SELECT ?… FROM DUAL WHERE ? IN (?…)"]; d.Count != 2 || d.Errors != 0 || d.P95Seconds <= 0 {
		t.Errorf("digests: %+v", found)
	}
	if d := found[guard.Normalise(crossJoin("any"))]; d.Count != 1 || d.Killed != 1 || d.ID != running[0].Digest {
		t.Errorf("digest of what was killed: %+v", d)
	}
}

// A kill never hits another statement, however fast connections are used again: with two connections and kills at random moments, only
// statements that are the target of a kill may fail.
func TestKillHitsNothingElse(t *testing.T) {
	g := newGuarded(t, time.Hour, func(c *mysql.Config) { c.MaxConnections = 2 })
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var statements, hit, cancels atomic.Int64
	var group sync.WaitGroup
	for range 2 { // their calls are never cancelled
		group.Go(func() {
			for ctx.Err() == nil {
				statements.Add(1)
				if err := g.run(t.Context(), "SELECT 'innocent'"); err != nil {
					t.Errorf("a statement that nobody killed failed: %v", err)
					return
				}
			}
		})
	}
	for range 2 { // these are cancelled when they are about to end
		group.Go(func() {
			for ctx.Err() == nil {
				call, cancel := context.WithTimeout(t.Context(), time.Duration(rand.N(3*time.Millisecond)))
				_ = g.run(call, "SELECT 'guilty', BENCHMARK(20000, MD5('x'))")
				cancel()
				cancels.Add(1)
			}
		})
	}
	group.Go(func() { // and these are killed by their id at any moment
		for ctx.Err() == nil {
			for _, q := range g.Running() {
				if strings.Contains(q.Statement, "guilty") && g.Kill(t.Context(), strings.TrimPrefix(q.ID, "s1~p~")) == nil {
					hit.Add(1)
				}
			}
		}
	})
	group.Wait()
	if statements.Load() < 50 || hit.Load() < 10 || cancels.Load() < 50 {
		t.Errorf("%d statements, %d kills, %d cancels: too few to show anything", statements.Load(), hit.Load(), cancels.Load())
	}
	t.Logf("%d statements, %d kills, %d cancels", statements.Load(), hit.Load(), cancels.Load())
}

// A kill that would go to another server, or to a connection that runs something else, is not made.
func TestKillVerifiesItsTarget(t *testing.T) {
	g := newGuarded(t, time.Hour, nil)
	ended := make(chan error, 1)
	go func() { ended <- g.run(t.Context(), crossJoin("runaway-6")) }()
	awaitInServer(t, "runaway-6", true)
	var server string
	if err := shared.Primary.Root().QueryRow("SELECT CONCAT_WS(' ', @@hostname, @@port, @@server_id, @@datadir)").Scan(&server); err != nil {
		t.Fatal(err)
	}
	running := g.Running()[0]
	right := guard.Target{Connection: running.Connection, Server: server, Mark: "/* q=" + strings.TrimPrefix(running.ID, "s1~p~") + " */"}
	elsewhere, another := right, right
	elsewhere.Server = strings.Replace(server, "/", "/of-another/", 1)
	another.Mark = "/* q=00000000-1 */"
	killer := mysql.KillerOf(g.db)
	if sight, err := killer.Kill(t.Context(), elsewhere); err == nil {
		t.Errorf("another server: got %+v, want an error", sight)
	}
	if sight, err := killer.Kill(t.Context(), another); err != nil || sight.Running {
		t.Errorf("another statement: got %+v, %v, want that it does not run", sight, err)
	}
	if !runsInServer(t, "runaway-6") {
		t.Fatal("a statement was killed that was not the target")
	}
	if sight, err := killer.Kill(t.Context(), right); err != nil || !sight.Running || (sight.RowsExamined < 0) == tellsRows() {
		t.Errorf("the target: got %+v, %v", sight, err)
	}
	if err := <-ended; !errors.Is(err, mysql.ErrDeadline) {
		t.Errorf("got %v, want %v", err, mysql.ErrDeadline)
	}
}

// tellsRows tells whether the server lists how many rows a statement has examined: MariaDB does.
func tellsRows() bool { return os.Getenv(testkit.MySQL8Variable) == "" }
