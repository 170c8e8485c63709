package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/zookeeper"
)

// owner is a process with leases.
type owner struct {
	*process
	*zookeeper.Leases
}

func (w *world) owner(id string, change ...func(*zookeeper.Config)) owner {
	w.t.Helper()
	p := w.start(change...)
	return owner{p, zookeeper.NewLeases(p.Client, id)}
}

// want asks until the lease is as expected.
func (o owner) want(t testing.TB, partition int, held bool, holder string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		gotHeld, gotHolder, err := o.TryAcquire(t.Context(), partition)
		if err != nil || gotHeld != held || gotHolder != holder {
			return fmt.Errorf("partition %d: got %t, %q, %v, want %t, %q", partition, gotHeld, gotHolder, err, held, holder)
		}
		return nil
	})
}

func TestLeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	const rivals = 5
	var held atomic.Int32
	var all sync.WaitGroup
	for i := range rivals {
		o := w.owner(fmt.Sprint("writer-", i))
		all.Go(func() {
			got, holder, err := o.TryAcquire(t.Context(), 3)
			if err != nil {
				t.Errorf("acquire: %v", err)
			}
			if got != (holder == fmt.Sprint("writer-", i)) {
				t.Errorf("got held %t by %q for writer-%d", got, holder, i)
			}
			if got {
				held.Add(1)
			}
		})
	}
	all.Wait()
	if got := held.Load(); got != 1 {
		t.Errorf("%d of %d hold the lease, want 1", got, rivals)
	}
}

func TestLeaseIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	a, b := w.owner("a"), w.owner("b")
	a.want(t, 0, true, "a")
	a.want(t, 0, true, "a")
	b.want(t, 0, false, "a")
	if err := b.Release(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	a.want(t, 0, true, "a") // the release of what one does not hold changed nothing
	if err := a.Release(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	b.want(t, 0, true, "b")
	b.stop() // in order: its leases go at once
	a.want(t, 0, true, "a")
}

// INV-10: disconnection is not expiry.
func TestLeaseOutlivesADisconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	a, b := w.owner("a"), w.owner("b")
	a.want(t, 1, true, "a")
	for range 2 {
		a.relay.Cut()
		testkit.Eventually(t, patience, func() error {
			if _, _, err := a.TryAcquire(t.Context(), 1); !errors.Is(err, zookeeper.ErrDisconnected) {
				return fmt.Errorf("got %v while cut off, want ErrDisconnected", err)
			}
			return nil
		})
		b.want(t, 1, false, "a")
		a.relay.Heal()
		a.want(t, 1, true, "a")
	}
}

func TestLeaseIsTakenOverFromTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	a, b := w.owner("a", brief), w.owner("b")
	a.want(t, 2, true, "a")
	a.relay.Cut()
	b.want(t, 2, true, "b")
	a.relay.Heal()
	a.want(t, 2, false, "b")
}

func TestLeaseIsTakenAgainInANewSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	a, b := w.owner("a", brief), w.owner("b")
	a.want(t, 2, true, "a")
	b.want(t, 5, true, "b")
	a.relay.Cut()
	w.awaitNoNode("leases/2/holder")
	a.relay.Heal()
	a.want(t, 2, true, "a")
	b.want(t, 2, false, "a")
	b.want(t, 5, true, "b")
}

// A process that starts anew under its old owner id does not wait for its old session to end, and takes nobody else's lease.
func TestLeaseOfAnEarlierLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t, shared.Address())
	before := w.owner("a")
	before.want(t, 4, true, "a")
	before.relay.Cut()
	start := time.Now()
	after, b := w.owner("a"), w.owner("b")
	b.want(t, 4, false, "a")
	after.want(t, 4, true, "a")
	if took := time.Since(start); took > longSession-5*time.Second {
		t.Errorf("taking the lease over from one's own past took %v: it waited for the session", took)
	}
	// The past's session ends now, in order: the present's holder must stay.
	before.relay.Heal()
	reconnected, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := before.WaitConnected(reconnected); err != nil {
		t.Fatal(err)
	}
	before.stop()
	b.want(t, 4, false, "a")
	after.want(t, 4, true, "a")
}
