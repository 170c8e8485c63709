package local_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// server describes a small server on a port of its own and ends it with the test.
func server(t *testing.T, dir string, change ...func(*local.MariaDBConfig)) *local.MariaDB {
	t.Helper()
	port, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	config := local.MariaDBConfig{
		Name: "test", Dir: dir, Port: port.Number, ServerID: 1,
		BufferPoolBytes: 32 << 20, RedoLogBytes: 16 << 20, DieWithParent: true,
	}
	for _, c := range change {
		c(&config)
	}
	m := local.NewMariaDB(config)
	t.Cleanup(func() {
		if err := errors.Join(m.Kill(), port.Release()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func start(t *testing.T, s interface{ Start(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

func execAll(t *testing.T, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statements ...string,
) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func query(t *testing.T, db *sql.DB, statement string) string {
	t.Helper()
	var value sql.NullString
	if err := db.QueryRowContext(t.Context(), statement).Scan(&value); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value.String
}

func TestMariaDBKeepsItsData(t *testing.T) {
	t.Parallel()
	m := server(t, t.TempDir())
	start(t, m)
	execAll(t, m.Root(), "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")
	for round, end := range []struct {
		name string
		do   func() error
	}{
		{"kill -9", m.Kill},
		{"an orderly stop", func() error { return m.Stop(t.Context()) }},
		{"kill -9 again", m.Kill},
	} {
		execAll(t, m.Root(), fmt.Sprintf("INSERT INTO d.t VALUES (%d)", round))
		if err := end.do(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		start(t, m)
		if got, want := query(t, m.Root(), "SELECT COUNT(*) FROM d.t"), fmt.Sprint(round+1); got != want {
			t.Errorf("after %s there are %s rows, want %s", end.name, got, want)
		}
	}
}

func TestMariaDBSettings(t *testing.T) {
	t.Parallel()
	m := server(t, t.TempDir(), func(c *local.MariaDBConfig) {
		c.ServerID, c.ReadOnly, c.MaxConnections = 42, true, 77
		c.Settings = map[string]string{"innodb_lock_wait_timeout": "3", "general_log": "OFF"}
	})
	start(t, m)
	for name, want := range map[string]string{
		"server_id":                      "42",
		"read_only":                      "1",
		"max_connections":                "77",
		"innodb_buffer_pool_size":        fmt.Sprint(32 << 20),
		"innodb_lock_wait_timeout":       "3", // replaced by Settings
		"lock_wait_timeout":              "10",
		"bind_address":                   "127.0.0.1",
		"time_zone":                      "+00:00",
		"collation_server":               "utf8mb4_bin",
		"tx_isolation":                   "READ-COMMITTED",
		"binlog_format":                  "ROW",
		"binlog_row_image":               "MINIMAL",
		"log_slave_updates":              "1",
		"gtid_strict_mode":               "1",
		"sync_binlog":                    "1",
		"innodb_flush_log_at_trx_commit": "1",
	} {
		if got := query(t, m.Root(), "SELECT @@GLOBAL."+name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	execAll(t, m.Root(), "CREATE DATABASE d", "CREATE TABLE d.t (n TINYINT NOT NULL)")
	if _, err := m.Root().Exec("INSERT INTO d.t VALUES (1000)"); err == nil {
		t.Error("a value out of range was accepted")
	}
}

func TestMariaDBRootComesInThroughTheSocketOnly(t *testing.T) {
	t.Parallel()
	m := server(t, t.TempDir())
	start(t, m)
	db, err := sql.Open("mysql", m.DSN("root", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var refused *mysql.MySQLError
	if err := db.PingContext(t.Context()); !errors.As(err, &refused) {
		t.Errorf("root by TCP: %v, want a refusal", err)
	}
	var users []string
	rows, err := m.Root().QueryContext(t.Context(), "SELECT CONCAT(User, '@', Host) FROM mysql.global_priv ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var user string
		if err := rows.Scan(&user); err != nil {
			t.Fatal(err)
		}
		users = append(users, user)
	}
	if diff := cmp.Diff([]string{"mariadb.sys@localhost", "root@localhost"}, users); diff != "" {
		t.Errorf("accounts of a fresh server (-want +got):\n%s", diff)
	}
}

func TestMariaDBStartTwice(t *testing.T) {
	t.Parallel()
	m := server(t, t.TempDir())
	start(t, m)
	if err := m.Start(t.Context()); !errors.Is(err, local.ErrRunning) {
		t.Errorf("the second Start = %v, want ErrRunning", err)
	}
	if got := query(t, m.Root(), "SELECT 1"); got != "1" {
		t.Errorf("the server answers %s after it", got)
	}
}

func TestMariaDBFailureShowsTheLog(t *testing.T) {
	t.Parallel()
	m := server(t, t.TempDir(), func(c *local.MariaDBConfig) {
		c.Settings = map[string]string{"no_such_setting": "1"}
	})
	err := m.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "start MariaDB test") || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error = %v, want one with the server's own words", err)
	}
}

func TestMariaDBSocketPathMayBeTooLong(t *testing.T) {
	t.Parallel()
	m := server(t, filepath.Join(t.TempDir(), strings.Repeat("deep/", 20)))
	start(t, m)
	if got := query(t, m.Root(), "SELECT 1"); got != "1" {
		t.Errorf("the server answers %s", got)
	}
	if len(m.Socket()) > 107 {
		t.Errorf("the socket's path has %d bytes: %s", len(m.Socket()), m.Socket())
	}
}

func TestMariaDBTakesOverALeftover(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := server(t, dir)
	start(t, left)
	execAll(t, left.Root(), "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")

	next := server(t, dir)
	start(t, next)
	testkit.Eventually(t, patience, func() error {
		select {
		case <-left.Process().Done():
			return nil
		default:
			return errors.New("the left-over server still runs")
		}
	})
	if got := query(t, next.Root(), "SELECT COUNT(*) FROM d.t"); got != "1" {
		t.Errorf("there are %s rows, want 1", got)
	}
}
