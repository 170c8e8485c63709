package rawarchive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// ErrLog says that the log is not the one that was archived: it ends before the archive does.
var ErrLog = errors.New("the log ends before what was archived of it")

// lock waits a moment for a partition. It is no error if another one has it.
func (a *Archiver) lock(ctx context.Context, partition int) (unlock func(), free bool, err error) {
	short, cancel := context.WithTimeout(ctx, a.cfg.Patience)
	defer cancel()
	unlock, err = a.cfg.Lock(short, fmt.Sprintf("raw-archive-%04d", partition))
	if err != nil {
		if short.Err() != nil && ctx.Err() == nil {
			a.log.Debug("another one archives this partition", "partition", partition, "error", err)
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("lock partition %d: %w", partition, err)
	}
	return unlock, true, nil
}

// work archives what is due of a partition, under its lock.
func (a *Archiver) work(ctx context.Context, partition int, expire bool) error {
	// First the log, then the objects: what was trimmed between the two is among the objects.
	hold, err := a.cfg.Log.Hold(ctx)
	if err != nil {
		return err
	}
	if partition >= len(hold.Partitions) {
		return fmt.Errorf("partition %d of %d: %w", partition, len(hold.Partitions), eventlog.ErrNoPartition)
	}
	state := hold.Partitions[partition]
	names, err := a.names(ctx, partition)
	if err != nil {
		return err
	}
	at, err := a.resume(hold, state, names)
	if err != nil {
		return err
	}
	if err := a.tell(ctx, hold, &state, at); err != nil {
		return err
	}
	if expire {
		if err := a.expire(ctx, hold.Incarnation, names); err != nil {
			return err
		}
	}
	return a.catchUp(ctx, hold, state, at)
}

// names lists the objects of a partition.
func (a *Archiver) names(ctx context.Context, partition int) ([]rawfile.Name, error) {
	var names []rawfile.Name
	for object, err := range a.cfg.Store.List(ctx, rawfile.PartitionPrefix(partition)) {
		if err != nil {
			return nil, fmt.Errorf("list raw events of partition %d: %w", partition, err)
		}
		if name, err := rawfile.ParseName(object.Name); err == nil {
			names = append(names, name)
		} else {
			a.log.Debug("a strange object lies among the raw events", "name", object.Name)
		}
	}
	return names, nil
}

// resume returns where a partition goes on: where its objects end.
func (a *Archiver) resume(hold *wire.LogHold, p wire.LogHeldPartition, names []rawfile.Name) (uint64, error) {
	covered := rawfile.Cover(rawfile.OfLog(names, hold.Incarnation))
	switch {
	case covered.Next == 0:
		if p.First > 1 {
			a.log.Info("the archive of raw events begins here: nothing of this log was archived before", "partition", p.Partition, "offset", p.First)
		}
		return p.First, nil
	case covered.Next > p.Next:
		return 0, fmt.Errorf("archived is what lies before offset %d, the log %s ends at %d: %w", covered.Next, hold.Incarnation, p.Next, ErrLog)
	case covered.Next < p.First:
		a.metrics.gaps.Inc()
		a.metrics.missing.Add(float64(p.First - covered.Next))
		a.log.Error("raw events are missing in the archive for good: the log was trimmed before they were archived",
			"partition", p.Partition, "archived_before", covered.Next, "log_begins", p.First)
		return p.First, nil
	}
	return covered.Next, nil
}

// tell says how far the archive came, unless the log knows.
func (a *Archiver) tell(ctx context.Context, hold *wire.LogHold, p *wire.LogHeldPartition, before uint64) error {
	if p.Archived >= before {
		return nil
	}
	err := a.cfg.Log.Archived(ctx, wire.LogArchived{Incarnation: hold.Incarnation, Partition: p.Partition, Before: before})
	if err == nil {
		p.Archived = before
	}
	return err
}

// catchUp writes objects until what is left is young. It never follows the log beyond where it ended at the beginning.
func (a *Archiver) catchUp(ctx context.Context, hold *wire.LogHold, p wire.LogHeldPartition, at uint64) error {
	for at < p.Next {
		age, any, err := a.age(ctx, hold, p.Partition, at)
		if err != nil || !any || age < a.after(hold) {
			return err
		}
		begun := a.cfg.Now()
		done, err := a.object(ctx, hold, p, at)
		if errors.Is(err, eventlog.ErrTrimmed) {
			a.log.Info("another one archived this partition meanwhile", "partition", p.Partition, "offset", at)
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive raw events from offset %d on: %w", at, err)
		}
		took := a.cfg.Now().Sub(begun)
		a.metrics.seconds.Observe(took.Seconds())
		a.log.Info("raw events archived", "partition", p.Partition, "offset", done.First, "next", done.Next, "seconds", took.Seconds())
		at = done.Next
		if err := a.tell(ctx, hold, &p, at); err != nil {
			return err
		}
	}
	a.metrics.lagged(p.Partition, 0)
	return nil
}

// expire deletes the objects whose day is too long ago, the oldest first, so that what stays has no gaps. The newest of this log stays.
func (a *Archiver) expire(ctx context.Context, incarnation string, names []rawfile.Name) error {
	newest := rawfile.Cover(rawfile.OfLog(names, incarnation)).Next
	oldest := a.cfg.Now().Add(-a.cfg.Keep-24*time.Hour).Unix() / 60
	for _, n := range rawfile.InOrder(names) {
		if n.Date > oldest || n.Incarnation == incarnation && n.Next == newest {
			continue
		}
		object, err := n.Object()
		if err == nil {
			err = a.cfg.Store.Delete(ctx, object)
		}
		if err != nil {
			return fmt.Errorf("delete raw events that are too old: %w", err)
		}
		a.metrics.expired.Inc()
		a.log.Info("raw events deleted as too old", "name", object, "keep", a.cfg.Keep)
	}
	return nil
}
