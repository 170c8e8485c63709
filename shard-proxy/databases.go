package shardproxy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/analyst"
	"github.com/quipudb/quipu/mysql/guard"
)

// database is one of the shard's databases in one role. When it changes its role it becomes another database, with new pools and an
// empty key cache.
type database struct {
	cluster.Database
	clusterID string
	read      *mysql.DB
	monitor   *mysql.DB
	analyst   *mysql.DB      // people's
	primary   *mysql.Primary // nil for replicas
	health    atomic.Pointer[health]
	answered  atomic.Int64  // when the last good probe ended, in nanoseconds
	kick      chan struct{} // asks for a probe now

	used    context.Context // ends when the topology has it no longer, or in another role
	stop    context.CancelFunc
	stopped chan struct{} // closed when its prober has ended
}

// databases is what the topology says of the shard. It is immutable.
type databases struct {
	list    []*database
	primary *database // nil while there is none
}

func (p *Proxy) config(d cluster.Database, account Account, connections int) mysql.Config {
	return mysql.Config{
		ID: d.ID, Address: d.Address, User: account.User, Password: account.Password, Schema: p.cfg.Schema, TLS: p.cfg.TLS,
		MaxConnections: connections, ReadOnly: true, Guard: p.guard,
	}
}

// open makes the pools of a database. It does no I/O.
func (p *Proxy) open(d cluster.Database, clusterID string) (*database, error) {
	out := &database{Database: d, clusterID: clusterID, kick: make(chan struct{}, 1), stopped: make(chan struct{})}
	out.health.Store(&health{reason: errNotProbed})
	read := p.config(d, p.cfg.Read, p.cfg.ReadConnections+scanCalls+exportCalls)
	read.StatementTimeout = max(p.cfg.PointTimeout, p.cfg.SeriesTimeout, p.cfg.ScanTimeout, p.cfg.AdminTimeout)
	monitor := p.config(d, p.cfg.Monitor, 3)
	monitor.StatementTimeout = p.cfg.ProbeTimeout
	var err error
	monitor.Guard = nil // a probe every moment, bounded by its own time, would hide what matters
	if out.read, err = mysql.Open(read); err != nil {
		return nil, err
	}
	if out.monitor, err = mysql.Open(monitor); err != nil {
		return nil, err
	}
	people := p.config(d, p.cfg.Analyst, p.cfg.AnalystConnections)
	people.Schema, people.Class, people.StatementTimeout, people.PlainTimes = analyst.Schema, guard.Analyst, p.cfg.AnalystTimeout, true
	if out.analyst, err = mysql.Open(people); err != nil {
		return nil, err
	}
	if d.Role != cluster.Primary {
		return out, nil
	}
	apply := p.config(d, p.cfg.Apply, p.cfg.ApplyConnections+smallCalls+rollupCalls+archiveCalls+spareConnection)
	apply.ReadOnly, apply.StatementTimeout, apply.Class = false, p.cfg.ApplyTimeout, guard.Write
	pool, err := mysql.Open(apply)
	if err != nil {
		return nil, err
	}
	out.primary, err = mysql.NewPrimary(mysql.PrimaryConfig{
		DB: pool, ClusterID: clusterID, ShardID: p.cfg.ShardID, EventTypes: p.cfg.EventTypes, CachedKeys: p.cfg.CachedKeys,
		Logger: p.log, Registerer: p.cfg.Registerer, Now: p.cfg.Now,
	})
	return out, err
}

// close waits for the prober and for the statements in flight.
func (d *database) close() error {
	if d.stop != nil {
		d.stop()
		<-d.stopped
	}
	errs := []error{d.read.Close(), d.monitor.Close(), d.analyst.Close()}
	if d.primary != nil {
		errs = append(errs, d.primary.DB().Close())
	}
	return errors.Join(errs...)
}

// probeSoon asks for a probe ahead of time, because a call failed.
func (d *database) probeSoon() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// followTopology keeps the databases as the topology has them.
func (p *Proxy) followTopology(ctx context.Context) error {
	defer p.closeAll()
	for {
		changed := p.cfg.Changed()
		if err := p.adopt(ctx, p.cfg.Snapshot()); err != nil {
			return fmt.Errorf("follow topology: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Proxy) closeAll() {
	if all := p.databases.Swap(nil); all != nil {
		for _, d := range all.list {
			p.retire(d)
		}
	}
}

func (p *Proxy) retire(d *database) {
	if err := d.close(); err != nil {
		p.log.Warn("closing a database failed", "database", d.ID, "error", err)
	}
	p.metrics.forget(d.ID)
}

// adopt opens what is new, keeps what is the same and closes what is gone. A snapshot without the shard changes nothing.
func (p *Proxy) adopt(ctx context.Context, s *cluster.Snapshot) error {
	if s == nil {
		return nil
	}
	shard, ok := s.Topology.Shard(p.cfg.ShardID)
	if !ok {
		p.log.Error("the topology does not have this shard")
		return nil
	}
	before := p.databases.Load()
	after := &databases{}
	kept := map[*database]bool{}
	for _, wanted := range shard.Databases {
		d := before.find(wanted, s.Settings.ClusterID)
		if d == nil {
			var err error
			if d, err = p.open(wanted, s.Settings.ClusterID); err != nil {
				return err
			}
			d.inherit(before.sameServer(wanted, s.Settings.ClusterID))
			p.startProber(ctx, d)
			p.log.Info("database is used", "database", d.ID, "address", d.Address, "role", d.Role)
		}
		kept[d] = true
		after.list = append(after.list, d)
		if d.Role == cluster.Primary {
			after.primary = d
		}
	}
	p.databases.Store(after)
	if before == nil {
		return nil
	}
	for _, d := range before.list {
		if !kept[d] {
			p.log.Info("database is no longer used", "database", d.ID, "role", d.Role)
			p.retire(d)
		}
	}
	return nil
}

// inherit takes over what is known of a server in another role: it is not away while it waits for its first probe.
func (d *database) inherit(from *database) {
	if from == nil {
		return
	}
	known := *from.health.Load()
	known.replication = mysql.Replication{}
	d.health.Store(&known)
}

// sameServer returns the database in whatever role.
func (d *databases) sameServer(wanted cluster.Database, clusterID string) *database {
	if d == nil {
		return nil
	}
	for _, has := range d.list {
		if has.ID == wanted.ID && has.Address == wanted.Address && has.clusterID == clusterID {
			return has
		}
	}
	return nil
}

// whileUsed ends ctx when the database is no longer used: a write that a frozen server holds must not keep others from the next primary. What becomes of
// it is not known.
func (d *database) whileUsed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.used, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// find returns the database that is the same in every respect.
func (d *databases) find(wanted cluster.Database, clusterID string) *database {
	if d == nil {
		return nil
	}
	for _, has := range d.list {
		if has.Database == wanted && has.clusterID == clusterID {
			return has
		}
	}
	return nil
}
