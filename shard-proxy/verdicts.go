package shardproxy

import (
	"context"
	"errors"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveDatabases tells what is known of each database by the probes. It asks none.
func (p *Proxy) serveDatabases(_ context.Context, c echo.Context) error {
	all := p.databases.Load()
	if all == nil {
		return errNotProbed
	}
	out := wire.DatabasesAnswer{Shard: p.cfg.ShardID, Databases: make([]wire.DatabaseVerdict, 0, len(all.list))}
	for _, d := range all.list {
		out.Databases = append(out.Databases, all.verdictOn(d))
	}
	return httpserver.SendJSON(c, out)
}

func (d *databases) verdictOn(one *database) wire.DatabaseVerdict {
	h := one.health.Load()
	v := wire.DatabaseVerdict{ID: one.ID, Address: one.Address, Role: string(one.Role), Healthy: h.healthy, SinceMs: h.since.UnixMilli()}
	v.Probed = h.healthy || h.failures >= failuresToFall || wrongDatabase(h.reason)
	if !h.healthy && h.reason != nil {
		v.Reason, v.Code = h.reason.Error(), codeOf(h.reason)
		if errors.Is(h.reason, mysql.ErrForeign) {
			v.Code = wire.CodeConflict // it answers
		}
	}
	if h.last != nil {
		v.ReadOnly, v.Term = h.last.ReadOnly, h.last.Term
	}
	if one.Role == cluster.Replica {
		lag, known := d.lagOf(one)
		v.LagMs, v.LagKnown = lag.Milliseconds(), known
	}
	return v
}
