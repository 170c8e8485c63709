package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	driver "github.com/go-sql-driver/mysql"
)

// Oldest is the oldest version that this build's roles work with.
const Oldest uint = 4

// Latest returns the newest version of this build.
func Latest() uint { return latest() }

var latest = sync.OnceValue(func() uint {
	s, err := load(embedded)
	if err != nil {
		panic(err) // the files were checked when the binary was tested
	}
	return s.latest()
})

// VersionError says that a schema is not one that this build knows.
type VersionError struct {
	Version        uint // 0: there is no schema
	Dirty          bool // a migration stopped half way
	Oldest, Latest uint // what this build knows
}

func (e *VersionError) Error() string {
	switch {
	case e.Dirty:
		return fmt.Sprintf("schema version %d is half done: a migration failed or is running", e.Version)
	case e.Version == 0:
		return "there is no schema: run quipu migrate up"
	case e.Version < e.Oldest:
		return fmt.Sprintf("schema version %d is older than %d, the oldest that this build knows: run quipu migrate up", e.Version, e.Oldest)
	}
	return fmt.Sprintf("schema version %d is newer than %d, the latest that this build knows: install a newer build", e.Version, e.Latest)
}

// Known returns nil if this build's roles may work with a schema, and a *VersionError otherwise.
func Known(version uint, dirty bool) error {
	if dirty || version < Oldest || version > Latest() {
		return &VersionError{Version: version, Dirty: dirty, Oldest: Oldest, Latest: Latest()}
	}
	return nil
}

// querier is what a connection and a pool have in common.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ReadVersion returns the version of a database's schema, 0 if it has none, and whether a migration stopped half way.
func ReadVersion(ctx context.Context, db querier) (version uint, dirty bool, err error) {
	var v int64
	err = db.QueryRowContext(ctx, "SELECT version, dirty FROM schema_migrations LIMIT 1").Scan(&v, &dirty)
	switch {
	case errors.Is(err, sql.ErrNoRows) || isServerError(err, errNoSuchTable):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read schema version: %w", err)
	}
	return uint(max(v, 0)), dirty, nil
}

// Error numbers of the server.
const (
	errNoSuchTable = 1146
	errLockWait    = 1205
	errInterrupted = 1317
)

func isServerError(err error, number uint16) bool {
	e, ok := errors.AsType[*driver.MySQLError](err)
	return ok && e.Number == number
}

// isRefusal tells whether the server says that it did not carry out a statement.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*driver.MySQLError](err)
	return ok && e.Number != errInterrupted
}
