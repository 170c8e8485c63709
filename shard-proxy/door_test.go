package shardproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	shardproxy "github.com/quipudb/quipu/shard-proxy"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// crossJoin runs for hours. Its marker tells it from those of other tests.
func crossJoin(marker string) string {
	return fmt.Sprintf("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) "+
		"SELECT COUNT(*), '%s' FROM n a JOIN n b JOIN n c JOIN n d WHERE a.i + b.i + c.i + d.i > 5", marker)
}

// rowsForHours gives rows at once, and for hours: each costs the server something, so that no machine is through with what may be asked for soon.
func rowsForHours(marker string) string {
	return strings.Replace(crossJoin(marker), "COUNT(*)", "MD5(REPEAT(a.i, 20000))", 1)
}

// withDoor lets people in.
func withDoor(change func(*shardproxy.Config)) func(*shardproxy.Config) {
	return func(c *shardproxy.Config) {
		c.ID, c.Analyst = "proxy-1", account(shared, local.AccountAnalyst)
		if change != nil {
			change(c)
		}
	}
}

// askSQL runs a statement and reads all of its answer.
func (r *rig) askSQL(ctx context.Context, request wire.SQLRequest) (columns []wire.SQLColumn, rows []string, end *wire.SQLEnd, err error) {
	if request.MaxRows == 0 {
		request.MaxRows = 1000
	}
	if request.MaxBytes == 0 {
		request.MaxBytes = 1 << 20
	}
	body, header, err := r.client.Stream(ctx, http.MethodPost, r.url+wire.PathSQL, request)
	if err != nil {
		return nil, nil, nil, err
	}
	defer body.Close()
	if got := header.Get("Content-Type"); got != wire.SQLType {
		return nil, nil, nil, fmt.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var record wire.SQLRecord
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", lines.Bytes(), err)
		}
		switch {
		case record.Columns != nil:
			columns = record.Columns
		case record.Row != nil:
			rows = append(rows, string(bytes.TrimSuffix(bytes.TrimPrefix(lines.Bytes(), []byte(`{"row":`)), []byte("}"))))
		case record.Error != nil:
			return columns, rows, nil, record.Error
		default:
			end = record.End
		}
	}
	return columns, rows, end, lines.Err()
}

func inServer(t testing.TB, db *testkit.Database, marker string) bool {
	t.Helper()
	var n int
	err := db.Root().QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE ?", "%'"+marker+"'%").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func awaitInServer(t testing.TB, db *testkit.Database, marker string, want bool) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := inServer(t, db, marker); got != want {
			return fmt.Errorf("statement %s runs: %t, want %t", marker, got, want)
		}
		return nil
	})
}

// INV-8: people get rows of the views, from a replica, with what they are as of.
func TestSQLOfPeople(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	r.mustApply(request(r.claim(1), 1, 2, counted(keyOf(1, 0), 41), counted(keyOf(1, 1), 1)))
	for p := range 4 {
		if p != 1 {
			beat := request(r.claim(p), 1, 1)
			beat.Partition = p
			r.mustApply(beat)
		}
	}
	r.servers.AwaitReplica(t)
	columns, rows, end, err := r.askSQL(t.Context(), wire.SQLRequest{
		SQL:    "SELECT counted_key, event_count, event_count / 4, start, NULL, x'00ff', 'a\\n\"b' FROM counts_per_minute WHERE event_count > ? AND event_type = ?",
		Params: []any{1, "view"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf(`["%s",41,10.2500,"%s",null,"0x00ff","a\n\"b"]`, keyOf(1, 0), created.Truncate(time.Minute).Format(time.DateTime))}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(columns) != 7 || columns[0] != (wire.SQLColumn{Name: "counted_key", Type: "VARCHAR"}) || columns[1].Type != "DECIMAL" || columns[2].Name != "event_count / 4" || columns[3].Type != "DATETIME" {
		t.Errorf("columns %+v", columns)
	}
	if end == nil || end.Rows != 1 || end.Truncated != "" || len(end.Sources) != 1 {
		t.Fatalf("end %+v", end)
	}
	source := end.Sources[0]
	if age := time.Since(time.UnixMilli(source.AsOf)); source.Database != "s1-b" || source.Role != "replica" || age < 0 || age > time.Minute {
		t.Errorf("source %+v", source)
	}
}

func TestSQLThatIsRefused(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	for text, want := range map[string]struct {
		code   wire.Code
		detail string
	}{
		"SELECT 1; DROP TABLE x":                    {wire.CodeBadRequest, "one statement"},
		"SELECT 1\nFROM\nWHERE":                     {wire.CodeBadRequest, "line 3, column"},
		"DELETE FROM counts_per_day":                {wire.CodeBadRequest, "only SELECT"},
		"SELECT SLEEP(100)":                         {wire.CodeBadRequest, "SLEEP"},
		"SELECT * FROM quipu.checkpoints":           {wire.CodeBadRequest, "only the views"},
		"SELECT no_such FROM counts_per_day":        {wire.CodeBadRequest, "Unknown column 'no_such'"},
		"SELECT * FROM checkpoints":                 {wire.CodeBadRequest, "'analytics.checkpoints' doesn't exist"},
		"SELECT * FROM counts_per_day WHERE":        {wire.CodeBadRequest, "syntax error at the end"},
		"SELECT CAST(1 AS SIGNED) UNION SELECT 1,2": {wire.CodeBadRequest, "different number of columns"},
		"SELECT no_such_function(1)":                {wire.CodeForbidden, "execute command denied"},
	} {
		_, _, _, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: text})
		if wire.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.detail) {
			t.Errorf("%s: got %v, want %s with %q", text, err, want.code, want.detail)
		}
	}
}

// INV-9: what a bound cuts off is told, and the statement ends with it.
func TestSQLBounds(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	_, rows, end, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: rowsForHours("bound-1"), MaxRows: 10})
	if err != nil || len(rows) != 10 || end == nil || end.Rows != 10 || end.Truncated != wire.TruncatedRows {
		t.Errorf("got %d rows, end %+v, %v", len(rows), end, err)
	}
	_, rows, end, err = r.askSQL(t.Context(), wire.SQLRequest{SQL: rowsForHours("bound-2"), MaxBytes: 500})
	if err != nil || len(rows) < 5 || end == nil || end.Bytes > 500 || end.Truncated != wire.TruncatedBytes {
		t.Errorf("got %d rows, end %+v, %v", len(rows), end, err)
	}
	awaitInServer(t, r.servers.Replica, "bound-1", false)
	awaitInServer(t, r.servers.Replica, "bound-2", false)
	_, rows, end, err = r.askSQL(t.Context(), wire.SQLRequest{SQL: "SELECT 1 UNION SELECT 2", MaxRows: 2})
	if err != nil || len(rows) != 2 || end.Truncated != "" {
		t.Errorf("just as many as allowed: got %q, end %+v, %v", rows, end, err)
	}
}

// A runaway statement dies at its deadline: as a problem, or where rows were sent already, as the last record.
func TestSQLDiesAtItsDeadline(t *testing.T) {
	r := newRig(t, shared, withDoor(func(c *shardproxy.Config) { c.AnalystTimeout = time.Second })).bothHealthy()
	if _, rows, _, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: crossJoin("late-1")}); wire.CodeOf(err) != wire.CodeDeadline || rows != nil {
		t.Errorf("got %v, want %s", err, wire.CodeDeadline)
	}
	_, rows, _, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: rowsForHours("late-2"), MaxRows: wire.MaxSQLRows, MaxBytes: wire.MaxSQLBytes})
	if wire.CodeOf(err) != wire.CodeDeadline || len(rows) == 0 {
		t.Errorf("got %v after %d rows, want %s after some", err, len(rows), wire.CodeDeadline)
	}
	awaitInServer(t, r.servers.Replica, "late-1", false)
	awaitInServer(t, r.servers.Replica, "late-2", false)
}

// Who goes away takes the statement along, before its first row and in the middle of them.
func TestSQLIsCancelled(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	for marker, text := range map[string]string{"gone-1": crossJoin("gone-1"), "gone-2": rowsForHours("gone-2")} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, _, _, err := r.askSQL(ctx, wire.SQLRequest{SQL: text, MaxRows: wire.MaxSQLRows, MaxBytes: wire.MaxSQLBytes})
			ended <- err
		}()
		awaitInServer(t, r.servers.Replica, marker, true)
		cancel()
		if err := <-ended; err == nil {
			t.Errorf("%s: a cancelled answer ended well", marker)
		}
		awaitInServer(t, r.servers.Replica, marker, false)
	}
}

// INV-9: people wait for each other, then are refused, and never hold up those who ask for counts.
func TestPeopleDoNotStarveTheAPI(t *testing.T) {
	r := newRig(t, shared, withDoor(func(c *shardproxy.Config) { c.AnalystConnections = 1 })).bothHealthy()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	refused := make(chan error, 8)
	for i := range 8 {
		group.Go(func() {
			if _, _, _, err := r.askSQL(ctx, wire.SQLRequest{SQL: crossJoin(fmt.Sprint("crowd-", i))}); ctx.Err() == nil {
				refused <- err
			}
		})
	}
	for range 3 { // one runs, four wait
		if err := <-refused; wire.CodeOf(err) != wire.CodeOverloaded {
			t.Errorf("got %v, want %s", err, wire.CodeOverloaded)
		}
	}
	for range 20 {
		if _, err := r.stats(keyOf(1, 0)); err != nil {
			t.Errorf("an answer of the API failed: %v", err)
		}
	}
	var told wire.QueriesAnswer
	if err := r.client.JSON(t.Context(), http.MethodGet, r.url+wire.PathQueries, nil, &told); err != nil {
		t.Fatal(err)
	}
	analysts := 0
	for _, q := range told.Queries {
		if q.Class == "analyst" {
			analysts++
		}
	}
	if analysts != 1 {
		t.Errorf("%d statements of people run, want 1: %+v", analysts, told.Queries)
	}
	cancel()
	group.Wait()
	testkit.Eventually(t, patience, func() error {
		for i := range 8 {
			if inServer(t, r.servers.Replica, fmt.Sprint("crowd-", i)) {
				return fmt.Errorf("crowd-%d still runs", i)
			}
		}
		return nil
	})
}

// What runs is listed with who asked, and killed by its id.
func TestSQLIsListedAndKilled(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	ended := make(chan error, 1)
	go func() {
		_, _, _, err := r.askSQL(wire.WithCaller(t.Context(), "ann"), wire.SQLRequest{SQL: crossJoin("killed-1")})
		ended <- err
	}()
	awaitInServer(t, r.servers.Replica, "killed-1", true)
	var told wire.QueriesAnswer
	if err := r.client.JSON(t.Context(), http.MethodGet, r.url+wire.PathQueries, nil, &told); err != nil {
		t.Fatal(err)
	}
	told.Queries = slices.DeleteFunc(told.Queries, func(q wire.RunningQuery) bool { return q.Class != "analyst" }) // the proxy's own
	if len(told.Queries) != 1 || told.Queries[0].Caller != "ann" || told.Queries[0].Database != "s1-b" {
		t.Fatalf("got %+v", told.Queries)
	}
	if err := r.client.JSON(t.Context(), http.MethodDelete, r.url+wire.PathQueries+"/"+told.Queries[0].ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	if inServer(t, r.servers.Replica, "killed-1") {
		t.Error("it runs although it is told to be dead")
	}
	if err := <-ended; wire.CodeOf(err) != wire.CodeDeadline || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
}

// The primary serves people only if the topology has no replica of the shard.
func TestPeopleStayOffThePrimary(t *testing.T) {
	r := newRig(t, shared, withDoor(nil)).bothHealthy()
	s := *r.snapshot.Load()
	away := topology(r.servers.Primary, r.servers.Replica)
	away.Topology.Shards[0].Databases[1].Address = "127.0.0.1:1"
	r.publish(away)
	r.failsWith(wire.CodeUnavailable, func() error {
		_, _, _, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: "SELECT 1"})
		return err
	})
	alone := topology(r.servers.Primary, r.servers.Replica)
	alone.Topology.Shards[0].Databases = alone.Topology.Shards[0].Databases[:1]
	r.publish(alone)
	testkit.Eventually(t, patience, func() error {
		_, _, end, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: "SELECT 1"})
		if err == nil && end.Sources[0].Role != string(cluster.Primary) {
			err = errors.New("not from the primary")
		}
		return err
	})
	r.publish(&s)
	r.bothHealthy()
}

// Without an account for people the door is shut.
func TestNoDoorWithoutAnAccount(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	_, _, _, err := r.askSQL(t.Context(), wire.SQLRequest{SQL: "SELECT 1"})
	if wire.CodeOf(err) != wire.CodeUnavailable || !strings.Contains(err.Error(), "accounts.analyst") {
		t.Errorf("got %v", err)
	}
}
