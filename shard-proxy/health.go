package shardproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/migrations"
	"github.com/quipudb/quipu/mysql"
)

// Hysteresis: one lost probe takes no database out, one lucky probe brings none back.
const (
	failuresToFall  = 3
	successesToRise = 2
	firstInterval   = 50 * time.Millisecond // until there is a first verdict

	// A database whose last good probe is older than an interval and this is silent: others are asked first, long before it is found unhealthy.
	silentAfter = time.Second
)

var errNotProbed = fmt.Errorf("it was not probed yet: %w", mysql.ErrUnavailable)

// health is what is known of a database. It is immutable.
type health struct {
	healthy  bool
	admitted bool      // a probe found it to be this shard's, with a known schema, and none found otherwise since
	reason   error     // why it is not healthy
	since    time.Time // when it became what healthy says

	last        *mysql.Health // of the last good probe
	replication mysql.Replication
	successes   int // in a row
	failures    int
}

// startProber begins to watch a database. Its close ends that.
func (p *Proxy) startProber(ctx context.Context, d *database) {
	ctx, d.stop = context.WithCancel(ctx)
	d.used = ctx
	go func() {
		defer close(d.stopped)
		p.watch(ctx, d)
	}()
}

func (p *Proxy) watch(ctx context.Context, d *database) {
	for {
		p.probe(ctx, d)
		interval := p.cfg.ProbeInterval
		if h := d.health.Load(); !h.healthy && h.failures < failuresToFall {
			interval = min(interval, firstInterval)
		}
		select {
		case <-time.After(interval):
		case <-d.kick:
			interval = min(interval, firstInterval) // many calls may fail at once
			select {
			case <-time.After(interval):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// probe asks a database once and stores the verdict.
func (p *Proxy) probe(ctx context.Context, d *database) {
	asking, cancel := context.WithTimeout(ctx, p.cfg.ProbeTimeout)
	defer cancel()
	found, replication, err := p.examine(asking, d)
	if ctx.Err() != nil {
		return // the watch ended, which says nothing of the database
	}
	before := d.health.Load()
	after := before.next(found, replication, err)
	if after.since = before.since; after.healthy != before.healthy || after.since.IsZero() {
		after.since = time.Now()
	}
	d.health.Store(after)
	if err == nil {
		d.answered.Store(time.Now().UnixNano())
	}
	if after.isNews(before) {
		level := slog.LevelWarn
		if after.healthy {
			level = slog.LevelInfo
		}
		p.log.Log(ctx, level, "health of a database", "database", d.ID, "role", d.Role, "healthy", after.healthy, "reason", after.reason)
	}
	p.metrics.probed(d, after, err)
	if all := p.databases.Load(); all != nil && d.Role == cluster.Replica {
		p.metrics.lags(d.ID, func() (time.Duration, bool) { return all.lagOf(d) })
	}
}

// silent tells whether a database has not answered its probes for a while.
func (p *Proxy) silent(d *database) bool {
	return time.Since(time.Unix(0, d.answered.Load())) > p.cfg.ProbeInterval+silentAfter
}

// examine does real work in the database and judges what it says of itself.
func (p *Proxy) examine(ctx context.Context, d *database) (*mysql.Health, mysql.Replication, error) {
	found, err := d.monitor.Probe(ctx)
	if err != nil {
		return nil, mysql.Replication{}, err
	}
	if found.ClusterID != d.clusterID || found.ShardID != p.cfg.ShardID {
		return nil, mysql.Replication{}, fmt.Errorf("database %s holds shard %s of cluster %s: %w", d.ID, found.ShardID, found.ClusterID, mysql.ErrForeign)
	}
	if err := migrations.Known(found.SchemaVersion, found.SchemaDirty); err != nil {
		return nil, mysql.Replication{}, fmt.Errorf("database %s: %w: %w", d.ID, mysql.ErrSchema, err)
	}
	if d.Role != cluster.Replica {
		return found, mysql.Replication{}, nil
	}
	replication, err := d.monitor.Replication(ctx)
	return found, replication, err
}

// next returns the verdict after one more probe.
func (h *health) next(found *mysql.Health, replication mysql.Replication, err error) *health {
	if err == nil {
		after := &health{admitted: true, last: found, replication: replication, successes: h.successes + 1}
		after.healthy = h.healthy || after.successes >= successesToRise
		if !after.healthy {
			after.reason = h.reason
		}
		return after
	}
	after := &health{admitted: h.admitted, last: h.last, replication: h.replication, failures: h.failures + 1, reason: err}
	after.healthy = h.healthy && after.failures < failuresToFall
	if after.healthy {
		after.reason = nil
	}
	if wrongDatabase(err) {
		after.healthy, after.admitted, after.reason = false, false, err
	}
	return after
}

// isNews tells whether a verdict is worth a line: it changed, or a database that was not healthy yet is not just late.
func (h *health) isNews(before *health) bool {
	return h.healthy != before.healthy || (!h.admitted && h.failures == failuresToFall)
}

// wrongDatabase tells whether a database answers but must not be used: that needs no second probe.
func wrongDatabase(err error) bool {
	return errors.Is(err, mysql.ErrSchema) || errors.Is(err, mysql.ErrForeign)
}

// lagOf returns how far a replica is behind, by the checkpoints that both it and the primary hold and by its server's own account,
// whichever is more; and whether that is known.
func (d *databases) lagOf(replica *database) (lag time.Duration, known bool) {
	h := replica.health.Load()
	if h.last == nil || !h.replication.Applying {
		return 0, false
	}
	if h.replication.Known {
		lag, known = h.replication.Behind, true
	}
	if d.primary == nil {
		return lag, known
	}
	if primary := d.primary.health.Load().last; primary != nil {
		known = true
		for partition, asOf := range primary.AsOf {
			lag = max(lag, time.Duration(asOf-h.last.AsOf[partition])*time.Millisecond)
		}
	}
	return lag, known
}

// ageOf returns how old what a replica holds is by the wall clock: the bound of its lag when no primary can be asked.
func ageOf(replica *database, now time.Time) time.Duration {
	last := replica.health.Load().last
	if last == nil {
		return time.Duration(1<<63 - 1)
	}
	var age time.Duration
	for _, asOf := range last.AsOf {
		age = max(age, now.Sub(time.UnixMilli(asOf)))
	}
	return age
}
