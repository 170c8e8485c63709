package mysql

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"

	"github.com/quipudb/quipu/mysql/guard"
)

// Config describes a pool of one account's connections to one database. Zero values give the defaults named here.
type Config struct {
	ID       string // of the database, for messages: "s1-a"
	Address  string // host:port
	User     string
	Password string
	Schema   string // "quipu"
	TLS      string // "", "true", "skip-verify" or "preferred"

	ReadOnly         bool          // the sessions refuse to write, and a transaction is one snapshot
	MaxConnections   int           // 8
	MaxLifetime      time.Duration // of a connection; 30 minutes
	MaxIdle          time.Duration // of an unused connection; 5 minutes
	DialTimeout      time.Duration // 3 s
	StatementTimeout time.Duration // the most for any statement, and for a call without a deadline; 30 s
	LockWait         time.Duration // the most to wait for a lock; 5 s

	// Guard is told of every statement, and ends those that run too long. Optional. Class is what they are for unless their context says
	// otherwise; guard.Admin, or guard.Write for pools that are not ReadOnly.
	Guard *guard.Guard
	Class guard.Class

	// PlainTimes leaves times as the server writes them.
	PlainTimes bool

	// Dial replaces the TCP dialer. Optional.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

func (c Config) withDefaults() Config {
	c.Schema = defaultTo(c.Schema, "quipu")
	c.MaxConnections = defaultTo(c.MaxConnections, 8)
	c.MaxLifetime = defaultTo(c.MaxLifetime, 30*time.Minute)
	c.MaxIdle = defaultTo(c.MaxIdle, 5*time.Minute)
	c.DialTimeout = defaultTo(c.DialTimeout, 3*time.Second)
	c.StatementTimeout = defaultTo(c.StatementTimeout, 30*time.Second)
	c.LockWait = defaultTo(c.LockWait, 5*time.Second)
	if c.Class == "" && !c.ReadOnly {
		c.Class = guard.Write
	}
	c.Class = defaultTo(c.Class, guard.Admin)
	return c
}

func defaultTo[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (c Config) driverConfig() *driver.Config {
	d := driver.NewConfig()
	d.User, d.Passwd, d.Net, d.Addr, d.DBName = c.User, c.Password, "tcp", c.Address, c.Schema
	d.Timeout, d.TLSConfig = c.DialTimeout, c.TLS
	d.ParseTime, d.Loc = !c.PlainTimes, time.UTC
	d.ClientFoundRows = true   // a compare-and-set that changes nothing still matched
	d.InterpolateParams = true // one round trip a statement
	d.Logger = &driver.NopLogger{}
	if c.Dial != nil {
		d.DialFunc = func(ctx context.Context, _, address string) (net.Conn, error) { return c.Dial(ctx, address) }
	}
	return d
}

// DSN returns the data source name of the account, for package migrations.
func (c Config) DSN() string {
	c.Dial = nil
	return c.withDefaults().driverConfig().FormatDSN()
}

// DB is a bounded pool of prepared connections.
type DB struct {
	cfg     Config
	sql     *sqlx.DB
	dialect atomic.Pointer[dialect]   // known since the first connection
	placed  atomic.Pointer[placement] // as last seen
	killer  *killer                   // with a guard
}

// Open makes a pool. It does no I/O.
func Open(cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	inner, err := driver.NewConnector(cfg.driverConfig())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.ID, err)
	}
	db := &DB{cfg: cfg}
	pool := sql.OpenDB(&connector{Connector: inner, db: db})
	pool.SetMaxOpenConns(cfg.MaxConnections)
	pool.SetMaxIdleConns(cfg.MaxConnections)
	pool.SetConnMaxLifetime(cfg.MaxLifetime)
	pool.SetConnMaxIdleTime(cfg.MaxIdle)
	db.sql = sqlx.NewDb(pool, "mysql")
	if cfg.Guard != nil {
		db.killer, err = newKiller(cfg)
	}
	return db, err
}

// ID returns the database's id.
func (d *DB) ID() string { return d.cfg.ID }

// PoolStats returns what the pool is doing.
func (d *DB) PoolStats() sql.DBStats { return d.sql.Stats() }

// Close closes the pool and waits for the statements in flight.
func (d *DB) Close() error {
	err := d.sql.Close()
	if d.killer != nil {
		err = errors.Join(err, d.killer.db.Close())
	}
	return err
}

// connector prepares each new connection for its dialect.
type connector struct {
	sqldriver.Connector
	db *DB
}

func (c *connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	prepared, err := c.prepare(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return prepared, nil
}

func (c *connector) prepare(ctx context.Context, conn sqldriver.Conn) (*connection, error) {
	out := &connection{driverConn: conn.(driverConn), db: c.db}
	if err := out.greet(ctx); err != nil {
		return nil, fmt.Errorf("read what server it is: %w", err)
	}
	cfg := c.db.cfg
	settings := sessionSettings{readOnly: cfg.ReadOnly, statement: cfg.StatementTimeout, lockWait: cfg.LockWait, idle: cfg.StatementTimeout}
	for _, statement := range out.dialect.session(settings) {
		if _, err := out.driverConn.ExecContext(ctx, statement, nil); err != nil {
			return nil, fmt.Errorf("prepare session: %w", err)
		}
	}
	chosen := out.dialect
	c.db.dialect.Store(&chosen)
	return out, nil
}

// bounded gives a call its deadline: its own, or that of the pool.
func (d *DB) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.cfg.StatementTimeout)
}

// selecting returns a SELECT that the server ends a little before ctx does, so that it is not left running. It needs a connection
// to have been made: pass one of this pool.
func (d *DB) selecting(ctx context.Context, selected string) string {
	left := d.cfg.StatementTimeout
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return (*d.dialect.Load()).limit(left-left/10, selected)
}
