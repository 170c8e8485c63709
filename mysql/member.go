package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
)

// Held says in GTIDs which transactions a server holds.
type Held struct {
	Executed string // the last ones
	Logged   string // MariaDB: the last of each server that ever wrote, as the binary log knows them
}

// Link is a server's replication from another one.
type Link struct {
	Configured bool
	Host       string // whom it follows
	Port       int
	Receiving  bool   // connected, by its own account: a source that froze shows in Heard alone
	Connecting bool   // and trying to
	Applying   bool   // what was received is being executed
	Received   string // GTIDs up to which it has received
	Heard      string // differs from an earlier one if anything at all has come from the source since
	State      string // in the server's words
	ReceiveErr string
	Unreached  bool // ReceiveErr means that the source could not be reached, rather than that it refused
	ApplyErr   string
}

// Member is what a change of roles needs to know of one server of a shard.
type Member struct {
	ReadOnly      bool
	ClusterID     string
	ShardID       string
	Term          uint64
	SchemaVersion uint
	SchemaDirty   bool
	Checkpoints   []Checkpoint
	Held          Held
	Link          Link
}

// Member asks a server about itself. The account must see replication.
func (d *DB) Member(ctx context.Context) (*Member, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var m *Member
	err := d.onConn(ctx, func(conn *sqlx.Conn, speaks dialect) (err error) {
		m, err = readMember(ctx, conn, speaks)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask %s about itself: %w", d.cfg.ID, err)
	}
	return m, nil
}

// onConn runs work on one connection, whose dialect is known.
func (d *DB) onConn(ctx context.Context, work func(*sqlx.Conn, dialect) error) error {
	conn, err := d.sql.Connx(ctx)
	if err != nil {
		return meaning(err)
	}
	defer conn.Close()
	return meaning(work(conn, *d.dialect.Load()))
}

func readMember(ctx context.Context, conn *sqlx.Conn, speaks dialect) (*Member, error) {
	m := &Member{}
	row := conn.QueryRowContext(ctx, `SELECT @@GLOBAL.read_only, s.cluster_id, s.shard_id, s.term, v.version, v.dirty
FROM shard_state s JOIN schema_migrations v WHERE s.id = 1`)
	if err := row.Scan(&m.ReadOnly, &m.ClusterID, &m.ShardID, &m.Term, &m.SchemaVersion, &m.SchemaDirty); err != nil {
		return nil, absent(err)
	}
	if err := conn.SelectContext(ctx, &m.Checkpoints, "SELECT "+checkpointColumns+" FROM checkpoints WHERE owned ORDER BY partition_id"); err != nil {
		return nil, err
	}
	var err error
	if m.Held, err = readHeld(ctx, conn, speaks); err != nil {
		return nil, err
	}
	m.Link, err = readLink(ctx, conn, speaks)
	return m, err
}

func readHeld(ctx context.Context, conn *sqlx.Conn, speaks dialect) (held Held, err error) {
	if err := conn.QueryRowContext(ctx, speaks.held()).Scan(&held.Executed, &held.Logged); err != nil {
		return Held{}, err
	}
	at, err := parsePosition(held.Executed)
	if err == nil && len(at.sets) == 0 {
		held.Executed = at.headText()
	}
	return held, err
}

func readLink(ctx context.Context, conn *sqlx.Conn, speaks dialect) (Link, error) {
	status, err := oneRow(ctx, conn, speaks.sourceStatus())
	if err != nil || status == nil {
		return Link{}, err
	}
	c, s := speaks.replicaColumns(), speaks.sourceColumns()
	l := Link{
		Configured: status[s.host].String != "", Host: status[s.host].String,
		Receiving: status[c.receiving].String == "Yes", Connecting: status[c.receiving].String == "Connecting",
		Applying: status[c.applying].String == "Yes",
		Received: status[s.received].String, State: status[s.state].String,
		ReceiveErr: status[c.receiveError].String, ApplyErr: status[c.applyError].String,
	}
	if number, err := strconv.Atoi(status["Last_IO_Errno"].String); err == nil { // the same name in both dialects
		l.Unreached = number >= firstClientError && number <= lastClientError
	}
	if l.Port, err = strconv.Atoi(status[s.port].String); err != nil {
		return Link{}, fmt.Errorf("port of the source: %w", err)
	}
	heartbeats := status[s.heartbeats].String
	if query := speaks.heartbeats(); query != "" {
		if err := conn.QueryRowContext(ctx, query).Scan(&heartbeats); err != nil {
			return Link{}, err
		}
	}
	l.Heard = heartbeats + "/" + status[s.read].String + "/" + l.Received
	return l, nil
}

// Errors of the client library, which a replica is to its source: the connection failed. Those of servers have other numbers.
const (
	firstClientError = 2000
	lastClientError  = 2999
)

// SetReadOnly makes a server refuse writes, commits included, of all accounts but those with the right to, or accept them again. To refuse
// waits for the commits in progress.
func (d *DB) SetReadOnly(ctx context.Context, on bool) error {
	return d.run(ctx, "set read_only of", command{"SET GLOBAL read_only = " + onOff(on), nil})
}

// run executes statements on one connection.
func (d *DB) run(ctx context.Context, what string, statements ...command) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	err := d.onConn(ctx, func(conn *sqlx.Conn, _ dialect) error {
		for _, s := range statements {
			if _, err := conn.ExecContext(ctx, s.text, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, d.cfg.ID, err)
	}
	return nil
}

// runAs is run for statements of the server's dialect.
func (d *DB) runAs(ctx context.Context, what string, statements func(dialect) []command) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var list []command
	err := d.onConn(ctx, func(_ *sqlx.Conn, speaks dialect) error {
		list = statements(speaks)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, d.cfg.ID, err)
	}
	return d.run(ctx, what, list...)
}

// EndSessions ends the connections of some accounts, and with them their transactions, and returns how many there were and how many of them
// have not gone yet.
func (d *DB) EndSessions(ctx context.Context, users []string) (ended, left int, err error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	err = d.onConn(ctx, func(conn *sqlx.Conn, _ dialect) error {
		ids, err := sessionsOf(ctx, conn, users)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := conn.ExecContext(ctx, "KILL "+strconv.FormatUint(id, 10)); err != nil && !noThread(err) {
				return err
			}
		}
		ended = len(ids)
		ids, err = sessionsOf(ctx, conn, users)
		left = len(ids)
		return err
	})
	if err != nil {
		return ended, left, fmt.Errorf("end sessions on %s: %w", d.cfg.ID, err)
	}
	return ended, left, nil
}

// noThread tells whether a connection was gone before it was ended.
func noThread(err error) bool {
	e, ok := errors.AsType[*driver.MySQLError](err)
	return ok && e.Number == numNoSuchThread
}

func sessionsOf(ctx context.Context, conn *sqlx.Conn, users []string) (ids []uint64, err error) {
	query, args, err := sqlx.In("SELECT id FROM information_schema.PROCESSLIST WHERE user IN (?) AND id <> CONNECTION_ID()", users)
	if err != nil {
		return nil, err
	}
	return ids, conn.SelectContext(ctx, &ids, query, args...)
}

// StopFollowing ends replication; what was received and not executed stays.
func (d *DB) StopFollowing(ctx context.Context) error {
	return d.runAs(ctx, "stop replication of", func(speaks dialect) []command { return []command{{speaks.stopReplica(), nil}} })
}

// StartFollowing goes on with a replication that was stopped.
func (d *DB) StartFollowing(ctx context.Context) error {
	return d.runAs(ctx, "start replication of", func(speaks dialect) []command { return []command{{speaks.startReplica(), nil}} })
}

// ForgetSource ends replication for good: the server is nobody's replica then. What was received and not executed is dropped.
func (d *DB) ForgetSource(ctx context.Context) error {
	return d.runAs(ctx, "end replication of", func(speaks dialect) []command {
		return []command{{speaks.stopReplica(), nil}, {speaks.forgetSource(), nil}}
	})
}

// Follow makes a server the read-only replica of another one, from what it holds on. Repeating it does no harm.
func (d *DB) Follow(ctx context.Context, source string, s Source) (err error) {
	if s.Host, s.Port, err = hostAndPort(source); err != nil {
		return fmt.Errorf("make %s a replica: %w", d.cfg.ID, err)
	}
	m, err := d.held(ctx)
	if err != nil {
		return err
	}
	return d.runAs(ctx, "make a replica of", func(speaks dialect) []command {
		all := []command{{"SET GLOBAL read_only = 1", nil}, {speaks.stopReplica(), nil}}
		all = append(all, speaks.follow(s, m.Executed)...)
		return append(all, command{speaks.startReplica(), nil})
	})
}

func (d *DB) held(ctx context.Context) (held Held, err error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	err = d.onConn(ctx, func(conn *sqlx.Conn, speaks dialect) (err error) {
		held, err = readHeld(ctx, conn, speaks)
		return err
	})
	if err != nil {
		return Held{}, fmt.Errorf("read position of %s: %w", d.cfg.ID, err)
	}
	return held, nil
}

// AwaitExecuted waits until a server has executed everything up to a position, and tells whether it has; patience is bounded by the pool's
// longest statement.
func (d *DB) AwaitExecuted(ctx context.Context, position string, patience time.Duration) (done bool, err error) {
	if position == "" {
		return true, nil
	}
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	patience = min(patience, d.cfg.StatementTimeout/2)
	err = d.onConn(ctx, func(conn *sqlx.Conn, speaks dialect) error {
		var result int
		s := speaks.awaitPosition(position, patience)
		err := conn.QueryRowContext(ctx, s.text, s.args...).Scan(&result)
		done = err == nil && result == 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("await position %s of %s: %w", position, d.cfg.ID, err)
	}
	return done, nil
}

// RaiseTerm makes a shard's term at least this one: key ids that were learnt under an earlier one are dropped everywhere. It works on a
// read-only server if the account may write there.
func (d *DB) RaiseTerm(ctx context.Context, term uint64) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	err := retrying(ctx, func() error {
		return d.transaction(ctx, func(tx *transaction) error {
			if err := tx.exec(ctx, "UPDATE shard_state SET term = ? WHERE id = 1 AND term < ?", term, term); err != nil {
				return err
			}
			var stored uint64
			if err := tx.conn.GetContext(ctx, &stored, "SELECT term FROM shard_state WHERE id = 1"); err != nil {
				return absent(err)
			}
			if stored != term {
				return fmt.Errorf("its term is %d already, not %d: %w", stored, term, ErrTermChanged)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("raise the term of %s: %w", d.cfg.ID, err)
	}
	return nil
}
