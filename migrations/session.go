package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/golang-migrate/migrate/v4/database"
	migratemysql "github.com/golang-migrate/migrate/v4/database/mysql"

	"github.com/quipudb/quipu/internal/wait"
)

// Bounds of one statement's wait for a table that is in use: a waiting statement queues every write behind it, so it gives up
// soon and comes back.
const (
	lockWaitSeconds = 5
	lockAttempts    = 12
	lockPause       = time.Second
)

// lockName is the server's lock, as an expression: one a schema.
const lockName = "CONCAT('quipu_migrate.', DATABASE())"

// session is one pinned connection to one shard: the server's lock belongs to it, and everything runs through it.
type session struct {
	shard   Shard
	pool    *sql.DB
	conn    *sql.Conn
	history history
	locked  bool
}

func openSession(ctx context.Context, shard Shard) (*session, error) {
	config, err := driver.ParseDSN(shard.DSN)
	if err != nil {
		return nil, fmt.Errorf("shard %s: read data source name: %w", shard.ID, err)
	}
	if config.DBName == "" {
		return nil, fmt.Errorf("shard %s: data source name selects no schema", shard.ID)
	}
	config.InterpolateParams, config.MultiStatements = true, false
	config.ReadTimeout, config.WriteTimeout = 0, 0 // a statement may take as long as it takes
	config.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("shard %s: %w", shard.ID, err)
	}
	s := &session{shard: shard, pool: sql.OpenDB(connector)}
	if s.conn, err = s.pool.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("shard %s: connect: %w", shard.ID, err), s.pool.Close())
	}
	s.history.conn = s.conn
	return s, nil
}

// lock takes the shard for this run, or fails with ErrLocked at once.
func (s *session) lock(ctx context.Context) error {
	for _, setting := range []string{
		fmt.Sprintf("SET SESSION lock_wait_timeout = %d", lockWaitSeconds),
		"SET SESSION time_zone = '+00:00'",
	} {
		if _, err := s.conn.ExecContext(ctx, setting); err != nil {
			return fmt.Errorf("shard %s: prepare connection: %w", s.shard.ID, err)
		}
	}
	var got, holder sql.NullInt64
	err := s.conn.QueryRowContext(ctx, "SELECT GET_LOCK("+lockName+", 0), IS_USED_LOCK("+lockName+")").Scan(&got, &holder)
	if err != nil {
		return fmt.Errorf("shard %s: take lock: %w", s.shard.ID, err)
	}
	if got.Int64 != 1 {
		return fmt.Errorf("shard %s: %w: connection %d of the server holds the lock", s.shard.ID, ErrLocked, holder.Int64)
	}
	s.locked = true
	if err := s.history.ensure(ctx); err != nil {
		return fmt.Errorf("shard %s: %w", s.shard.ID, err)
	}
	return nil
}

// taken tells whether some run holds the shard.
func (s *session) taken(ctx context.Context) (taken bool, err error) {
	if err := s.conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+lockName+") IS NOT NULL").Scan(&taken); err != nil {
		return false, fmt.Errorf("read lock: %w", err)
	}
	return taken, nil
}

// close gives the connection up, and the lock with it.
func (s *session) close() error {
	var err error
	if s.locked {
		ctx, cancel := context.WithTimeout(context.Background(), lockPause)
		defer cancel()
		_, err = s.conn.ExecContext(ctx, "DO RELEASE_LOCK("+lockName+")")
	}
	return errors.Join(err, s.conn.Close(), s.pool.Close())
}

// target is golang-migrate's view of the session: it keeps the version table through the original driver and runs
// files statement by statement.
type target struct {
	*migratemysql.Mysql
	ctx      context.Context
	session  *session
	set      *set
	current  uint
	file     file // the one that SetVersion announced
	progress func(Progress)
}

var _ database.Driver = (*target)(nil)

func newTarget(ctx context.Context, s *session, files *set, progress func(Progress)) (*target, error) {
	// NoLock: the session's own lock covers more than this driver's and says who holds it.
	inner, err := migratemysql.WithConnection(ctx, s.conn, &migratemysql.Config{NoLock: true})
	if err != nil {
		return nil, fmt.Errorf("shard %s: open version table: %w", s.shard.ID, err)
	}
	return &target{Mysql: inner, ctx: ctx, session: s, set: files, progress: progress}, nil
}

// SetVersion is called dirty before a file and clean after it; from the former follows which file comes.
func (t *target) SetVersion(version int, dirty bool) error {
	to := uint(max(version, 0))
	if !dirty {
		t.current = to
	} else if to > t.current {
		t.file = t.set.files[to][Up]
	} else {
		t.file = t.set.files[t.current][Down]
	}
	return t.Mysql.SetVersion(version, dirty)
}

// Run runs the announced file. What golang-migrate read is that same file.
func (t *target) Run(body io.Reader) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read %s: %w", t.file.name, err)
	}
	if err := t.session.history.begin(t.ctx, t.file); err != nil {
		return err
	}
	for i, statement := range t.file.statements {
		t.progress(Progress{Shard: t.session.shard.ID, Version: t.file.version, Direction: t.file.direction, File: t.file.name, Statement: i + 1, Statements: len(t.file.statements)})
		if err := t.session.history.reach(t.ctx, i+1, statement); err != nil {
			return err
		}
		err := t.session.exec(t.ctx, statement)
		if err != nil && i == 0 && isGuard(statement) && isRefusal(err) {
			return errors.Join(t.refused(err), t.session.history.finish(t.ctx, stateFailed, err))
		}
		if err != nil {
			return errors.Join(t.dirty(i+1, statement, err), t.session.history.finish(t.ctx, stateFailed, err))
		}
	}
	t.progress(Progress{Shard: t.session.shard.ID, Version: t.file.version, Direction: t.file.direction, File: t.file.name, Statements: len(t.file.statements), Done: true})
	return t.session.history.finish(t.ctx, stateDone, nil)
}

// isGuard tells whether a file's first statement is one that the server refuses, through a constraint, when the file must not run: an INSERT,
// which leaves nothing behind then.
func isGuard(statement string) bool { return strings.HasPrefix(statement, "INSERT INTO ") }

// refused takes back that the file was begun.
func (t *target) refused(err error) error {
	version := int(t.current)
	if version == 0 {
		version = database.NilVersion
	}
	refusal := fmt.Errorf("shard %s: %w: nothing was changed, the schema stays at version %d: %w", t.session.shard.ID, ErrRefused, t.current, err)
	return errors.Join(refusal, t.Mysql.SetVersion(version, false))
}

func (t *target) dirty(number int, text string, err error) error {
	e := &DirtyError{
		Shard: t.session.shard.ID, Version: t.file.version, File: t.file.name, Direction: t.file.direction,
		Statement: number, Text: text, Err: err,
	}
	e.Before, e.After = t.set.around(t.file)
	return e
}

// exec runs one statement and tries again while the table is in use.
func (s *session) exec(ctx context.Context, statement string) error {
	for attempt := 1; ; attempt++ {
		_, err := s.conn.ExecContext(ctx, statement)
		if !isServerError(err, errLockWait) || attempt == lockAttempts {
			return err
		}
		if wait.For(ctx, lockPause) != nil {
			return err
		}
	}
}
