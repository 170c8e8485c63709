package rollup

import (
	"context"
	"fmt"
	"time"

	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

const (
	minutesOfHour = 60
	minutesOfDay  = 24 * 60
	minuteSeconds = 60

	prunesInARow = 100 // steps that only prune ranked lists, before the archive gets its turn
)

// RunOnce rolls up one shard as far as what ended before an instant allows, and archives what is due, once. It is fenced should another
// one take over.
func (r *Roller) RunOnce(ctx context.Context, shard string, until time.Time) error {
	return r.round(ctx, shard, func() time.Time { return until })
}

// Lead does some work as the leader of a shard: alone, and fenced should another one take over.
func (r *Roller) Lead(ctx context.Context, shard string, work func(context.Context, wire.Leader) error) error {
	unlock, err := r.lock(ctx, shard)
	if err != nil {
		return err
	}
	defer unlock()
	leader, err := r.claim(ctx, shard)
	if err != nil {
		return err
	}
	r.metrics.leads(shard, true)
	defer r.metrics.leads(shard, false)
	return work(ctx, leader)
}

// round brings a shard up to date, if it is behind. As long as late events come there may always be more to do.
func (r *Roller) round(ctx context.Context, shard string, until func() time.Time) error {
	for {
		if todo, err := r.todo(ctx, shard, until()); err != nil || !todo {
			return err
		}
		if more, err := r.turn(ctx, shard, until); err != nil || !more {
			return err
		}
	}
}

// turn leads a shard until it is up to date, or for so long that whoever waits for the lead, a command perhaps, shall have it. It tells whether
// there may be more to do.
func (r *Roller) turn(ctx context.Context, shard string, until func() time.Time) (more bool, err error) {
	unlock, err := r.lock(ctx, shard)
	if err != nil {
		return false, err
	}
	defer unlock()
	// Whoever had the lock before may have done it all.
	if todo, err := r.todo(ctx, shard, until()); err != nil || !todo {
		return false, err
	}
	leader, err := r.claim(ctx, shard)
	if err != nil {
		return false, err
	}
	r.metrics.leads(shard, true)
	defer r.metrics.leads(shard, false)
	end := time.Now().Add(r.cfg.Turn)
	for more = true; more && time.Now().Before(end); {
		idle, err := r.stepAll(ctx, shard, leader, until(), end)
		if err != nil {
			return false, err
		}
		more = !idle
		if r.cfg.Archive == nil {
			continue
		}
		begun := r.cfg.Now()
		due, err := r.cfg.Archive.Step(ctx, shard, leader)
		if err != nil {
			return false, fmt.Errorf("%w shard %s: %w", ErrArchive, shard, err)
		}
		more = more || due
		if err := shards.Rest(ctx, r.cfg.Now().Sub(begun), r.cfg.Pause); err != nil {
			return false, err
		}
	}
	return more, nil
}

func (r *Roller) lock(ctx context.Context, shard string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, max(r.cfg.Patience, r.cfg.LockWait))
	defer cancel()
	unlock, err = r.cfg.Lock(ctx, "rollup-"+shard)
	if err != nil {
		return nil, fmt.Errorf("await the lead of shard %s: %w", shard, err)
	}
	return unlock, nil
}

func (r *Roller) claim(ctx context.Context, shard string) (wire.Leader, error) {
	var claimed wire.RollupClaimed
	if err := r.call(ctx, shard, wire.PathRollupClaim, &wire.RollupClaim{Owner: r.cfg.Owner}, &claimed); err != nil {
		return wire.Leader{}, fmt.Errorf("claim shard %s: %w", shard, err)
	}
	return wire.Leader{Epoch: claimed.Epoch, Owner: r.cfg.Owner}, nil
}

// todo tells whether there is something to roll up or to archive.
func (r *Roller) todo(ctx context.Context, shard string, until time.Time) (bool, error) {
	behind, err := r.behind(ctx, shard, until.Unix()/minuteSeconds)
	if err != nil || behind || r.cfg.Archive == nil {
		return behind, err
	}
	return r.cfg.Archive.Due(ctx, shard), nil
}

// behind tells whether there is something to roll up, or ranked lists to look after.
func (r *Roller) behind(ctx context.Context, shard string, limit int64) (bool, error) {
	state, err := r.State(ctx, shard)
	if err != nil {
		return false, err
	}
	until := limit
	for _, m := range state.Marks {
		minutes := int64(minutesOfHour)
		if m.Resolution == "day" {
			minutes = minutesOfDay
		}
		if m.ComputingBefore > m.CompleteBefore || m.CompleteBefore+minutes <= until {
			return true, nil
		}
		until = min(until, m.CompleteBefore) // days are made of complete hours
	}
	return state.ListsDue, nil
}

// stepAll steps until nothing is left to roll up: then the shard is idle. Ranked lists may grow for as long as late events come, and are left
// after a while for the sake of the archive; all is left when the turn is over.
func (r *Roller) stepAll(ctx context.Context, shard string, leader wire.Leader, until, end time.Time) (idle bool, err error) {
	request := &wire.RollupRequest{Epoch: leader.Epoch, Owner: leader.Owner, Until: until.Unix() / minuteSeconds, ChunkRows: r.cfg.ChunkRows, Ranked: r.cfg.Ranked}
	for pruned := 0; pruned < prunesInARow && time.Now().Before(end); {
		begun := r.cfg.Now()
		var done wire.RollupStep
		if err := r.call(ctx, shard, wire.PathRollupStep, request, &done); err != nil {
			return false, fmt.Errorf("roll up shard %s: %w", shard, err)
		}
		switch done.Action {
		case wire.RollupIdle:
			_, err := r.State(ctx, shard) // for the metrics
			return true, err
		case wire.RollupPruned:
			pruned++
		default:
			pruned = 0
		}
		took := r.cfg.Now().Sub(begun)
		r.metrics.stepped(shard, &done, took)
		if done.Action == wire.RollupAdvanced {
			r.log.Debug("advanced", "shard", shard, "resolution", done.Resolution, "start", time.Unix(done.Start*minuteSeconds, 0).UTC(), "epoch", leader.Epoch)
		}
		if err := shards.Rest(ctx, took, r.cfg.Pause); err != nil {
			return false, err
		}
	}
	return false, nil
}
