package zookeeper

import (
	"sync"

	"github.com/go-zookeeper/zk"
)

// sessionView is the state of the session at one moment.
type sessionView struct {
	conn      *zk.Conn // nil before the first connection
	id        int64    // of the last session, 0 before the first
	connected bool     // the session has a live connection
	connects  uint64   // grows with every connect and reconnect
	ended     bool     // the client has ended
	changed   <-chan struct{}
}

// sessionState follows the library's session events and hands watch events to listeners.
type sessionState struct {
	mu        sync.Mutex
	current   sessionView
	changed   chan struct{}
	listeners map[*listener]struct{}
}

// listener gets every watch event. It must not block and must not call ZooKeeper.
type listener struct{ event func(zk.Event) }

func newSessionState() *sessionState {
	s := &sessionState{changed: make(chan struct{}), listeners: map[*listener]struct{}{}}
	s.current.changed = s.changed
	return s
}

func (s *sessionState) view() sessionView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// update changes the state and wakes everybody who waits for a change.
func (s *sessionState) update(change func(*sessionView)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updateLocked(change)
}

func (s *sessionState) updateLocked(change func(*sessionView)) {
	change(&s.current)
	close(s.changed)
	s.changed = make(chan struct{})
	s.current.changed = s.changed
}

// connect opens a library connection. Its callbacks wait until it is known here.
func (s *sessionState) connect(dial func(zk.EventCallback) (*zk.Conn, <-chan zk.Event, error)) (*zk.Conn, <-chan zk.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, events, err := dial(s.onEvent)
	if err == nil {
		s.updateLocked(func(v *sessionView) { v.conn = conn })
	}
	return conn, events, err
}

func (s *sessionState) disconnect() {
	s.update(func(v *sessionView) { v.connected, v.conn = false, nil })
}

func (s *sessionState) end() {
	s.update(func(v *sessionView) { v.connected, v.conn, v.ended = false, nil, true })
}

// onEvent is called by the library's own goroutines, some of which hold its locks.
func (s *sessionState) onEvent(ev zk.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ev.Type != zk.EventSession {
		for l := range s.listeners {
			l.event(ev)
		}
		return
	}
	switch ev.State {
	case zk.StateHasSession:
		s.updateLocked(func(v *sessionView) {
			v.connected, v.id = true, v.conn.SessionID()
			v.connects++
		})
	case zk.StateDisconnected, zk.StateExpired:
		if s.current.connected {
			s.updateLocked(func(v *sessionView) { v.connected = false })
		}
	}
}

// listen hands watch events to event until the returned function is called.
func (s *sessionState) listen(event func(zk.Event)) (stop func()) {
	l := &listener{event}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[l] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
	}
}
