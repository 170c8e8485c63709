package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/internal/wait"
)

// Bounds of the retries of what the server rolled back.
const (
	maxAttempts  = 5
	firstPause   = 5 * time.Millisecond
	rollbackTime = 2 * time.Second
)

// transaction runs on one connection by hand rather than through sql.Tx, whose COMMIT heeds no context.
type transaction struct{ conn *sqlx.Conn }

// transaction runs work between START TRANSACTION and COMMIT. Every error but one that wraps ErrUnknownOutcome means
// that nothing was committed.
func (d *DB) transaction(ctx context.Context, work func(*transaction) error) error {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return meaning(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "START TRANSACTION"); err != nil {
		discard(conn)
		return meaning(err)
	}
	if err := work(&transaction{conn}); err != nil {
		rollback(ctx, conn)
		return err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		discard(conn)
		return fmt.Errorf("commit: %w: %w", ErrUnknownOutcome, err)
	}
	return nil
}

func (t *transaction) exec(ctx context.Context, statement string, args ...any) error {
	_, err := t.conn.ExecContext(ctx, statement, args...)
	return meaning(err)
}

// rollback frees what the transaction holds at once; if that fails the server does so when it notices the closed connection.
func rollback(ctx context.Context, conn *sqlx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		discard(conn)
	}
}

// discard keeps a connection of unknown state from going back to the pool.
func discard(conn *sqlx.Conn) {
	_ = conn.Raw(func(any) error { return sqldriver.ErrBadConn })
}

// retrying tries again what the server rolled back for a passing reason, a bounded number of times and while ctx allows.
func retrying(ctx context.Context, try func() error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := try()
		if !errors.Is(err, errRetry) {
			return err
		}
		if attempt == maxAttempts {
			return fmt.Errorf("%w after %d attempts: %w", ErrUnavailable, attempt, err)
		}
		if wait.For(ctx, pause/2+rand.N(pause)) != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		pause *= 2
	}
}

// retrying counts the retries of writes.
func (p *Primary) retrying(ctx context.Context, try func() error) error {
	first := true
	return retrying(ctx, func() error {
		if !first {
			p.metrics.retries.Inc()
		}
		first = false
		return try()
	})
}

// snapshot runs reads that all see the same instant of a read-only pool's database.
func (d *DB) snapshot(ctx context.Context, work func(*sqlx.Conn) error) error {
	return d.readOnly(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", work)
}

// snapshotOfTables is snapshot for work whose first statement names every table that it will read. The instant is that of this statement, when all these
// tables are locked against the drop of a time partition already: one that is dropped between the instant and the lock would read as empty.
func (d *DB) snapshotOfTables(ctx context.Context, work func(*sqlx.Conn) error) error {
	return d.readOnly(ctx, "START TRANSACTION READ ONLY", work)
}

func (d *DB) readOnly(ctx context.Context, begin string, work func(*sqlx.Conn) error) error {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return meaning(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		discard(conn)
		return meaning(err)
	}
	if err := work(conn); err != nil {
		rollback(ctx, conn)
		return err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		discard(conn) // what was read stays read
	}
	return nil
}
