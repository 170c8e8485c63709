package testkit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
)

const (
	startTimeout   = 2 * time.Minute // a busy machine is no failure
	failureLogTail = 40
)

// Option changes a server's settings before it is started.
type Option func(*local.MariaDBConfig)

// Database is a private MariaDB server with Quipu's accounts and the empty
// schemas quipu and analytics. It can be killed, paused and started again.
type Database struct {
	*local.MariaDB
	Passwords local.Passwords

	dir  string
	port *local.Port
}

// MariaDB starts a server for one test.
func MariaDB(t testing.TB, options ...Option) *Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	db, err := StartMariaDB(ctx, t.TempDir(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, db, db.Name(), db.LogFile()) })
	return db
}

// StartMariaDB starts a server in a folder; the caller closes it.
func StartMariaDB(ctx context.Context, dir string, options ...Option) (*Database, error) {
	db, err := startServer(ctx, dir, "mariadb", local.NewPasswords(), options...)
	if err != nil {
		return nil, err
	}
	if err := local.ConfigureAccounts(ctx, db.MariaDB, db.Passwords); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func startServer(ctx context.Context, dir, name string, passwords local.Passwords, options ...Option) (*Database, error) {
	port, err := local.ReservePort()
	if err != nil {
		return nil, err
	}
	mysqld, err := MySQL8()
	if err != nil {
		return nil, errors.Join(err, port.Release())
	}
	config := local.MariaDBConfig{
		Name: name, Dir: dir, MySQL: mysqld, Port: port.Number, ServerID: uint32(port.Number),
		BufferPoolBytes: 64 << 20, RedoLogBytes: 64 << 20, DieWithParent: true,
	}
	for _, option := range options {
		option(&config)
	}
	db := &Database{MariaDB: local.NewMariaDB(config), Passwords: passwords, dir: dir, port: port}
	if err := db.Start(ctx); err != nil {
		return nil, errors.Join(err, port.Release())
	}
	return db, nil
}

// Close kills the server and removes its folder.
func (d *Database) Close() error {
	return errors.Join(d.Kill(), d.port.Release(), os.RemoveAll(d.dir))
}

// DSN is the data source name of an account: the analyst's on the schema
// analytics, everybody else's on quipu.
func (d *Database) DSN(account local.Account) string {
	schema := local.SchemaCounts
	switch account {
	case local.AccountAnalyst:
		schema = local.SchemaAnalytics
	case local.AccountReplicate:
		schema = ""
	}
	return d.SchemaDSN(account, schema)
}

// SchemaDSN is the data source name of an account on a schema, empty for none.
func (d *Database) SchemaDSN(account local.Account, schema string) string {
	return d.MariaDB.DSN(account, d.Passwords[account], schema)
}

// Open is a pool of an account's connections, closed when the test ends.
func (d *Database) Open(t testing.TB, account local.Account) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", d.DSN(account))
	if err != nil {
		t.Fatalf("open %s as %s: %v", d.Name(), account, err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Reset empties both schemas, for tests that share a server. Grants stay.
func (d *Database) Reset(ctx context.Context) error {
	for _, schema := range []string{local.SchemaAnalytics, local.SchemaCounts} {
		for _, statement := range []string{
			"DROP DATABASE IF EXISTS `" + schema + "`",
			"CREATE DATABASE `" + schema + "` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		} {
			if _, err := d.Root().ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("reset %s: %w", d.Name(), err)
			}
		}
	}
	return nil
}

// FreshDatabase is Reset for a test.
func FreshDatabase(t testing.TB, d *Database) {
	t.Helper()
	if err := d.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// finish ends a server with its test.
func finish(t testing.TB, server interface{ Close() error }, name, logFile string) {
	if t.Failed() {
		t.Logf("%s ended its log with:\n%s", name, local.LogTail(logFile, failureLogTail))
	}
	if err := server.Close(); err != nil {
		t.Errorf("close %s: %v", name, err)
	}
}
