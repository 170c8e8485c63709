package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	driver "github.com/go-sql-driver/mysql"

	"github.com/quipudb/quipu/mysql/guard"
)

// driverConn is what the driver's connections can do.
type driverConn interface {
	sqldriver.Conn
	sqldriver.ConnBeginTx
	sqldriver.ConnPrepareContext
	sqldriver.ExecerContext
	sqldriver.QueryerContext
	sqldriver.Pinger
	sqldriver.SessionResetter
	sqldriver.Validator
	sqldriver.NamedValueChecker
}

// connection is a prepared connection that tells its pool's guard what it runs. Only text that is sent as it is passes the guard; nothing here is prepared
// in the server, for the driver writes arguments into the text.
type connection struct {
	driverConn
	db      *DB
	dialect dialect
	id      uint64      // of the connection in its server
	server  string      // which server it is, whatever its address
	spoiled atomic.Bool // a kill was aimed at it
}

// selectGreeting tells the server's version, the connection's id, and what no two servers that could be reached at one address share.
const selectGreeting = "SELECT VERSION(), CONNECTION_ID(), CONCAT_WS(' ', @@hostname, @@port, @@server_id, @@datadir)"

func (c *connection) greet(ctx context.Context) error {
	rows, err := c.driverConn.QueryContext(ctx, selectGreeting, nil)
	if err != nil {
		return err
	}
	values := make([]sqldriver.Value, 3)
	if err := errors.Join(rows.Next(values), rows.Close()); err != nil {
		return err
	}
	c.dialect, c.server = dialectOf(textOf(values[0])), textOf(values[2])
	c.id, err = strconv.ParseUint(textOf(values[1]), 10, 64)
	return err
}

func textOf(value sqldriver.Value) string {
	if text, ok := value.([]byte); ok {
		return string(text)
	}
	return fmt.Sprint(value)
}

// IsValid keeps a connection that a kill was aimed at from being used again.
func (c *connection) IsValid() bool { return !c.spoiled.Load() && c.driverConn.IsValid() }

// ResetSession does so as well.
func (c *connection) ResetSession(ctx context.Context) error {
	if c.spoiled.Load() {
		return sqldriver.ErrBadConn
	}
	return c.driverConn.ResetSession(ctx)
}

// begin tells the guard of a statement. What begins and ends a transaction, and what sets the session up, takes no time, or must not be killed.
func (c *connection) begin(ctx context.Context, text string) *guard.Query {
	if c.db.cfg.Guard == nil {
		return nil
	}
	for _, word := range []string{"START TRANSACTION", "COMMIT", "ROLLBACK", "SET SESSION"} {
		if strings.HasPrefix(text, word) {
			return nil
		}
	}
	return c.db.cfg.Guard.Begin(ctx, guard.Statement{
		Text: text, Database: c.db.cfg.ID, Class: c.db.cfg.Class, Connection: c.id, Server: c.server, Killer: c.db.killer,
	})
}

// QueryContext runs a statement under the guard.
func (c *connection) QueryContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q := c.begin(ctx, text)
	if q == nil {
		return c.driverConn.QueryContext(ctx, text, args)
	}
	rows, err := c.driverConn.QueryContext(ctx, q.Mark()+text, args)
	if err != nil {
		c.end(ctx, q, err)
		return nil, err
	}
	return &guardedRows{driverRows: rows.(driverRows), conn: c, query: q, ctx: ctx}, nil
}

// ExecContext runs a statement under the guard.
func (c *connection) ExecContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q := c.begin(ctx, text)
	if q == nil {
		return c.driverConn.ExecContext(ctx, text, args)
	}
	result, err := c.driverConn.ExecContext(ctx, q.Mark()+text, args)
	c.end(ctx, q, err)
	return result, err
}

// end tells the guard how a statement ended. Without the server's word, and with a caller that went away, it may still run.
func (c *connection) end(ctx context.Context, q *guard.Query, err error) {
	outcome := guard.Failed
	e, told := errors.AsType[*driver.MySQLError](err)
	switch {
	case err == nil:
		outcome = guard.Done
	case errors.Is(err, sqldriver.ErrSkip), errors.Is(err, sqldriver.ErrBadConn):
		q.Withdraw() // nothing was sent
		return
	case told && (e.Number == numStatementTime || e.Number == numExecutionTime):
		outcome = guard.Limited
	case told && e.Number == numInterrupted:
		outcome = guard.Interrupted
	case !told && ctx.Err() != nil:
		c.spoiled.Store(true)
		q.Abandon(context.Cause(ctx))
		return
	}
	if q.End(outcome) {
		c.spoiled.Store(true)
	}
}

// driverRows is what the driver's rows can do.
type driverRows interface {
	sqldriver.RowsNextResultSet
	sqldriver.RowsColumnTypeDatabaseTypeName
	sqldriver.RowsColumnTypeNullable
	sqldriver.RowsColumnTypePrecisionScale
	sqldriver.RowsColumnTypeScanType
}

// guardedRows are the rows of a statement, which runs until they are closed.
type guardedRows struct {
	driverRows
	conn  *connection
	query *guard.Query
	ctx   context.Context
	err   error // that ended them
	over  bool
}

func (r *guardedRows) Next(dest []sqldriver.Value) error {
	err := r.driverRows.Next(dest)
	if err != nil {
		r.err = err
	}
	return err
}

// Close ends the statement. If its caller went away it is killed: reading all that it still has to say could take for ever.
func (r *guardedRows) Close() error {
	if r.over {
		return r.driverRows.Close()
	}
	r.over = true
	if r.err == nil && r.ctx.Err() != nil {
		r.conn.end(r.ctx, r.query, r.ctx.Err())
		return r.driverRows.Close()
	}
	err := r.driverRows.Close()
	if r.err == nil || errors.Is(r.err, io.EOF) {
		r.conn.end(r.ctx, r.query, err)
		return err
	}
	r.conn.end(r.ctx, r.query, r.err)
	return err
}
