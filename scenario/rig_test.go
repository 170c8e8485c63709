// Package scenario_test tests Quipu from outside: real processes of the real program, real databases, real ZooKeeper, and
// counts that are compared with what was acknowledged, to the unit.
//
// Every run draws its randomness from a seed that it prints; QUIPU_TEST_SEED repeats one. `go test -tags soak` kills each
// process twenty times instead of once.
package scenario_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

const (
	startPatience = 2 * time.Minute // a busy machine is no failure
	patience      = 3 * time.Minute
	logTail       = 5000
	logWarnings   = 12
	logWidth      = 400
)

// seedVariable names the environment variable that repeats a run.
const seedVariable = "QUIPU_TEST_SEED"

// drawSeed is the seed of a test, told so that the run can be repeated.
func drawSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("repeat with %s=%d", seedVariable, seed)
	return seed
}

// The event types of the scenarios: one with values, one whose weights may be negative.
func eventTypes() []event.Type {
	return []event.Type{
		{Name: "view", Unit: "ms", AcceptLate: 7 * 24 * time.Hour},
		{Name: "like", Unit: "points", AcceptLate: 7 * 24 * time.Hour, AllowNegative: true},
	}
}

// rig is a whole cluster, and what it reports.
type rig struct {
	*local.Cluster
	dir string

	mu       sync.Mutex
	progress []string
}

// newRig starts a cluster that ends with the test.
func newRig(t *testing.T, change func(*local.ClusterConfig)) *rig {
	t.Helper()
	r := &rig{}
	r.begin(t, change)
	return r
}

// begin starts the cluster of a rig.
func (r *rig) begin(t *testing.T, change func(*local.ClusterConfig)) {
	t.Helper()
	r.dir = filepath.Join(t.TempDir(), "data")
	config := local.ClusterConfig{
		Dir: r.dir, Program: testkit.Binary(t), Version: "test", PortBase: local.AnyPorts, EventTypes: eventTypes(),
		BufferPoolBytes: 64 << 20, Settings: []string{"writer.flush_interval=200ms", "failover.automatic=false"}, DieWithParent: true, Progress: r.note,
	}
	if change != nil {
		change(&config)
	}
	r.Cluster = local.NewCluster(config)
	t.Cleanup(func() { r.finish(t) })
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, time.Now().Format("15:04:05.000 ")+line)
}

// finish ends the cluster; after a failure it shows what the processes had to say.
func (r *rig) finish(t *testing.T) {
	if err := r.Kill(); err != nil {
		t.Errorf("kill cluster: %v", err)
	}
	if !t.Failed() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("the cluster reported:\n%s", strings.Join(r.progress, "\n"))
	logs, _ := filepath.Glob(filepath.Join(r.dir, "logs", "*.log"))
	for _, log := range logs {
		t.Logf("%s:\n%s", filepath.Base(log), worthTelling(local.LogTail(log, logTail)))
	}
}

// worthTelling is the last few warnings of a log, and its end: whoever reads of a failure wants to find it between the logs.
func worthTelling(log string) string {
	lines := strings.Split(log, "\n")
	end := lines[max(0, len(lines)-3):]
	warnings := slices.DeleteFunc(lines[:len(lines)-len(end)], func(line string) bool { return strings.Contains(line, `"level":"INFO"`) })
	told := append(slices.Clone(warnings[max(0, len(warnings)-logWarnings):]), end...)
	for i, line := range told {
		told[i] = line[:min(len(line), logWidth)]
	}
	return strings.Join(told, "\n")
}

// supervise keeps the cluster running until the test ends.
func (r *rig) supervise(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Supervise(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("supervise: %v", err)
		}
	})
}

// restarts tells how often a process was started again.
func (r *rig) restarts(name string) int {
	p, _ := r.Description().Process(name)
	return p.Restarts
}

// url is where a role serves.
func (r *rig) url(name string) string { return r.Description().URLs[name] }

// open connects to a database as an account, until the test ends.
func open(t *testing.T, d local.Description, id string, account local.Account, schema string) *sql.DB {
	t.Helper()
	for _, server := range d.Databases {
		if server.ID != id {
			continue
		}
		password, err := os.ReadFile(filepath.Join(d.DataDir, "secrets", string(account)))
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s?parseTime=true", account, strings.TrimSpace(string(password)), server.Address, schema))
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(2)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	t.Fatalf("no database %s", id)
	return nil
}

// openPrimaries connects to every database that is written to, for reading.
func openPrimaries(t *testing.T, d local.Description) []*sql.DB {
	t.Helper()
	var pools []*sql.DB
	for _, server := range d.Databases {
		if server.Role == "primary" {
			pools = append(pools, open(t, d, server.ID, local.AccountRead, local.SchemaCounts))
		}
	}
	return pools
}
