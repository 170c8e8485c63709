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

// Selection is one statement of a person. It must be known to be a single SELECT: it is sent as it is.
type Selection struct {
	Text    string
	Timeout time.Duration // after which the server ends it, its rows' reading included; none: the pool's
	Dated   bool          // the schema has the view freshness: tell as of when the rows are
}

// Column is a column of what was selected.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // as the server calls it: BIGINT, DECIMAL, DATETIME, VARCHAR …
}

// RowTaker takes what a Selection gives. An error of its methods ends the selection, and the statement in the server with it.
type RowTaker interface {
	// Columns comes first. asOf is log time in milliseconds, 0 if it is not known.
	Columns(columns []Column, asOf int64) error
	// Row takes one row; nil is NULL. The values are valid until it returns.
	Row(values []sql.RawBytes) error
}

// SelectionError is a selection that the server refuses for its own fault.
type SelectionError struct {
	Denied  bool // the account may not
	Message string
}

func (e *SelectionError) Error() string { return e.Message }

const selectFreshness = "SELECT CAST(COALESCE(ROUND(UNIX_TIMESTAMP(counted_before) * 1000), 0) AS SIGNED) FROM freshness"

// Select runs a person's statement and hands its rows over as they come, all of one snapshot.
func (d *DB) Select(ctx context.Context, s Selection, take RowTaker) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return fmt.Errorf("select from %s: %w", d.cfg.ID, meaning(err))
	}
	defer conn.Close()
	if err := d.selection(ctx, cancel, conn, s, take); err != nil {
		if ctx.Err() != nil {
			discard(conn)
		} else {
			rollback(ctx, conn)
		}
		return fmt.Errorf("select from %s: %w", d.cfg.ID, err)
	}
	rollback(ctx, conn) // what was read stays read
	return nil
}

func (d *DB) selection(ctx context.Context, cancel context.CancelCauseFunc, conn *sqlx.Conn, s Selection, take RowTaker) error {
	limit := defaultTo(s.Timeout, d.cfg.StatementTimeout)
	for _, statement := range []string{(*d.dialect.Load()).sessionLimit(limit), "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return meaning(err)
		}
	}
	var asOf int64
	if s.Dated {
		if err := conn.QueryRowContext(ctx, selectFreshness).Scan(&asOf); err != nil {
			return meaning(err)
		}
	}
	rows, err := conn.QueryContext(ctx, s.Text)
	if err != nil {
		return meaningOfSelection(err)
	}
	defer rows.Close()
	if err := takeRows(rows, asOf, take); err != nil {
		if ctx.Err() == nil {
			cancel(guard.ErrEnough) // before the rows are closed: else all that is left would be read
		}
		return err
	}
	return nil
}

func takeRows(rows *sql.Rows, asOf int64, take RowTaker) error {
	kinds, err := rows.ColumnTypes()
	if err != nil {
		return meaning(err)
	}
	columns, values, targets := make([]Column, len(kinds)), make([]sql.RawBytes, len(kinds)), make([]any, len(kinds))
	for i, kind := range kinds {
		columns[i], targets[i] = Column{Name: kind.Name(), Type: kind.DatabaseTypeName()}, &values[i]
	}
	if err := take.Columns(columns, asOf); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return meaningOfSelection(err)
		}
		if err := take.Row(values); err != nil {
			return err
		}
	}
	return meaningOfSelection(rows.Err())
}

// meaningOfSelection tells what the statement is at fault for from what the database is.
func meaningOfSelection(err error) error {
	e, ok := errors.AsType[*driver.MySQLError](err)
	if !ok {
		return meaning(err)
	}
	switch e.Number {
	case numTableDenied, numColumnDenied, numSchemaDenied, numRoutineDenied:
		return &SelectionError{Denied: true, Message: e.Message}
	}
	switch string(e.SQLState[:2]) {
	case "42", "22", "21": // syntax, names and rights; values; numbers of columns
		return &SelectionError{Message: e.Message}
	}
	return meaning(err)
}
