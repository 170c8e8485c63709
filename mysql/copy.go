package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
)

// CopyProgress is told how far a copy came: after each portion of rows, and once more with done when a table is complete.
type CopyProgress func(table string, rows int64, done bool)

// copyRows bounds a statement of a copy, and copyBytes what it holds.
const (
	copyRows  = 1000
	copyBytes = 4 << 20
	// copyAttempts: a time partition that is made or dropped after the snapshot ends a copy of its table.
	copyAttempts = 3
)

// CopyFrom empties this server's schemas and fills them anew with what another server held at one instant, and makes it know that instant as its
// place in the shard's history. Nothing of it is in its binary log, which begins anew. Nobody else may write to it; it must be nobody's replica. A
// copy that was interrupted leaves a server that is no shard's: repeat it.
func (d *DB) CopyFrom(ctx context.Context, source *DB, schemas []string, progress CopyProgress) error {
	if !source.cfg.PlainTimes {
		return fmt.Errorf("copy from %s: its pool must leave times as they are", source.cfg.ID)
	}
	for attempt := 1; ; attempt++ {
		err := d.copyFrom(ctx, source, schemas, progress)
		if !errors.Is(err, errRetry) || attempt == copyAttempts {
			return err
		}
	}
}

func (d *DB) copyFrom(ctx context.Context, source *DB, schemas []string, progress CopyProgress) error {
	from, err := source.sql.Connx(ctx)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", source.cfg.ID, meaning(err))
	}
	defer discardAndClose(from)
	to, err := d.sql.Connx(ctx)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", d.cfg.ID, meaning(err))
	}
	defer discardAndClose(to)
	c := &copying{from: from, to: to, speaks: *source.dialect.Load(), progress: progress}
	if err := c.run(ctx, schemas); err != nil {
		return fmt.Errorf("copy %s to %s: %w", source.cfg.ID, d.cfg.ID, meaning(err))
	}
	return nil
}

// discardAndClose ends a connection whose session was changed.
func discardAndClose(conn *sqlx.Conn) {
	discard(conn)
	_ = conn.Close()
}

type copying struct {
	from, to *sqlx.Conn
	speaks   dialect
	progress CopyProgress
}

// object is a table or a view.
type object struct {
	Schema string `db:"TABLE_SCHEMA"`
	Name   string `db:"TABLE_NAME"`
	Type   string `db:"TABLE_TYPE"`
}

func (o object) quoted() string { return "`" + o.Schema + "`.`" + o.Name + "`" }

func (c *copying) run(ctx context.Context, schemas []string) error {
	if err := c.prepare(ctx); err != nil {
		return err
	}
	held, err := c.snapshot(ctx)
	if err != nil {
		return err
	}
	objects, err := c.objects(ctx, schemas)
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if err := execAll(ctx, c.to, "DROP DATABASE IF EXISTS `"+schema+"`", "CREATE DATABASE `"+schema+"` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"); err != nil {
			return err
		}
	}
	for _, o := range objects {
		if err := c.copy(ctx, o); err != nil {
			return fmt.Errorf("%s.%s: %w", o.Schema, o.Name, err)
		}
	}
	for _, s := range c.speaks.restart(held) {
		if _, err := c.to.ExecContext(ctx, s.text, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// snapshot begins a transaction that sees one instant, and returns what the server held then. Commits wait for it, a moment: where in the log a
// snapshot is the server can tell without that, but what it tells may be another session's (information_schema.SESSION_STATUS of MariaDB 10.11 is
// filled from variables that all sessions share).
func (c *copying) snapshot(ctx context.Context) (held Held, err error) {
	if err := execAll(ctx, c.from, "SET SESSION lock_wait_timeout = 5", "FLUSH TABLES WITH READ LOCK"); err != nil {
		return Held{}, err
	}
	if held, err = readHeld(ctx, c.from, c.speaks); err != nil {
		return Held{}, err
	}
	return held, execAll(ctx, c.from, "START TRANSACTION WITH CONSISTENT SNAPSHOT", "UNLOCK TABLES")
}

// prepare makes one session see one instant, and the other write without a trace in the binary log and without a bound for a statement.
func (c *copying) prepare(ctx context.Context) error {
	return errors.Join(
		execAll(ctx, c.from, append(c.speaks.unbounded(), "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")...),
		execAll(ctx, c.to, append(c.speaks.unbounded(), "SET SESSION sql_log_bin = 0", "SET SESSION foreign_key_checks = 0",
			"SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")...),
	)
}

func execAll(ctx context.Context, conn *sqlx.Conn, statements ...string) error {
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// objects lists tables before the views that read them, and those in the order of their names, which is that in which they were made to need
// each other.
func (c *copying) objects(ctx context.Context, schemas []string) ([]object, error) {
	query, args, err := sqlx.In(`SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES
WHERE TABLE_SCHEMA IN (?) ORDER BY TABLE_TYPE = 'VIEW', TABLE_SCHEMA, TABLE_NAME`, schemas)
	if err != nil {
		return nil, err
	}
	var all []object
	return all, c.from.SelectContext(ctx, &all, query, args...)
}

func (c *copying) copy(ctx context.Context, o object) error {
	if o.Type == "VIEW" {
		return c.copyView(ctx, o)
	}
	// Whoever makes time partitions, replication included, waits for the table that is being read alone, not for all that were.
	if err := execAll(ctx, c.from, "SAVEPOINT one_table"); err != nil {
		return err
	}
	if err := c.copyTable(ctx, o); err != nil {
		return err
	}
	return execAll(ctx, c.from, "ROLLBACK TO SAVEPOINT one_table")
}

func (c *copying) copyTable(ctx context.Context, o object) error {
	var name, create string
	if err := c.from.QueryRowContext(ctx, "SHOW CREATE TABLE "+o.quoted()).Scan(&name, &create); err != nil {
		return err
	}
	if err := execAll(ctx, c.to, "USE `"+o.Schema+"`", create); err != nil {
		return err
	}
	return c.copyRows(ctx, o)
}

// copyView makes a view. Views that read others may come before them by name, so one that can't be made yet is an error that names it; ours read
// tables alone.
func (c *copying) copyView(ctx context.Context, o object) error {
	var name, create, charset, collation string
	if err := c.from.QueryRowContext(ctx, "SHOW CREATE VIEW "+o.quoted()).Scan(&name, &create, &charset, &collation); err != nil {
		return err
	}
	return execAll(ctx, c.to, "USE `"+o.Schema+"`", create)
}

// columns lists those of a table that are stored as they are: generated ones are made anew.
func (c *copying) columns(ctx context.Context, o object) (names []string, err error) {
	err = c.from.SelectContext(ctx, &names, `SELECT CONCAT('`+"`', COLUMN_NAME, '`"+`') FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND GENERATION_EXPRESSION IS NULL OR TABLE_SCHEMA = ? AND TABLE_NAME = ? AND GENERATION_EXPRESSION = ''
ORDER BY ORDINAL_POSITION`, o.Schema, o.Name, o.Schema, o.Name)
	return names, err
}

func (c *copying) copyRows(ctx context.Context, o object) error {
	columns, err := c.columns(ctx, o)
	if err != nil {
		return err
	}
	list := strings.Join(columns, ", ")
	rows, err := c.from.QueryContext(ctx, "SELECT "+list+" FROM "+o.quoted())
	if err != nil {
		return err
	}
	defer rows.Close()
	into := "INSERT INTO " + o.quoted() + " (" + list + ") VALUES "
	text := []byte(into)
	var held int
	var copied int64
	flush := func() error {
		if held == 0 {
			return nil
		}
		if _, err := c.to.ExecContext(ctx, string(text)); err != nil {
			return err
		}
		copied += int64(held)
		held, text = 0, append(text[:0], into...)
		c.progress(o.Schema+"."+o.Name, copied, false)
		return nil
	}
	values, targets := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		if held > 0 {
			text = append(text, ',')
		}
		text = appendRow(text, values)
		if held++; held == copyRows || len(text) > copyBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(rows.Err(), flush()); err != nil {
		return err
	}
	c.progress(o.Schema+"."+o.Name, copied, true)
	return nil
}

// appendRow writes values as the server sends them: numbers and times as texts, which it reads back into their columns exactly.
func appendRow(text []byte, values []sql.RawBytes) []byte {
	text = append(text, '(')
	for i, v := range values {
		if i > 0 {
			text = append(text, ',')
		}
		switch {
		case v == nil:
			text = append(text, "NULL"...)
		default:
			text = append(text, '\'')
			text = appendEscaped(text, v)
			text = append(text, '\'')
		}
	}
	return append(text, ')')
}

func appendEscaped(text, value []byte) []byte {
	for _, b := range value {
		switch b {
		case 0:
			text = append(text, '\\', '0')
		case '\'', '\\':
			text = append(text, '\\', b)
		default:
			text = append(text, b)
		}
	}
	return text
}
