package archive

import (
	"time"

	"github.com/quipudb/quipu/wire"
)

// task is the piece of work that comes next; nil is none.
type task struct {
	name string // of the step, for logs and metrics

	resolution string
	unit       unit  // of "unit"
	day        int64 // of "late"
	merge      merge // of "merge"
}

// The steps.
const (
	stepForget = "forget"
	stepDrop   = "drop"
	stepUnit   = "unit"
	stepLate   = "late"
	stepSeal   = "seal"
	stepMerge  = "merge"
	stepSweep  = "sweep"
)

// Bounds of patience.
const (
	longestUndropped = 15               // drop delays that cold rows wait while more turn cold
	sweepInterval    = time.Hour        // unless the grace is shorter
	firstSeal        = 10 * time.Minute // after the start, when it is unknown when late rows were sealed last
)

// next chooses what to do.
func (a *Archiver) next(shard string, state *wire.ArchiveState, h *hints, now time.Time) *task {
	targets := a.targets(state, now)
	h.saw(state, targets, now)
	if len(state.Intents) > 0 {
		return &task{name: stepForget}
	}
	for _, choose := range []func(*wire.ArchiveState, wire.ArchiveMark, *resolutionHints, time.Time) *task{
		a.dropDue,
		func(s *wire.ArchiveState, m wire.ArchiveMark, r *resolutionHints, now time.Time) *task {
			return a.unitDue(s, m, r, now, targets[m.Resolution], a.groups(shard))
		},
		a.lateDue, a.sealDue,
	} {
		for _, mark := range state.Marks {
			r := h.resolutions[mark.Resolution]
			if r == nil {
				continue
			}
			if t := choose(state, mark, r, now); t != nil {
				return t
			}
		}
	}
	switch {
	case a.cfg.Until != nil:
		return nil
	case len(h.merges) > 0:
		return &task{name: stepMerge, resolution: h.merges[0].resolution, merge: h.merges[0]}
	case now.Sub(h.swept) >= min(sweepInterval, max(a.cfg.DeleteGrace, a.cfg.Interval)):
		return &task{name: stepSweep}
	}
	return nil
}

// dropDue: some time after the mark moved. While it goes on moving, the wait has an end: then it stands still until the drop.
func (a *Archiver) dropDue(state *wire.ArchiveState, mark wire.ArchiveMark, r *resolutionHints, now time.Time) *task {
	releasing := false
	for _, known := range state.Restored {
		releasing = releasing || known.Resolution == mark.Resolution && known.State == stateReleasing
	}
	releasing = releasing && now.Sub(r.droppedAt) >= a.cfg.Interval
	if releasing || !r.waiting.IsZero() && now.Sub(r.coldAt) >= a.cfg.DropDelay {
		return &task{name: stepDrop, resolution: mark.Resolution}
	}
	return nil
}

func (a *Archiver) unitDue(state *wire.ArchiveState, mark wire.ArchiveMark, r *resolutionHints, now time.Time, target int64, groups int) *task {
	u, ok := unitOf(state, mark, target, groups, r.smaller)
	if !ok {
		return nil
	}
	begun := u.frozen || a.cfg.Until != nil
	switch {
	case !r.waiting.IsZero() && now.Sub(r.waiting) >= longestUndropped*a.cfg.DropDelay && a.cfg.Until == nil:
		return nil
	case !begun && (looksEmpty(state, mark, target) || now.Sub(r.rowsAt) < a.cfg.Settle):
		return nil
	}
	return &task{name: stepUnit, resolution: mark.Resolution, unit: u}
}

// lateDue: the first cold day that has sealed late rows and no copy in the shard.
func (a *Archiver) lateDue(state *wire.ArchiveState, mark wire.ArchiveMark, _ *resolutionHints, _ time.Time) *task {
	for _, late := range state.Late {
		if late.Resolution == mark.Resolution && late.Sealed > 0 && late.Day+minutesOfDay <= mark.ColdBefore && !restored(state, late) {
			return &task{name: stepLate, resolution: mark.Resolution, day: late.Day}
		}
	}
	return nil
}

// sealDue: after a time, or when there are many late rows.
func (a *Archiver) sealDue(state *wire.ArchiveState, mark wire.ArchiveMark, r *resolutionHints, now time.Time) *task {
	open := int64(0)
	for _, late := range state.Late {
		if late.Resolution == mark.Resolution && !restored(state, late) {
			open += late.Rows - late.Sealed
		}
	}
	after := a.cfg.LateInterval
	switch {
	case a.cfg.Until != nil:
		after = 0
		if r.sealedBefore {
			return nil // once
		}
	case !r.sealedBefore:
		after = min(after, firstSeal)
	}
	if open == 0 || open < int64(a.cfg.FileRows) && now.Sub(r.sealed) < after {
		return nil
	}
	return &task{name: stepSeal, resolution: mark.Resolution}
}

// restored tells whether a day is in a range that was brought back, or is being: what is late for it stays with its copy.
func restored(state *wire.ArchiveState, late wire.LateRows) bool {
	for _, r := range state.Restored {
		if r.Resolution == late.Resolution && late.Day < r.To && r.From < late.Day+minutesOfDay {
			return true
		}
	}
	return false
}
