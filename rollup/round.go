package rollup

import (
	"context"
	"fmt"
	"time"

	"github.com/quipudb/quipu/wire"
)

const (
	minutesOfHour = 60
	minutesOfDay  = 24 * 60
)

// RunOnce rolls up one shard as far as what ended before an instant allows, once. It is fenced should another one take over.
func (r *Roller) RunOnce(ctx context.Context, shard string, until time.Time) error {
	return r.round(ctx, shard, until)
}

// round brings a shard up to date, if it is behind.
func (r *Roller) round(ctx context.Context, shard string, until time.Time) error {
	limit := until.Unix() / 60
	behind, err := r.behind(ctx, shard, limit)
	if err != nil || !behind {
		return err
	}
	unlock, err := r.lock(ctx, shard)
	if err != nil {
		return err
	}
	defer unlock()
	// Whoever had the lock before may have done it all.
	if behind, err = r.behind(ctx, shard, limit); err != nil || !behind {
		return err
	}
	return r.lead(ctx, shard, limit)
}

func (r *Roller) lock(ctx context.Context, shard string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Patience)
	defer cancel()
	unlock, err = r.cfg.Lock(ctx, "rollup-"+shard)
	if err != nil {
		return nil, fmt.Errorf("await the lead of shard %s: %w", shard, err)
	}
	return unlock, nil
}

// behind tells whether there is something to do.
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
	return false, nil
}

// lead claims the shard and steps until nothing is left to do.
func (r *Roller) lead(ctx context.Context, shard string, limit int64) error {
	var claimed wire.RollupClaimed
	if err := r.call(ctx, shard, wire.PathRollupClaim, &wire.RollupClaim{Owner: r.cfg.Owner}, &claimed); err != nil {
		return fmt.Errorf("claim shard %s: %w", shard, err)
	}
	r.metrics.leads(shard, true)
	defer r.metrics.leads(shard, false)
	request := &wire.RollupRequest{Epoch: claimed.Epoch, Owner: r.cfg.Owner, Until: limit, ChunkRows: r.cfg.ChunkRows, Ranked: r.cfg.Ranked}
	for {
		begun := r.cfg.Now()
		var done wire.RollupStep
		if err := r.call(ctx, shard, wire.PathRollupStep, request, &done); err != nil {
			return fmt.Errorf("roll up shard %s: %w", shard, err)
		}
		if done.Action == wire.RollupIdle {
			_, err := r.State(ctx, shard) // for the metrics
			return err
		}
		r.metrics.stepped(shard, &done, r.cfg.Now().Sub(begun))
		if done.Action == wire.RollupAdvanced {
			r.log.Debug("advanced", "shard", shard, "resolution", done.Resolution, "start", time.Unix(done.Start*60, 0).UTC(), "epoch", claimed.Epoch)
		}
		if err := pause(ctx, r.cfg.Pause); err != nil {
			return err
		}
	}
}

// pause waits, if there is anything to wait for, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
