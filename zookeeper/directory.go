package zookeeper

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// Directory follows the cluster and keeps what it knows at hand, in memory and on disk. Settings, topology and event types never
// disappear once known. A member disappears when a read succeeds without it. While the connection is away it stays, and also for one session
// timeout after it came back unless it was seen since: others may need that long to register again.
type Directory struct {
	client  *Client
	file    snapshotFile
	log     *slog.Logger
	watches *watches

	snapshot atomic.Pointer[cluster.Snapshot]
	types    atomic.Pointer[map[string]event.Type]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
}

// NewDirectory returns a directory that keeps its last snapshot in the file cachePath, or nowhere when that is empty. It does no I/O.
func NewDirectory(client *Client, cachePath string) *Directory {
	return &Directory{
		client: client, file: snapshotFile{cachePath}, log: client.log,
		watches: newWatches(), changed: make(chan struct{}),
	}
}

// Snapshot returns the last known state, nil until there is one. It never waits.
func (d *Directory) Snapshot() *cluster.Snapshot { return d.snapshot.Load() }

// EventTypes returns the registered event types by name, as last known, nil as long as they are not. The map is shared: it must not be
// changed.
func (d *Directory) EventTypes() map[string]event.Type {
	if types := d.types.Load(); types != nil {
		return *types
	}
	return nil
}

// Changed returns a channel that is closed at the next change of the snapshot or the event types. Take it before reading them.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// WaitReady returns when there is a snapshot.
func (d *Directory) WaitReady(ctx context.Context) error {
	for {
		changed := d.Changed()
		if d.Snapshot() != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster's snapshot: %w", context.Cause(ctx))
		}
	}
}

// Run follows the cluster until ctx ends. Other errors come at its start only: a snapshot file that may not be read, or
// ErrOtherCluster. Another cluster that turns up later is refused: what is known stays in use. It may be called once.
func (d *Directory) Run(ctx context.Context) error {
	f := &follower{directory: d, client: d.client, known: newKnown(), dirty: allGroups()}
	if err := f.load(); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	stop := d.client.state.listen(d.watches.event)
	defer stop()
	f.schedule.resync = time.Now().Add(resync)
	timer := time.NewTimer(resync)
	defer timer.Stop()
	for {
		state := d.client.state.view()
		if state.ended {
			return nil
		}
		f.connection(state)
		if state.connected {
			if err := f.refresh(ctx); err != nil {
				return fmt.Errorf("run directory: %w", err)
			}
		}
		timer.Reset(f.schedule.wait(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-state.changed:
		case <-d.watches.woken:
		case <-timer.C:
			f.elapsed()
		}
	}
}

// publish makes what is known visible if it differs from what was.
func (d *Directory) publish(k *known) (changed bool) {
	old := d.snapshot.Load()
	next := k.snapshot()
	if next != nil && (old == nil || !sameSnapshot(old, next)) {
		next.Version = 1
		if old != nil {
			next.Version = old.Version + 1
		}
		d.snapshot.Store(next)
		d.observe(next)
		changed = true
	}
	if old := d.types.Load(); k.typesRead && (old == nil || !maps.Equal(*old, k.types)) {
		types := maps.Clone(k.types)
		d.types.Store(&types)
		changed = true
	}
	if changed {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.changed)
		d.changed = make(chan struct{})
	}
	return changed
}

func (d *Directory) observe(s *cluster.Snapshot) {
	d.client.metrics.version.Set(float64(s.Version))
	for _, role := range cluster.Roles() {
		d.client.metrics.members.WithLabelValues(string(role)).Set(float64(len(s.Members[role])))
	}
}
