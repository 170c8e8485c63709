package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/mysql/guard"
)

// Connections of a pool's killer, and the most that one of its statements takes.
const (
	killerConnections = 2
	killerTimeout     = 2 * time.Second
)

// killer ends statements of one pool. It connects as the pool's own account: every account sees and may kill what is its own, so no account
// needs a right to kill what others run. Connections of its own keep it able to when all those of the pool are busy.
type killer struct{ db *DB }

func newKiller(cfg Config) (*killer, error) {
	cfg.Guard, cfg.MaxConnections, cfg.StatementTimeout, cfg.ReadOnly = nil, killerConnections, killerTimeout, true
	cfg.DialTimeout = min(cfg.DialTimeout, killerTimeout)
	db, err := Open(cfg)
	return &killer{db: db}, err
}

// errOtherServer is an address at which another server answers by now: what ran in the first one can't be killed here.
var errOtherServer = errors.New("another server answers at this address by now")

// Look tells whether a statement runs.
func (k *killer) Look(ctx context.Context, t guard.Target) (sight guard.Sight, err error) {
	err = k.at(ctx, t, func(conn *sqlx.Conn, speaks dialect) error {
		sight, _, err = look(ctx, conn, speaks, t)
		return err
	})
	return sight, err
}

// Kill ends a statement if it runs.
func (k *killer) Kill(ctx context.Context, t guard.Target) (sight guard.Sight, err error) {
	err = k.at(ctx, t, func(conn *sqlx.Conn, speaks dialect) error {
		var number uint64
		if sight, number, err = look(ctx, conn, speaks, t); err != nil || !sight.Running {
			return err
		}
		_, err := conn.ExecContext(ctx, speaks.kill(t.Connection, number))
		if e, ok := errors.AsType[*driver.MySQLError](err); ok && (e.Number == numNoSuchThread || e.Number == numNoSuchQuery) {
			sight.Running = false
			return nil
		}
		return err
	})
	return sight, err
}

// at runs work on a connection to the server that a target names.
func (k *killer) at(ctx context.Context, t guard.Target, work func(*sqlx.Conn, dialect) error) error {
	conn, err := k.db.sql.Connx(ctx)
	if err != nil {
		return fmt.Errorf("connect to kill in %s: %w", k.db.cfg.ID, meaning(err))
	}
	defer conn.Close()
	var own *connection
	_ = conn.Raw(func(raw any) error { // fails only if the function does
		own = raw.(*connection)
		return nil
	})
	if own.server != t.Server {
		return fmt.Errorf("kill in %s: %w", k.db.cfg.ID, errOtherServer)
	}
	if err := work(conn, own.dialect); err != nil {
		return fmt.Errorf("kill in %s: %w", k.db.cfg.ID, meaning(err))
	}
	return nil
}

func look(ctx context.Context, conn *sqlx.Conn, speaks dialect, t guard.Target) (sight guard.Sight, number uint64, err error) {
	sight.RowsExamined = -1
	err = conn.QueryRowContext(ctx, speaks.sight(t.Connection, t.Mark)).Scan(&number, &sight.RowsExamined)
	if errors.Is(err, sql.ErrNoRows) {
		return sight, 0, nil
	}
	sight.Running = err == nil
	return sight, number, err
}
