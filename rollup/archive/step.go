package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

const (
	stateReleasing = "releasing"
	stateStored    = "stored"
)

// State asks a shard how far its archive came.
func (a *Archiver) State(ctx context.Context, shard string) (*wire.ArchiveState, error) {
	state := &wire.ArchiveState{}
	if err := a.cfg.Shards.JSON(ctx, shard, wire.PathArchive, nil, state); err != nil {
		return nil, fmt.Errorf("ask shard %s for the state of its archive: %w", shard, err)
	}
	a.metrics.saw(shard, state, a.targets(state, a.cfg.Now()))
	return state, nil
}

// Due tells whether a shard has something to archive. It asks once an interval; between, and when the shard can't say, what it
// said before holds.
func (a *Archiver) Due(ctx context.Context, shard string) bool {
	h, now := a.of(shard), a.cfg.Now()
	if !h.looked.IsZero() && now.Sub(h.looked) < a.cfg.Interval {
		return h.due
	}
	h.looked, h.due = now, false
	state, err := a.State(ctx, shard)
	switch {
	case err == nil:
		h.due = a.next(shard, state, h, now) != nil
	case ctx.Err() == nil:
		a.metrics.failed(shard, "look")
		a.log.Warn("could not look for what to archive", "shard", shard, "error", err)
	}
	return h.due
}

// Step does what comes next as the leader of a shard, and tells whether there may be more to do at once.
func (a *Archiver) Step(ctx context.Context, shard string, leader wire.Leader) (more bool, err error) {
	h := a.of(shard)
	defer func() {
		if !more { // until the next look
			h.looked, h.due = a.cfg.Now(), false
		}
	}()
	state, err := a.State(ctx, shard)
	if err != nil {
		return false, err
	}
	t := a.next(shard, state, h, a.cfg.Now())
	if t == nil {
		return false, nil
	}
	begun := time.Now()
	if err := a.do(ctx, &lead{Archiver: a, shard: shard, leader: leader, hints: h}, state, t); err != nil {
		if ctx.Err() == nil {
			a.metrics.failed(shard, t.name)
		}
		return false, fmt.Errorf("%s: %w", t.name, err)
	}
	a.metrics.stepped(shard, t.name, time.Since(begun))
	return true, nil
}

// lead is an archiver that leads a shard.
type lead struct {
	*Archiver
	shard  string
	leader wire.Leader
	hints  *hints
}

func (a *Archiver) do(ctx context.Context, l *lead, state *wire.ArchiveState, t *task) error {
	switch t.name {
	case stepForget:
		return l.forgetIntents(ctx, state)
	case stepDrop:
		return l.drop(ctx, state, t.resolution)
	case stepUnit:
		return l.archive(ctx, t.unit)
	case stepLate:
		return l.archiveLate(ctx, t.resolution, t.day)
	case stepSeal:
		return l.seal(ctx, t.resolution)
	case stepMerge:
		l.hints.merges = l.hints.merges[1:] // whatever comes of it: the next sweep finds it again
		_, err := l.merge(ctx, t.merge)
		return err
	}
	return l.sweep(ctx)
}

// call asks the shard and rests.
func (l *lead) call(ctx context.Context, path string, in, out any) error {
	begun := time.Now()
	if err := l.cfg.Shards.JSON(ctx, l.shard, path, in, out); err != nil {
		return err
	}
	return shards.Rest(ctx, time.Since(begun), l.cfg.Pause)
}

// forgetIntents forgets what nobody will commit any more: no step is under way, and whoever led before is fenced. The objects, should there
// be any, are orphans from now on.
func (l *lead) forgetIntents(ctx context.Context, state *wire.ArchiveState) error {
	var objects []string
	for _, intent := range state.Intents {
		objects = append(objects, intent.Object)
	}
	if err := inParts(objects, func(part []string) error {
		return l.call(ctx, wire.PathArchiveForget, &wire.ArchiveIntent{Leader: l.leader, Objects: part}, &wire.Done{})
	}); err != nil {
		return fmt.Errorf("forget intents: %w", err)
	}
	l.log.Info("objects that were announced will not come; what is there of them is deleted later", "shard", l.shard, "objects", len(objects))
	return nil
}

// inParts hands over names in parts that one call takes.
func inParts(names []string, each func([]string) error) error {
	for len(names) > 0 {
		n := min(len(names), wire.MaxArchiveObjects)
		if err := each(names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// drop removes what is cold from the tables, a bounded part with each call.
func (l *lead) drop(ctx context.Context, state *wire.ArchiveState, resolution string) error {
	var total wire.ArchiveDropped
	for again := true; again; {
		var dropped wire.ArchiveDropped
		if err := l.call(ctx, wire.PathArchiveDrop, &wire.ArchiveDrop{Leader: l.leader, Resolution: resolution}, &dropped); err != nil {
			return fmt.Errorf("drop cold %s rows: %w", resolution, err)
		}
		total.Partitions, total.Rows, again = total.Partitions+dropped.Partitions, total.Rows+dropped.Rows, dropped.Again
	}
	for _, mark := range state.Marks {
		if mark.Resolution == resolution {
			l.hints.resolutions[resolution].dropped = mark.ColdBefore
		}
	}
	l.hints.resolutions[resolution].droppedAt = l.cfg.Now()
	l.log.Info("dropped what is in cold storage", "shard", l.shard, "resolution", resolution, "time_partitions", total.Partitions, "restored_rows", total.Rows)
	return nil
}

func (l *lead) seal(ctx context.Context, resolution string) error {
	var mark wire.ArchiveMark
	if err := l.call(ctx, wire.PathArchiveSeal, &wire.ArchiveSeal{Leader: l.leader, Resolution: resolution}, &mark); err != nil {
		return fmt.Errorf("seal late %s rows: %w", resolution, err)
	}
	r := l.hints.resolutions[resolution]
	r.sealed, r.sealedBefore = l.cfg.Now(), true
	return nil
}
