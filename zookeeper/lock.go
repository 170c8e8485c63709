package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/google/uuid"
)

// lockPoll is how often a waiting Lock looks again without having been woken.
const lockPoll = 5 * time.Second

// Lock waits until it alone holds the named lock, or ctx ends. Whoever asked first gets it first. unlock gives it back; if
// ZooKeeper is away just then, at the next connect.
//
// A lock is worth as much as its session: a process that is cut off for longer than the session timeout loses it without
// being told. What is done under it must also be safe on its own.
func (c *Client) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := checkName("lock", name); err != nil {
		return nil, err
	}
	l := &lockWait{client: c, folder: c.paths.lock(name)}
	if err := c.ensureFolders(ctx); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if _, err := c.create(ctx, l.folder, nil, 0); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if err := l.acquire(ctx); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { l.release(context.WithoutCancel(ctx)) }, nil
}

// lockWait is one place in a lock's line. Its node is <token>-<sequence>; a new session needs a new one.
type lockWait struct {
	client *Client
	folder string
	token  string
}

func (l *lockWait) acquire(ctx context.Context) error {
	events := make(chan struct{}, 1)
	stop := l.client.state.listen(func(ev zk.Event) {
		if strings.HasPrefix(ev.Path, l.folder+"/") {
			wake(events)
		}
	})
	defer stop()
	for {
		state := l.client.state.view()
		held, err := l.look(ctx)
		if held {
			return nil
		}
		if err != nil && (ctx.Err() != nil || !connectionLost(err) && !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrTimeout)) {
			l.leave()
			return err
		}
		if err := l.wait(ctx, state, events); err != nil {
			l.leave()
			return err
		}
	}
}

func (l *lockWait) wait(ctx context.Context, state sessionView, events <-chan struct{}) error {
	poll := time.NewTimer(lockPoll)
	defer poll.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-state.changed:
	case <-events:
	case <-poll.C:
	}
	return nil
}

// look takes a place in the line if there is none, and tells whether it is the first. If not, it watches the one before.
func (l *lockWait) look(ctx context.Context) (held bool, err error) {
	names, err := l.client.children(ctx, l.folder)
	if err != nil {
		return false, err
	}
	own := slices.IndexFunc(names, func(n string) bool { return l.token != "" && strings.HasPrefix(n, l.token) })
	if own < 0 {
		if err := l.join(ctx); err != nil {
			return false, err
		}
		return l.look(ctx)
	}
	before, found := predecessor(names, names[own])
	if !found {
		return l.confirm(ctx, names[own])
	}
	exists, err := call(ctx, l.client, func(conn *zk.Conn) (bool, error) {
		exists, _, _, err := conn.ExistsW(path.Join(l.folder, before))
		return exists, err
	})
	if err == nil && !exists {
		return l.look(ctx)
	}
	return false, err
}

// confirm tells whether the first place is ours in the current session. One of an earlier session is about to go.
func (l *lockWait) confirm(ctx context.Context, name string) (bool, error) {
	current, err := call(ctx, l.client, func(conn *zk.Conn) (bool, error) {
		_, stat, err := conn.Get(path.Join(l.folder, name))
		return err == nil && stat.EphemeralOwner == conn.SessionID(), err
	})
	if err == nil && !current || errors.Is(err, zk.ErrNoNode) {
		l.token = ""
		return l.look(ctx)
	}
	return current, err
}

// join creates the node of this place. After a failure it may still come to be: then it is swept away, under its own token.
func (l *lockWait) join(ctx context.Context) error {
	token := uuid.NewString()
	left := leftover{l.folder, token}
	var abandoned atomic.Bool
	_, err := callOnce(ctx, l.client, func(conn *zk.Conn) (string, error) {
		defer func() {
			if abandoned.Load() {
				l.client.debris.add(left)
			}
		}()
		return conn.Create(l.folder+"/"+token+"-", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
	})
	if err != nil {
		abandoned.Store(true)
		l.client.debris.add(left)
		return fmt.Errorf("join line: %w", err)
	}
	l.token = token
	return nil
}

// leave gives up the place.
func (l *lockWait) leave() {
	if l.token != "" {
		l.client.debris.add(leftover{l.folder, l.token})
	}
}

func (l *lockWait) release(ctx context.Context) {
	left := leftover{l.folder, l.token}
	if !l.client.Connected() {
		l.client.debris.add(left)
		return
	}
	if err := l.client.sweepOne(ctx, left); err != nil {
		l.client.debris.add(left)
	}
}

// predecessor returns the name with the largest sequence below that of own.
func predecessor(names []string, own string) (name string, found bool) {
	limit, best := sequence(own), int64(-1)
	for _, n := range names {
		if s := sequence(n); s < limit && s > best {
			name, best, found = n, s, true
		}
	}
	return name, found
}

// sequence returns the number that ZooKeeper appended to a name, −1 if there is none.
func sequence(name string) int64 {
	n, err := strconv.ParseInt(name[strings.LastIndexByte(name, '-')+1:], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// wake leaves a signal in a channel of capacity one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
