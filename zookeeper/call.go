package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/internal/wait"
)

// retryPause is the least time between two tries of a call.
const retryPause = 50 * time.Millisecond

// call runs fn, again and again while the connection is lost on the way, until ctx or CallTimeout ends. As a lost call may
// have taken place, fn must bear to be repeated.
func call[T any](ctx context.Context, c *Client, fn func(*zk.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	for {
		out, err := try(ctx, c, fn)
		if err == nil || !connectionLost(err) {
			return out, err
		}
		if wait.For(ctx, retryPause) != nil {
			return out, fmt.Errorf("%w: %w", ErrTimeout, err)
		}
	}
}

// callOnce runs fn once. After an error that connectionLost knows, or ErrTimeout, it may still take place.
func callOnce[T any](ctx context.Context, c *Client, fn func(*zk.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	return try(ctx, c, fn)
}

// try waits for a connection and a slot and runs fn in a goroutine of its own, as the library knows no contexts. A call that
// is given up on goes on until the library answers; Run waits for it.
func try[T any](ctx context.Context, c *Client, fn func(*zk.Conn) (T, error)) (out T, err error) {
	conn, err := c.acquire(ctx)
	if err != nil {
		return out, err
	}
	type result struct {
		out T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer c.calls.Done()
		defer func() { <-c.slots }()
		out, err := fn(conn)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		c.count(r.err)
		return r.out, r.err
	case <-ctx.Done():
		c.metrics.calls.WithLabelValues("timeout").Inc()
		return out, fmt.Errorf("%w: %w", ErrTimeout, context.Cause(ctx))
	}
}

// acquire waits for a connection and a slot, and counts the call in.
func (c *Client) acquire(ctx context.Context) (*zk.Conn, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrTimeout, context.Cause(ctx))
	}
	for {
		if err := c.WaitConnected(ctx); err != nil {
			<-c.slots
			return nil, err
		}
		conn := c.state.view().conn
		if conn == nil {
			continue
		}
		if !c.begin() {
			<-c.slots
			return nil, ErrClosed
		}
		return conn, nil
	}
}

func (c *Client) count(err error) {
	switch {
	case err == nil:
		c.metrics.calls.WithLabelValues("ok").Inc()
	case connectionLost(err):
		c.metrics.calls.WithLabelValues("lost").Inc()
	default:
		c.metrics.calls.WithLabelValues("refused").Inc()
	}
}

// node is a node's content as read.
type node struct {
	data []byte
	stat zk.Stat
}

// get reads a node; found is false when there is none.
func (c *Client) get(ctx context.Context, path string) (n node, found bool, err error) {
	n, err = call(ctx, c, func(conn *zk.Conn) (node, error) {
		data, stat, err := conn.Get(path)
		if err != nil {
			return node{}, err
		}
		return node{data, *stat}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		return node{}, false, nil
	}
	if err != nil {
		return node{}, false, fmt.Errorf("read node %s: %w", path, err)
	}
	return n, true, nil
}

// children lists a node's children, none when it does not exist.
func (c *Client) children(ctx context.Context, path string) ([]string, error) {
	names, err := call(ctx, c, func(conn *zk.Conn) ([]string, error) {
		names, _, err := conn.Children(path)
		return names, err
	})
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return nil, fmt.Errorf("list node %s: %w", path, err)
	}
	return names, nil
}

// create makes a node; made is false when there is one already, which may be the work of a lost earlier try.
func (c *Client) create(ctx context.Context, path string, data []byte, flags int32) (made bool, err error) {
	_, err = call(ctx, c, func(conn *zk.Conn) (string, error) {
		return conn.Create(path, data, flags, zk.WorldACL(zk.PermAll))
	})
	if errors.Is(err, zk.ErrNodeExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create node %s: %w", path, err)
	}
	return true, nil
}

// multi carries out all operations or none.
func (c *Client) multi(ctx context.Context, operations ...any) error {
	_, err := call(ctx, c, func(conn *zk.Conn) ([]zk.MultiResponse, error) {
		return conn.Multi(operations...)
	})
	return err
}

// createRequest is a create operation of a multi.
func createRequest(path string, data []byte, flags int32) *zk.CreateRequest {
	return &zk.CreateRequest{Path: path, Data: data, Acl: zk.WorldACL(zk.PermAll), Flags: flags}
}
