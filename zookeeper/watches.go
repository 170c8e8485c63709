package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-zookeeper/zk"
)

// watches keeps at most one one-shot watch a node and collects the nodes whose watch fired. A watch is set before or
// together with the read it guards, so a change is either in the read or in the collection.
type watches struct {
	woken chan struct{}

	mu    sync.Mutex
	armed map[string]bool
	fired map[string]bool
}

func newWatches() *watches {
	return &watches{woken: make(chan struct{}, 1), armed: map[string]bool{}, fired: map[string]bool{}}
}

// event takes a watch event, or the loss of a watch.
func (w *watches) event(ev zk.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed[ev.Path] {
		return
	}
	delete(w.armed, ev.Path)
	w.fired[ev.Path] = true
	wake(w.woken)
}

// take returns the nodes whose watch fired since the last call.
func (w *watches) take() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.fired
	w.fired = map[string]bool{}
	return out
}

// arm tells whether the caller has to set the node's watch.
func (w *watches) arm(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed[path] {
		return false
	}
	w.armed[path] = true
	return true
}

func (w *watches) disarm(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.armed, path)
}

// read reads a node under a watch, also when there is none: then the watch waits for its creation.
func (w *watches) read(ctx context.Context, c *Client, path string) (data []byte, found bool, err error) {
	if err := w.guard(ctx, c, path); err != nil {
		return nil, false, err
	}
	n, found, err := c.get(ctx, path)
	return n.data, found, err
}

// guard sets the watch for a node's creation, change and deletion.
func (w *watches) guard(ctx context.Context, c *Client, path string) error {
	if !w.arm(path) {
		return nil
	}
	_, err := call(ctx, c, func(conn *zk.Conn) (struct{}, error) {
		_, _, _, err := conn.ExistsW(path)
		return struct{}{}, err
	})
	if err != nil {
		w.disarm(path)
		return fmt.Errorf("watch node %s: %w", path, err)
	}
	return nil
}

// list lists a node's children under a watch, also when there is no such node.
func (w *watches) list(ctx context.Context, c *Client, path string) ([]string, error) {
	if !w.arm(path) {
		return c.children(ctx, path)
	}
	names, err := call(ctx, c, func(conn *zk.Conn) ([]string, error) {
		names, _, _, err := conn.ChildrenW(path)
		return names, err
	})
	if err == nil {
		return names, nil
	}
	w.disarm(path)
	if !errors.Is(err, zk.ErrNoNode) {
		return nil, fmt.Errorf("watch children of node %s: %w", path, err)
	}
	if err := w.guard(ctx, c, path); err != nil {
		return nil, err
	}
	return c.children(ctx, path)
}
