package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// States of a row in migration_history.
const (
	stateRunning = "running"
	stateDone    = "done"
	stateFailed  = "failed"
	stateForced  = "forced"
)

// The table is the runner's own, so that it survives the way down.
const createHistory = `CREATE TABLE IF NOT EXISTS migration_history (
  id          BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  version     BIGINT            NOT NULL COMMENT 'of the file, or the version that was forced',
  direction   VARCHAR(8)        NOT NULL,
  file        VARCHAR(255)      NOT NULL,
  state       VARCHAR(16)       NOT NULL COMMENT 'running, done, failed, forced',
  statement   SMALLINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'the last that was started; 1 is the first',
  statements  SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  text        TEXT              NOT NULL COMMENT 'of that statement',
  error       TEXT              NOT NULL,
  account     VARCHAR(255)      NOT NULL,
  started_at  DATETIME(3)       NOT NULL COMMENT 'UTC',
  finished_at DATETIME(3)       NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COMMENT='What quipu migrate did to this shard.'`

// history writes one run's rows.
type history struct {
	conn *sql.Conn
	row  int64 // of the file that runs now
}

func (h *history) ensure(ctx context.Context) error {
	if _, err := h.conn.ExecContext(ctx, createHistory); err != nil {
		return fmt.Errorf("create migration_history: %w", err)
	}
	return nil
}

func (h *history) begin(ctx context.Context, f file) error {
	result, err := h.conn.ExecContext(ctx, `INSERT INTO migration_history (version, direction, file, state, statements, text, error, account, started_at)
VALUES (?, ?, ?, ?, ?, '', '', CURRENT_USER(), UTC_TIMESTAMP(3))`, f.version, string(f.direction), f.name, stateRunning, len(f.statements))
	if err != nil {
		return fmt.Errorf("record migration: %w", err)
	}
	h.row, err = result.LastInsertId()
	return err
}

// reach records a statement before it starts.
func (h *history) reach(ctx context.Context, number int, text string) error {
	_, err := h.conn.ExecContext(ctx, "UPDATE migration_history SET statement = ?, text = ? WHERE id = ?", number, text, h.row)
	if err != nil {
		return fmt.Errorf("record statement %d: %w", number, err)
	}
	return nil
}

func (h *history) finish(ctx context.Context, state string, cause error) error {
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	_, err := h.conn.ExecContext(ctx, "UPDATE migration_history SET state = ?, error = ?, finished_at = UTC_TIMESTAMP(3) WHERE id = ?", state, text, h.row)
	if err != nil {
		return fmt.Errorf("record outcome: %w", err)
	}
	return nil
}

func (h *history) forced(ctx context.Context, version uint) error {
	_, err := h.conn.ExecContext(ctx, `INSERT INTO migration_history (version, direction, file, state, text, error, account, started_at, finished_at)
VALUES (?, '', '', ?, '', '', CURRENT_USER(), UTC_TIMESTAMP(3), UTC_TIMESTAMP(3))`, version, stateForced)
	if err != nil {
		return fmt.Errorf("record force: %w", err)
	}
	return nil
}

// Entry is a row of a shard's migration history.
type Entry struct {
	Version               uint
	Direction             Direction
	File, State           string
	Statement, Statements int
	Text, Error           string
	Account               string
	StartedAt, FinishedAt string // UTC; FinishedAt is empty while it runs, and for ever if it was killed
}

const selectHistory = `SELECT version, direction, file, state, statement, statements, text, error, account,
  CAST(started_at AS CHAR), COALESCE(CAST(finished_at AS CHAR), '') FROM migration_history ORDER BY id DESC LIMIT ?`

// readHistory returns the last entries, the newest first; none if there is no table yet.
func readHistory(ctx context.Context, conn *sql.Conn, limit int) ([]Entry, error) {
	rows, err := conn.QueryContext(ctx, selectHistory, limit)
	if isServerError(err, errNoSuchTable) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read migration_history: %w", err)
	}
	defer rows.Close()
	var entries []Entry
	for rows.Next() {
		var e Entry
		err := rows.Scan(&e.Version, &e.Direction, &e.File, &e.State, &e.Statement, &e.Statements, &e.Text, &e.Error, &e.Account, &e.StartedAt, &e.FinishedAt)
		if err != nil {
			return nil, fmt.Errorf("read migration_history: %w", err)
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(rows.Err(), rows.Close())
}
