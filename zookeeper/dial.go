package zookeeper

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// hostList offers the servers in turn, by name: a name is looked up at every connect, so that a server may change its address.
type hostList struct {
	mu      sync.Mutex
	servers []string
	next    int
	tried   int // since the last success
}

func (h *hostList) Init(servers []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = servers
	return nil
}

func (h *hostList) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.servers)
}

// Next also tells whether every server has been tried: the library then pauses for a second.
func (h *hostList) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	server = h.servers[h.next%len(h.servers)]
	h.next++
	h.tried++
	return server, h.tried > len(h.servers) && h.tried%len(h.servers) == 1%len(h.servers)
}

func (h *hostList) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}

// boundedDialer remembers the latest connection and keeps the library from waiting for a silent server longer than limit:
// on its own it would wait for several session timeouts while it opens a session.
type boundedDialer struct {
	limit time.Duration

	mu     sync.Mutex
	closed bool
	last   net.Conn
}

func (d *boundedDialer) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.last = conn
	return &boundedConn{Conn: conn, limit: d.limit}, nil
}

// close closes the latest connection and refuses further ones.
func (d *boundedDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.last != nil {
		_ = d.last.Close()
	}
}

type boundedConn struct {
	net.Conn
	limit time.Duration
}

func (c *boundedConn) SetReadDeadline(t time.Time) error {
	return c.Conn.SetReadDeadline(c.bound(t))
}

func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.bound(t))
}

func (c *boundedConn) bound(t time.Time) time.Time {
	if latest := time.Now().Add(c.limit); t.After(latest) {
		return latest
	}
	return t
}

// libraryLog takes the library's own messages. Session.go reports what matters of them.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(format string, args ...any) {
	l.log.Debug("ZooKeeper library: " + fmt.Sprintf(format, args...))
}
