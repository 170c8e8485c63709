package failover

import (
	"context"
	"errors"
	"fmt"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
)

// RebuildRequest says which database is to be filled anew.
type RebuildRequest struct {
	Shard    string
	Database string
	From     string  // database to copy from; empty: a replica that follows, else the primary
	Account  Account // may empty and fill both schemas
	Schemas  []string
	Progress mysql.CopyProgress
}

// Rebuild makes a database a replica again that can't follow any more: it is emptied, filled with what another database of the shard holds, and made
// to follow the primary. Everything goes on meanwhile, failovers too; the database is not read before it follows. It may be repeated, and must be if it
// was interrupted. It returns the database that was copied.
func (k *Keeper) Rebuild(ctx context.Context, r RebuildRequest) (from string, err error) {
	to, source, err := k.setAside(ctx, r)
	if err != nil {
		return "", fmt.Errorf("rebuild %s: %w", r.Database, err)
	}
	if err := k.copy(ctx, r, to, source); err != nil {
		return source.ID, fmt.Errorf("rebuild %s: %w", r.Database, err)
	}
	return source.ID, k.Attach(ctx, r.Shard, r.Database)
}

// Attach has a database compared with the primary again that has diverged, because it was filled anew by other means, and makes it follow if its history is a
// part of the primary's. If not, it has diverged still.
func (k *Keeper) Attach(ctx context.Context, shard, database string) error {
	if err := k.bringBack(ctx, shard, database); err != nil {
		return fmt.Errorf("attach %s: %w", database, err)
	}
	if err := k.Tend(ctx, shard); err != nil {
		return err
	}
	topology, _, err := k.cfg.Store.Topology(ctx)
	if err != nil {
		return err
	}
	s, _ := topology.Shard(shard)
	if d, ok := s.Database(database); !ok || d.State != cluster.Attached {
		return fmt.Errorf("attach %s: it is %s: does it answer, and what does its log say?", database, d.State)
	}
	return nil
}

// setAside takes the database out of use, and chooses the one to copy from.
func (k *Keeper) setAside(ctx context.Context, r RebuildRequest) (to, source cluster.Database, err error) {
	h, err := k.take(ctx, r.Shard)
	if err != nil {
		return to, source, err
	}
	defer h.unlock()
	f, err := k.gather(ctx, r.Shard, false)
	if err != nil {
		return to, source, err
	}
	to, ok := f.Shard.Database(r.Database)
	switch {
	case !ok:
		return to, source, fmt.Errorf("shard %s has no database %s", r.Shard, r.Database)
	case to.Role != cluster.Replica:
		return to, source, fmt.Errorf("it is the primary of shard %s", r.Shard)
	case h.record.Intent != nil:
		return to, source, errors.New("the primary is being changed just now")
	}
	if source, err = sourceOf(f, r); err != nil {
		return to, source, err
	}
	return to, source, h.switchTo(ctx, func(*cluster.Failover) {}, func(s *cluster.Shard) error {
		return edit(s, r.Database, func(d *cluster.Database) { d.State = cluster.Diverged })
	})
}

// sourceOf is the database that was named, or a replica that follows, to spare the primary.
func sourceOf(f *Facts, r RebuildRequest) (cluster.Database, error) {
	var best cluster.Database
	for _, d := range f.Shard.Databases {
		s := f.Servers[d.ID]
		if d.ID == r.Database || d.State != cluster.Attached || s.Member == nil || r.From != "" && d.ID != r.From {
			continue
		}
		if d.Role == cluster.Replica && !(s.Link.Receiving && s.Link.Applying) && r.From == "" {
			continue
		}
		if best.ID == "" || best.Role == cluster.Primary {
			best = d
		}
	}
	if best.ID == "" {
		return best, errors.New("no other database of the shard can be copied: each is away or has lost its place")
	}
	return best, nil
}

func (k *Keeper) copy(ctx context.Context, r RebuildRequest, to, source cluster.Database) (err error) {
	open := func(d cluster.Database) (*mysql.DB, error) {
		return mysql.Open(mysql.Config{
			ID: d.ID, Address: d.Address, User: r.Account.User, Password: r.Account.Password, Schema: "information_schema", TLS: k.cfg.TLS,
			MaxConnections: poolConnections, StatementTimeout: longestStatement, DialTimeout: k.cfg.Timeout, PlainTimes: true,
		})
	}
	target, err := open(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	from, err := open(source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := silence(ctx, target, k.cfg.Writers); err != nil {
		return err
	}
	if err := target.ForgetSource(ctx); err != nil {
		return err
	}
	return target.CopyFrom(ctx, from, r.Schemas, r.Progress)
}

// bringBack has the database follow the primary, whichever that is by now.
func (k *Keeper) bringBack(ctx context.Context, shard, database string) error {
	h, err := k.take(ctx, shard)
	if err != nil {
		return err
	}
	defer h.unlock()
	return h.switchTo(ctx, func(*cluster.Failover) {}, func(s *cluster.Shard) error {
		if d, ok := s.Database(database); !ok || d.Role != cluster.Replica {
			return fmt.Errorf("shard %s has no replica %s", shard, database)
		}
		return edit(s, database, func(d *cluster.Database) { d.State = cluster.Detached })
	})
}
