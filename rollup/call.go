package rollup

import (
	"context"

	"github.com/quipudb/quipu/wire"
)

// State asks a shard how far its roll-up came.
func (r *Roller) State(ctx context.Context, shard string) (*wire.RollupState, error) {
	state := &wire.RollupState{}
	if err := r.call(ctx, shard, wire.PathRollup, nil, state); err != nil {
		return nil, err
	}
	r.metrics.saw(state, r.cfg.Now())
	return state, nil
}

// call asks a shard. Every call may be repeated: a claim that was taken is followed by another, and a step that was done by the next.
func (r *Roller) call(ctx context.Context, shard, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Patience)
	defer cancel()
	return r.shards.JSON(ctx, shard, path, in, out)
}
