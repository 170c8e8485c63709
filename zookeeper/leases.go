package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
)

// acquireTries bounds how often TryAcquire looks again after somebody else moved the lease meanwhile.
const acquireTries = 4

// leasePatience bounds one request for a lease: whoever holds many must not be held up by each of them.
const leasePatience = 2 * time.Second

// Leases takes and gives back partitions for one owner. A lease lives as long as the session it was taken in, also while the
// connection is away. It spares two writers the same work; the epoch in the database is what keeps counts right.
type Leases struct {
	client *Client
	owner  string
}

// NewLeases returns the leases of an owner. No two live processes may use the same owner id: a holder with our id from an
// earlier session is taken to be our own past and is replaced.
func NewLeases(client *Client, ownerID string) *Leases {
	return &Leases{client: client, owner: ownerID}
}

// TryAcquire takes a partition's lease if nobody has it. Asking again while the current session holds it changes nothing.
// If somebody else has it, holder tells who. After an error nothing is known to have changed: a lease that was held stays held.
// It fails at once while there is no connection.
func (l *Leases) TryAcquire(ctx context.Context, partition int) (held bool, holder string, err error) {
	if partition < 0 {
		return false, "", fmt.Errorf("acquire lease: partition %d is negative", partition)
	}
	if !l.client.Connected() {
		return false, "", fmt.Errorf("acquire lease of partition %d: %w", partition, ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	for range acquireTries {
		state, err := l.look(ctx, partition)
		if err != nil {
			return false, "", fmt.Errorf("acquire lease of partition %d: %w", partition, err)
		}
		if state.held || (state.found && state.owner != l.owner) {
			return state.held, state.owner, nil
		}
		err = l.take(ctx, partition)
		if err != nil && !errors.Is(err, errLeaseMoved) {
			return false, "", fmt.Errorf("acquire lease of partition %d: %w", partition, err)
		}
	}
	return false, "", fmt.Errorf("acquire lease of partition %d: %w", partition, errLeaseMoved)
}

var errLeaseMoved = errors.New("lease changed hands meanwhile")

// leaseState is who holds a lease.
type leaseState struct {
	found bool
	held  bool // by us, in the current session
	owner string
}

func (l *Leases) look(ctx context.Context, partition int) (leaseState, error) {
	path := l.client.paths.holder(partition)
	state, err := call(ctx, l.client, func(conn *zk.Conn) (leaseState, error) {
		data, stat, err := conn.Get(path)
		if err != nil {
			return leaseState{}, err
		}
		owner := string(data)
		return leaseState{true, owner == l.owner && stat.EphemeralOwner == conn.SessionID(), owner}, nil
	})
	if errors.Is(err, zk.ErrNoNode) {
		return leaseState{}, nil
	}
	return state, err
}

// take makes us the holder if there is none, or only our own past. Whether it succeeded is for look to tell: the
// reply may be lost.
func (l *Leases) take(ctx context.Context, partition int) error {
	c := l.client
	lease, found, err := c.get(ctx, c.paths.lease(partition))
	if err != nil {
		return err
	}
	if !found {
		return l.makeLease(ctx, partition)
	}
	state, err := l.look(ctx, partition) // after the version was read: see LAYOUT.md
	if err != nil {
		return err
	}
	operations := []any{&zk.SetDataRequest{Path: c.paths.lease(partition), Data: []byte(l.owner), Version: lease.stat.Version}}
	switch {
	case state.held:
		return nil
	case state.found && state.owner != l.owner:
		return errLeaseMoved
	case state.found:
		operations = append(operations, &zk.DeleteRequest{Path: c.paths.holder(partition), Version: -1})
	}
	operations = append(operations, createRequest(c.paths.holder(partition), []byte(l.owner), zk.FlagEphemeral))
	err = c.multi(ctx, operations...)
	if errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNodeExists) || errors.Is(err, zk.ErrNoNode) {
		return errLeaseMoved
	}
	return err
}

func (l *Leases) makeLease(ctx context.Context, partition int) error {
	if err := l.client.ensureFolders(ctx); err != nil {
		return err
	}
	_, err := l.client.create(ctx, l.client.paths.lease(partition), nil, 0)
	if err != nil {
		return err
	}
	return errLeaseMoved
}

// Release gives a lease back if we hold it. It fails at once while there is no connection.
func (l *Leases) Release(ctx context.Context, partition int) error {
	if !l.client.Connected() {
		return fmt.Errorf("release lease of partition %d: %w", partition, ErrDisconnected)
	}
	ctx, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	state, err := l.look(ctx, partition)
	if err == nil && state.held {
		err = l.client.removeOwn(ctx, l.client.paths.holder(partition))
	}
	if err != nil {
		return fmt.Errorf("release lease of partition %d: %w", partition, err)
	}
	return nil
}
