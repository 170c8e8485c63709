package zookeeper

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
)

// maxDebris bounds what is remembered; beyond it a left-over stays until the session ends.
const maxDebris = 1000

// leftover names ephemeral nodes that nobody wants any more: the children of a folder whose names begin with a prefix.
type leftover struct{ folder, prefix string }

// debris remembers nodes whose removal failed, or whose creation may still take place after its caller went away, so that a
// process that lives on does not hold them for the rest of its session.
type debris struct {
	added chan struct{}

	mu    sync.Mutex
	nodes map[leftover]struct{}
}

func newDebris() *debris {
	return &debris{added: make(chan struct{}, 1), nodes: map[leftover]struct{}{}}
}

func (d *debris) add(l leftover) {
	d.mu.Lock()
	if len(d.nodes) < maxDebris {
		d.nodes[l] = struct{}{}
	}
	d.mu.Unlock()
	select {
	case d.added <- struct{}{}:
	default:
	}
}

func (d *debris) list() []leftover {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.nodes))
}

// sweep removes what is remembered. What fails is tried again at the next connect.
func (d *debris) sweep(ctx context.Context, c *Client) {
	for _, l := range d.list() {
		if err := c.sweepOne(ctx, l); err != nil {
			c.log.Warn("removing a left-over node failed; trying again at the next connect", "folder", l.folder, "error", err)
			return
		}
		d.mu.Lock()
		delete(d.nodes, l)
		d.mu.Unlock()
	}
}

func (c *Client) sweepOne(ctx context.Context, l leftover) error {
	names, err := c.children(ctx, l.folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, l.prefix) {
			continue
		}
		if err := c.removeOwn(ctx, l.folder+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// removeOwn deletes an ephemeral node if it is of the current session.
func (c *Client) removeOwn(ctx context.Context, path string) error {
	_, err := call(ctx, c, func(conn *zk.Conn) (struct{}, error) {
		_, stat, err := conn.Get(path)
		if err == nil && stat.EphemeralOwner == conn.SessionID() {
			err = conn.Delete(path, stat.Version)
		}
		if err == zk.ErrNoNode {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}
