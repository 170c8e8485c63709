package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of Config.
const (
	DefaultSessionTimeout = 10 * time.Second
	DefaultCallTimeout    = 10 * time.Second
	DefaultReplaceAfter   = time.Minute
)

// maxCalls bounds the calls in flight: those beyond it wait their turn.
const maxCalls = 64

// Config configures a Client. Zero durations mean the defaults.
type Config struct {
	Servers        []string // host:port of any number of servers of one ensemble
	Root           string   // DefaultRoot when empty
	SessionTimeout time.Duration
	CallTimeout    time.Duration // bound of one call, its retries included
	// ReplaceAfter is how long a connection may fail to get a session before a fresh one with a new session is tried.
	ReplaceAfter time.Duration
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.SessionTimeout <= 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	if c.CallTimeout <= 0 {
		c.CallTimeout = DefaultCallTimeout
	}
	if c.ReplaceAfter <= 0 {
		c.ReplaceAfter = DefaultReplaceAfter
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client holds one session. Nothing happens before Run; calls made earlier wait for it within their bound.
type Client struct {
	cfg     Config
	paths   paths
	log     *slog.Logger
	metrics *metrics
	state   *sessionState
	slots   chan struct{}
	debris  *debris

	foldersMade atomic.Bool

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

// New returns a client. It does no I/O.
func New(cfg Config) *Client {
	cfg = cfg.withDefaults()
	m := newMetrics(cfg.Registerer)
	return &Client{
		cfg: cfg, paths: newPaths(cfg.Root), log: cfg.Logger, metrics: m,
		state: newSessionState(), slots: make(chan struct{}, maxCalls), debris: newDebris(),
	}
}

// Run connects and keeps a session until ctx ends; then it ends the session, so that the ephemeral nodes go at once.
// It may be called once.
func (c *Client) Run(ctx context.Context) error {
	if len(c.cfg.Servers) == 0 {
		return errors.New("run ZooKeeper client: no servers are configured")
	}
	defer c.close()
	for ctx.Err() == nil {
		if err := c.runConnection(ctx); err != nil {
			return fmt.Errorf("run ZooKeeper client: %w", err)
		}
	}
	return nil
}

// close refuses further calls and waits for those in flight.
func (c *Client) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.state.end()
	c.calls.Wait()
}

// begin counts a call in, unless the client has ended.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.calls.Add(1)
	return true
}

// runConnection holds one library connection, which may go through many sessions, until ctx ends or it is stuck.
func (c *Client) runConnection(ctx context.Context) error {
	dialer := &boundedDialer{limit: c.cfg.SessionTimeout}
	conn, events, err := c.state.connect(func(callback zk.EventCallback) (*zk.Conn, <-chan zk.Event, error) {
		return zk.Connect(c.cfg.Servers, c.cfg.SessionTimeout,
			zk.WithHostProvider(&hostList{}), zk.WithDialer(dialer.dial), zk.WithEventCallback(callback),
			zk.WithLogger(libraryLog{c.log}), zk.WithLogInfo(false))
	})
	if err != nil {
		return err
	}
	c.watchSession(ctx)
	conn.Close()
	dialer.close()
	for range events { // closed when the library's loop has ended
	}
	c.state.disconnect()
	c.metrics.connected.Set(0)
	return nil
}

// watchSession returns when ctx ends, or when there has been no session for ReplaceAfter.
func (c *Client) watchSession(ctx context.Context) {
	stuck := time.NewTimer(c.cfg.ReplaceAfter)
	defer stuck.Stop()
	var last sessionView
	for {
		now := c.state.view()
		c.observe(last, now)
		if now.connected != last.connected {
			stuck.Reset(c.cfg.ReplaceAfter)
		}
		last = now
		if now.connected {
			c.debris.sweep(ctx, c)
		}
		select {
		case <-ctx.Done():
			return
		case <-now.changed:
		case <-c.debris.added:
		case <-stuck.C:
			if !now.connected {
				c.log.Warn("replacing the ZooKeeper connection: no session for long", "after", c.cfg.ReplaceAfter)
				return
			}
		}
	}
}

func (c *Client) observe(last, now sessionView) {
	switch {
	case now.connected && now.id != last.id:
		c.foldersMade.Store(false) // of a server that may have lost its data
		c.metrics.sessions.Inc()
		c.metrics.connected.Set(1)
		c.log.Info("ZooKeeper session opened", "session", now.id)
	case now.connected && !last.connected:
		c.metrics.connected.Set(1)
		c.log.Info("ZooKeeper reconnected", "session", now.id)
	case !now.connected && last.connected:
		c.metrics.disconnects.Inc()
		c.metrics.connected.Set(0)
		c.log.Warn("ZooKeeper connection lost; going on with what is known", "session", last.id)
	}
}

// WaitConnected returns when there is a session with a live connection.
func (c *Client) WaitConnected(ctx context.Context) error {
	for {
		v := c.state.view()
		switch {
		case v.ended:
			return ErrClosed
		case v.connected:
			return nil
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return fmt.Errorf("%w (servers %v): %w", ErrDisconnected, c.cfg.Servers, context.Cause(ctx))
		}
	}
}

// Connected tells whether there is a session with a live connection just now.
func (c *Client) Connected() bool { return c.state.view().connected }
