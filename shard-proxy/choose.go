package shardproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// candidate is a database to read from.
type candidate struct {
	*database
	stale bool // what it answers is older than the lag bound
}

// candidates lists the databases to read from in the order of trying them: replicas that keep up, those of the caller's zone first unless
// all their connections are in use, else in turn; the primary; then, for stale data is better than none, replicas that don't keep up, the
// freshest first. Only healthy ones are listed, and those that have fallen silent come last.
func (p *Proxy) candidates(all *databases, zone string) []candidate {
	type lagging struct {
		candidate
		lag time.Duration
	}
	primaryUp := all.primary != nil && all.primary.health.Load().healthy
	var fresh []candidate
	var late []lagging
	for _, d := range all.list {
		if d.Role != cluster.Replica || d.State != cluster.Attached || !d.health.Load().healthy {
			continue
		}
		lag, known := all.lagOf(d)
		if !primaryUp {
			lag, known = ageOf(d, p.cfg.Now()), true
		}
		if known && lag <= p.cfg.MaxLag {
			fresh = append(fresh, candidate{database: d})
		} else {
			late = append(late, lagging{candidate{d, true}, lag})
		}
	}
	if n := len(fresh); n > 1 {
		first := int(p.turn.Add(1) % uint64(n))
		fresh = append(fresh[first:n:n], fresh[:first]...)
	}
	if zone != "" {
		slices.SortStableFunc(fresh, func(a, b candidate) int { return cmp.Compare(a.distance(zone), b.distance(zone)) })
	}
	if primaryUp {
		fresh = append(fresh, candidate{database: all.primary})
	}
	slices.SortStableFunc(late, func(a, b lagging) int { return cmp.Compare(a.lag, b.lag) })
	for _, l := range late {
		fresh = append(fresh, l.candidate)
	}
	slices.SortStableFunc(fresh, func(a, b candidate) int { return rank(p.silent(a.database)) - rank(p.silent(b.database)) })
	return fresh
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// distance orders replicas that are equally good: those of the zone, others, those that would make the read wait for a connection.
func (c candidate) distance(zone string) int {
	switch pool := c.read.PoolStats(); {
	case pool.MaxOpenConnections > 0 && pool.InUse >= pool.MaxOpenConnections:
		return 2
	case c.Zone == zone:
		return 0
	}
	return 1
}

// zoneOf returns the zone that a call comes from: its caller's, or else this process's.
func (p *Proxy) zoneOf(ctx context.Context) string {
	if o, ok := wire.OriginOf(ctx); ok && o.Zone != "" {
		return o.Zone
	}
	return p.cfg.Zone
}

// reading runs a read on the first candidate that can do it. If the topology changed meanwhile, which closes pools, it tries once more.
func (p *Proxy) reading(ctx context.Context, read func(context.Context, *mysql.DB) error) (candidate, error) {
	all := p.databases.Load()
	if all == nil {
		return candidate{}, errNotProbed
	}
	from, err := p.readingFrom(ctx, all, read)
	if now := p.databases.Load(); err != nil && now != nil && now != all && errors.Is(err, mysql.ErrUnavailable) && ctx.Err() == nil {
		return p.readingFrom(ctx, now, read)
	}
	return from, err
}

func (p *Proxy) readingFrom(ctx context.Context, all *databases, read func(context.Context, *mysql.DB) error) (candidate, error) {
	err := all.whyNone()
	candidates := p.candidates(all, p.zoneOf(ctx))
	for i, c := range candidates {
		err = p.tryReading(ctx, c, i+1 < len(candidates), read)
		if err == nil || !errors.Is(err, mysql.ErrUnavailable) || ctx.Err() != nil {
			return c, err
		}
		c.probeSoon()
		p.metrics.fallbacks.WithLabelValues(c.ID).Inc()
		p.log.Warn("read failed, trying another database", "database", c.ID, "error", err)
	}
	return candidate{}, err
}

var errSilent = fmt.Errorf("it fell silent: %w", mysql.ErrUnavailable)

// tryReading reads from one candidate. If there are others, a database that falls silent is not waited for until the time is over.
func (p *Proxy) tryReading(ctx context.Context, c candidate, others bool, read func(context.Context, *mysql.DB) error) error {
	if !others {
		return read(ctx, c.read)
	}
	trying, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	look := time.AfterFunc(p.cfg.ProbeInterval+silentAfter, func() {
		if p.silent(c.database) {
			giveUp(errSilent)
		}
	})
	defer look.Stop()
	err := read(trying, c.read)
	if err != nil && errors.Is(context.Cause(trying), errSilent) {
		return fmt.Errorf("read from %s: %w", c.ID, errSilent)
	}
	return err
}

// whyNone returns why there may be no candidate: what keeps the primary away comes first.
func (d *databases) whyNone() error {
	if d.primary != nil {
		if reason := d.primary.health.Load().reason; reason != nil {
			return reason
		}
	}
	for _, one := range d.list {
		if reason := one.health.Load().reason; reason != nil {
			return reason
		}
	}
	return errNotProbed
}

// writing returns the primary. A missing answer to a probe does not keep calls away, the call itself will see; a verdict
// that the database is the wrong one does.
func (p *Proxy) writing() (*database, error) {
	all := p.databases.Load()
	switch {
	case all == nil:
		return nil, errNotProbed
	case all.primary == nil:
		return nil, errNoPrimary
	}
	if h := all.primary.health.Load(); !h.admitted {
		return nil, h.reason
	}
	return all.primary, nil
}
