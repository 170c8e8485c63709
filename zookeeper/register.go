package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/cluster"
)

// registerCheck is how often a registration is looked at without having been woken; retryRegister follows a failed try.
const (
	registerCheck = 30 * time.Second
	retryRegister = time.Second
)

// goodbye bounds the removal of a registration at the end.
const goodbye = 3 * time.Second

// Register announces a live process until ctx ends, again in every new session, and then removes it. It returns nil then. A
// node with this id from an earlier life of the process (the same URL) is replaced; another live process with this id is
// ErrMemberID, returned when its node has outlived the session timeout.
func (c *Client) Register(ctx context.Context, member cluster.Member) error {
	if err := checkName("member id", member.ID); err != nil {
		return fmt.Errorf("register member: %w", err)
	}
	data, err := json.Marshal(member)
	if err != nil {
		return fmt.Errorf("register member: %w", err)
	}
	r := &registration{client: c, member: member, data: data, path: c.paths.member(member.Role, member.ID)}
	err = r.run(ctx)
	if ctx.Err() != nil {
		r.leave(context.WithoutCancel(ctx))
		return nil
	}
	return fmt.Errorf("register %s %s: %w", member.Role, member.ID, err)
}

type registration struct {
	client *Client
	member cluster.Member
	data   []byte
	path   string

	watched    atomic.Bool // a one-shot watch is set
	takenSince time.Time   // since when somebody else's node has been in the way; zero when there is none
	failed     bool        // the last try failed: logged once
}

// run returns ctx's error or ErrMemberID or ErrClosed.
func (r *registration) run(ctx context.Context) error {
	events := make(chan struct{}, 1)
	stop := r.client.state.listen(func(ev zk.Event) {
		if ev.Path == r.path {
			r.watched.Store(false)
			wake(events)
		}
	})
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		state := r.client.state.view()
		if state.ended {
			return ErrClosed
		}
		again := registerCheck
		if state.connected {
			err := r.ensure(ctx)
			if errors.Is(err, ErrMemberID) {
				return err
			}
			again = r.next(err)
		} else {
			r.takenSince = time.Time{}
		}
		timer.Reset(again)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-state.changed:
		case <-events:
		case <-timer.C:
		}
	}
}

// next reports a failed try, once, and says when to try again.
func (r *registration) next(err error) time.Duration {
	if err == nil {
		r.failed = false
		if r.takenSince.IsZero() {
			return registerCheck
		}
		return retryRegister
	}
	if !r.failed {
		r.client.log.Warn("registering failed; trying on", "role", r.member.Role, "member", r.member.ID, "error", err)
	}
	r.failed = true
	return retryRegister
}

// errTaken is a node of this id that another session holds.
var errTaken = errors.New("node belongs to another session")

// ensure makes sure that the node is there, is of the current session and says what it should, and watches it.
func (r *registration) ensure(ctx context.Context) error {
	if err := r.client.ensureFolders(ctx); err != nil {
		return err
	}
	_, err := call(ctx, r.client, func(conn *zk.Conn) (struct{}, error) { return struct{}{}, r.claim(conn) })
	if errors.Is(err, errTaken) {
		return r.taken()
	}
	r.takenSince = time.Time{}
	return err
}

// claim is repeated after a lost connection: every step looks at what there is.
func (r *registration) claim(conn *zk.Conn) error {
	_, err := conn.Create(r.path, r.data, zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	if err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return err
	}
	found, stat, err := r.read(conn)
	switch {
	case err != nil:
		return err
	case stat.EphemeralOwner != conn.SessionID():
		return r.replace(conn, found, stat)
	case string(found) != string(r.data):
		_, err = conn.Set(r.path, r.data, stat.Version)
	}
	return err
}

// read sets the watch unless there is one still: the library keeps every watch that is asked for.
func (r *registration) read(conn *zk.Conn) ([]byte, *zk.Stat, error) {
	if !r.watched.CompareAndSwap(false, true) {
		return conn.Get(r.path)
	}
	data, stat, _, err := conn.GetW(r.path)
	if err != nil {
		r.watched.Store(false)
	}
	return data, stat, err
}

// replace deletes a node that an earlier life of this process left behind; the deletion's event makes run claim again.
func (r *registration) replace(conn *zk.Conn, data []byte, stat *zk.Stat) error {
	var other cluster.Member
	if err := json.Unmarshal(data, &other); err != nil || other.URL != r.member.URL {
		return errTaken
	}
	return conn.Delete(r.path, stat.Version)
}

// taken waits for the session of a process that is gone to end, before it calls its node a live one.
func (r *registration) taken() error {
	if r.takenSince.IsZero() {
		r.takenSince = time.Now()
	}
	if time.Since(r.takenSince) > 3*r.client.cfg.SessionTimeout {
		return ErrMemberID
	}
	return nil
}

// leave removes the node if it is ours.
func (r *registration) leave(ctx context.Context) {
	if !r.client.Connected() {
		return // the end of the session removes it
	}
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	if err := r.client.removeOwn(ctx, r.path); err != nil && !errors.Is(err, ErrClosed) {
		r.client.log.Warn("removing the registration failed; it goes with the session", "role", r.member.Role, "member", r.member.ID, "error", err)
	}
}
