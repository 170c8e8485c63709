package shardproxy

import (
	"context"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func (p *Proxy) claimRollup(ctx context.Context, r *wire.RollupClaim) (*wire.RollupClaimed, error) {
	if err := checkOwner(r.Owner); err != nil {
		return nil, err
	}
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	epoch, err := d.primary.ClaimRollup(ctx, r.Owner)
	if err != nil {
		d.suspect(err)
		return nil, err
	}
	return &wire.RollupClaimed{Epoch: epoch}, nil
}

func (p *Proxy) stepRollup(ctx context.Context, r *wire.RollupRequest) (*wire.RollupStep, error) {
	if r.ChunkRows < 1 || r.ChunkRows > wire.MaxRollupRows {
		return nil, wire.NewProblem(wire.CodeBadRequest, "chunk_rows is %d, must be 1 to %d", r.ChunkRows, wire.MaxRollupRows).WithField("chunk_rows")
	}
	if r.Ranked < 0 || r.Ranked > wire.MaxRankedKeys {
		return nil, wire.NewProblem(wire.CodeBadRequest, "ranked_keys is %d, must be 0 to %d", r.Ranked, wire.MaxRankedKeys).WithField("ranked_keys")
	}
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	done, err := d.primary.StepRollup(ctx, &mysql.RollupRequest{Epoch: r.Epoch, Owner: r.Owner, Until: r.Until, ChunkRows: r.ChunkRows, RankedKeys: r.Ranked})
	if err != nil {
		d.suspect(err)
		return nil, err
	}
	if done.Action == mysql.RollupComputed && done.Rows > 0 {
		p.metrics.rollupRows.WithLabelValues(done.Resolution).Add(float64(done.Rows))
	}
	return &wire.RollupStep{Action: wire.RollupAction(done.Action), Resolution: done.Resolution, Start: done.Start, Rows: done.Rows}, nil
}

// serveRollup tells how far the primary's roll-up came.
func (p *Proxy) serveRollup(ctx context.Context, c echo.Context) error {
	if err := p.points.enter(ctx); err != nil {
		return err
	}
	defer p.points.leave()
	d, err := p.writing()
	if err != nil {
		return err
	}
	state, err := d.read.Rollup(ctx)
	if err != nil {
		d.suspect(err)
		return err
	}
	out := wire.RollupState{Shard: p.cfg.ShardID, Database: d.ID, Epoch: state.Epoch, Owner: state.Owner, ListsDue: state.ListsDue}
	for _, m := range state.Marks {
		out.Marks = append(out.Marks, wire.RollupMark{Resolution: m.Resolution, CompleteBefore: m.CompleteBefore, ComputingBefore: m.ComputingBefore})
	}
	return httpserver.SendJSON(c, out)
}

func checkOwner(owner string) error {
	if owner == "" || len(owner) > maxOwnerBytes {
		return wire.NewProblem(wire.CodeBadRequest, "owner has %d bytes, must be 1 to %d", len(owner), maxOwnerBytes).WithField("owner")
	}
	return nil
}
