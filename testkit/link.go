package testkit

import (
	"net"
	"sync"
	"testing"
	"time"
)

const (
	linkBuffer = 32 << 10 // bytes read at a time
	linkChunks = 64       // that are under way in one direction
)

// Link stands between a client and a server, and is what the network between them is: quick, slow, cut, or a hole into which everything falls.
// It listens from the beginning; where it leads may be said later. It is safe for concurrent use.
type Link struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	target  func() string
	weather weather
	changed chan struct{} // closed at the next change of the weather
	conns   map[*net.TCPConn]bool
	closed  bool
}

// weather is what happens to bytes and connections.
type weather struct {
	delay time.Duration // of each byte, one way
	hole  bool          // nothing arrives until that is over
	cut   bool          // there are no connections
}

// NewLink makes a link that is quick, and ends with the test.
func NewLink(t testing.TB) *Link {
	t.Helper()
	listener, err := net.Listen("tcp4", LoopbackAny)
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{listener: listener, target: func() string { return "" }, changed: make(chan struct{}), conns: map[*net.TCPConn]bool{}}
	l.done.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

// LoopbackAny is any free port of this machine.
const LoopbackAny = "127.0.0.1:0"

func (l *Link) close() {
	l.listener.Close()
	l.mu.Lock()
	l.closed = true
	l.dropLocked()
	l.mu.Unlock()
	l.set(weather{cut: true})
	l.done.Wait()
}

// Address is where the client connects to.
func (l *Link) Address() string { return l.listener.Addr().String() }

// URL is Address as the base of an HTTP server.
func (l *Link) URL() string { return "http://" + l.Address() }

// Lead says where the server is.
func (l *Link) Lead(target string) { l.LeadTo(func() string { return target }) }

// LeadTo says who knows where the server is. It is asked for every connection; nowhere is "".
func (l *Link) LeadTo(target func() string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
}

// Slow delays every byte, each way.
func (l *Link) Slow(delay time.Duration) { l.set(weather{delay: delay}) }

// Hole lets nothing arrive, nor tells anybody: connections stay, and new ones are made. What was sent arrives when the link is healed.
func (l *Link) Hole() { l.set(weather{hole: true}) }

// Reset resets the connections of this moment.
func (l *Link) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked()
}

// Cut resets the connections, and refuses new ones.
func (l *Link) Cut() {
	l.set(weather{cut: true})
	l.Reset()
}

// Heal makes the link quick again.
func (l *Link) Heal() { l.set(weather{}) }

func (l *Link) set(w weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather = w
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) dropLocked() {
	for c := range l.conns {
		_ = c.SetLinger(0) // a reset, not an end
		_ = c.Close()
	}
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.done.Go(func() { l.connect(client.(*net.TCPConn)) })
	}
}

// connect carries a client's connection on to the server.
func (l *Link) connect(client *net.TCPConn) {
	if !l.keep(client) || !l.passable(client) {
		l.drop(client)
		return
	}
	l.mu.Lock()
	target := l.target
	l.mu.Unlock()
	conn, err := net.Dial("tcp4", target())
	if err != nil {
		l.drop(client)
		return
	}
	server := conn.(*net.TCPConn)
	if !l.keep(server) {
		l.drop(client)
		l.drop(server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.carry(server, client) })
	both.Go(func() { l.carry(client, server) })
	both.Wait()
	l.drop(client)
	l.drop(server)
}

// keep notes a connection, unless there may be none.
func (l *Link) keep(c *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.weather.cut {
		_ = c.SetLinger(0)
	}
	l.conns[c] = true
	return !l.closed && !l.weather.cut
}

func (l *Link) drop(c *net.TCPConn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// passable waits while everything falls into a hole, and tells whether the connection still is.
func (l *Link) passable(c *net.TCPConn) bool {
	for {
		l.mu.Lock()
		w, changed, here := l.weather, l.changed, l.conns[c] && !l.closed
		l.mu.Unlock()
		if !w.hole || !here {
			return here && !w.cut
		}
		<-changed
	}
}

// chunk is bytes with the instant at which they came.
type chunk struct {
	bytes []byte
	came  time.Time
}

// carry takes bytes from one end to the other, each with the delay of its moment.
func (l *Link) carry(to, from *net.TCPConn) {
	under := make(chan chunk, linkChunks)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(under)
		for {
			buffer := make([]byte, linkBuffer)
			n, err := from.Read(buffer)
			if n > 0 {
				under <- chunk{buffer[:n], time.Now()}
			}
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	for c := range under {
		if !l.arrive(c, from) {
			break
		}
		if _, err := to.Write(c.bytes); err != nil {
			break
		}
	}
	_ = to.CloseWrite()
	_ = from.CloseRead()
	for range under { // let the reader end
	}
}

// arrive waits as long as the bytes are under way.
func (l *Link) arrive(c chunk, from *net.TCPConn) bool {
	l.mu.Lock()
	delay := l.weather.delay
	l.mu.Unlock()
	if left := time.Until(c.came.Add(delay)); delay > 0 && left > 0 {
		timer := time.NewTimer(left)
		<-timer.C
	}
	return l.passable(from)
}
