package shardproxy

import (
	"context"

	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
)

// within says what the statements of a read are for, and gives it the time of its class. Call done when it has ended.
func (p *Proxy) within(ctx context.Context, class guard.Class) (_ context.Context, done context.CancelFunc) {
	return context.WithTimeout(guard.WithClass(ctx, class), p.guard.DeadlineOf(class))
}

func classOfStats(r *wire.StatsRequest) guard.Class {
	if r.Step == wire.StepNone {
		return guard.Point
	}
	return guard.Series
}
