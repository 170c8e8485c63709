package failover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quipudb/quipu/cluster"
)

// lockPatience bounds the wait for another process to end what it does with a shard.
const lockPatience = 30 * time.Second

// hand is one process's hold on the failover of a shard: its lock, and the record under an epoch of its own. Whoever takes the shard in hand later
// makes every write of an earlier one fail.
type hand struct {
	*Keeper
	shard   string
	record  cluster.Failover
	version int32
	unlock  func()
}

// take takes a shard in hand.
func (k *Keeper) take(ctx context.Context, shard string) (*hand, error) {
	waiting, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	unlock, err := k.cfg.Store.Lock(waiting, "failover-"+shard)
	if err != nil {
		return nil, fmt.Errorf("take shard %s in hand: %w", shard, err)
	}
	h := &hand{Keeper: k, shard: shard, unlock: unlock}
	if h.record, h.version, err = k.cfg.Store.Failover(ctx, shard); err == nil {
		err = h.note(ctx, func(f *cluster.Failover) { f.Epoch, f.Owner = f.Epoch+1, k.cfg.Owner })
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("take shard %s in hand: %w", shard, err)
	}
	return h, nil
}

// note changes the record.
func (h *hand) note(ctx context.Context, change func(*cluster.Failover)) error {
	after := h.changed(change)
	version, err := h.cfg.Store.SetFailover(ctx, h.shard, after, h.version)
	if err != nil {
		return err
	}
	h.record, h.version = after, version
	return nil
}

// switchTo changes the record and the topology, both or none.
func (h *hand) switchTo(ctx context.Context, change func(*cluster.Failover), shard func(*cluster.Shard) error) error {
	after := h.changed(change)
	version, err := h.cfg.Store.SwitchTopology(ctx, h.shard, after, h.version, shard)
	if err != nil {
		return err
	}
	h.record, h.version = after, version
	return nil
}

// changed returns a changed copy of the record, which shares nothing with it that changes.
func (h *hand) changed(change func(*cluster.Failover)) cluster.Failover {
	after := h.record
	after.History = slices.Clone(after.History)
	if after.Intent != nil {
		intent := *after.Intent
		after.Intent = &intent
	}
	change(&after)
	return after
}

// done notes a step of the change that is under way.
func (h *hand) done(ctx context.Context, step cluster.FailoverStep, begun time.Time, more ...func(*cluster.Intent)) error {
	err := h.note(ctx, func(f *cluster.Failover) {
		f.Intent.Step = step
		for _, change := range more {
			change(f.Intent)
		}
	})
	if err == nil {
		h.tell(step, begun)
	}
	return err
}

func (h *hand) tell(step cluster.FailoverStep, begun time.Time) {
	took := h.cfg.Now().Sub(begun)
	h.metrics.phases.WithLabelValues(string(step)).Observe(took.Seconds())
	h.log.Info("changing a primary", "shard", h.shard, "step", step, "seconds", took.Seconds(), "epoch", h.record.Epoch)
	h.cfg.Progress(h.shard, string(step))
}

// database finds a database of the shard in the topology as it is now.
func (h *hand) databases(ctx context.Context, ids ...string) ([]cluster.Database, error) {
	topology, _, err := h.cfg.Store.Topology(ctx)
	if err != nil {
		return nil, err
	}
	shard, ok := topology.Shard(h.shard)
	if !ok {
		return nil, fmt.Errorf("the topology has no shard %q", h.shard)
	}
	var found []cluster.Database
	for _, id := range ids {
		d, ok := shard.Database(id)
		if !ok {
			return nil, fmt.Errorf("shard %s has no database %s", h.shard, id)
		}
		found = append(found, d)
	}
	return found, nil
}

// edit changes one database of a shard.
func edit(s *cluster.Shard, id string, change func(*cluster.Database)) error {
	i := slices.IndexFunc(s.Databases, func(d cluster.Database) bool { return d.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: shard %s has no database %s", cluster.ErrTopology, s.ID, id)
	}
	change(&s.Databases[i])
	return nil
}
