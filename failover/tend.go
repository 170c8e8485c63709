package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/mysql"
)

// followPoll is how often a database that was told to follow is looked at.
const followPoll = 50 * time.Millisecond

// chore is what has to be done for a shard besides changing its primary.
type chore struct {
	finish bool     // a change that is under way
	enable bool     // the primary must be let write
	rejoin []string // databases to be made to follow
	guard  []string // replicas that accept writes
}

func (c chore) none() bool {
	return !c.finish && !c.enable && len(c.rejoin) == 0 && len(c.guard) == 0
}

// choresOf tells what has to be done, as far as who answers goes.
func choresOf(f *Facts) (c chore) {
	if f.Record.Intent != nil {
		return chore{finish: true}
	}
	primary, ok := f.Shard.PrimaryDatabase()
	if !ok || f.Servers[primary.ID].Member == nil {
		return c
	}
	c.enable = f.Servers[primary.ID].ReadOnly
	for _, d := range f.Shard.Databases {
		s := f.Servers[d.ID]
		switch {
		case d.Role != cluster.Replica || s.Member == nil:
		case d.State == cluster.Detached:
			c.rejoin = append(c.rejoin, d.ID)
		case !s.ReadOnly:
			c.guard = append(c.guard, d.ID)
		}
	}
	return c
}

// Tend does what has to be done for a shard: finishes a change of the primary that another process began, lets a primary write that came back,
// makes the others follow. Nothing is done for servers that don't answer.
func (k *Keeper) Tend(ctx context.Context, shard string) error {
	h, err := k.take(ctx, shard)
	if err != nil {
		return err
	}
	defer h.unlock()
	if h.record.Intent != nil {
		if err := h.goOn(ctx); err != nil {
			return err
		}
	}
	f, err := k.gather(ctx, shard, false)
	if err != nil {
		return fmt.Errorf("tend shard %s: %w", shard, err)
	}
	c := choresOf(f)
	primary, _ := f.Shard.PrimaryDatabase()
	var errs []error
	if c.enable {
		errs = append(errs, h.enable(ctx, f, primary))
	}
	for _, id := range c.guard {
		d, _ := f.Shard.Database(id)
		errs = append(errs, h.guard(ctx, d))
	}
	for _, id := range c.rejoin {
		d, _ := f.Shard.Database(id)
		if err := h.rejoin(ctx, f, primary, d); err != nil {
			errs = append(errs, fmt.Errorf("make %s follow %s: %w", id, primary.ID, err))
		}
	}
	return errors.Join(errs...)
}

// enable lets the primary write. Servers start read-only, so that one that was replaced while it was away does not take writes; the topology's own
// is not of an earlier term.
func (h *hand) enable(ctx context.Context, f *Facts, primary cluster.Database) error {
	s := f.Servers[primary.ID]
	switch {
	case s.ClusterID != f.ClusterID || s.ShardID != f.Shard.ID:
		return fmt.Errorf("%s holds shard %s of cluster %s: it stays read-only", primary.ID, s.ShardID, s.ClusterID)
	case s.Term < h.record.Term:
		return fmt.Errorf("%s is in term %d, the shard in %d: it stays read-only", primary.ID, s.Term, h.record.Term)
	case s.SchemaError != "":
		return fmt.Errorf("%s stays read-only: %s", primary.ID, s.SchemaError)
	}
	pool, err := h.server(primary)
	if err != nil {
		return err
	}
	if s.Link.Configured { // it came back from a change that was taken back, or was a replica when it was lost
		if err := pool.ForgetSource(ctx); err != nil {
			return err
		}
	}
	if err := pool.SetReadOnly(ctx, false); err != nil {
		return err
	}
	h.log.Info("the primary may write", "shard", h.shard, "database", primary.ID, "term", s.Term)
	h.cfg.Progress(h.shard, "enabled "+primary.ID)
	return nil
}

func (h *hand) guard(ctx context.Context, d cluster.Database) error {
	pool, err := h.server(d)
	if err != nil {
		return err
	}
	if err := pool.SetReadOnly(ctx, true); err != nil {
		return err
	}
	h.log.Warn("a replica accepted writes and was made read-only", "shard", h.shard, "database", d.ID)
	return nil
}

// rejoin makes a database follow the primary, if its history is a part of the primary's. What was being written to it when it was left is over
// before the two are compared: a server that was frozen may have had a commit in flight.
func (h *hand) rejoin(ctx context.Context, f *Facts, primary, d cluster.Database) error {
	s := f.Servers[d.ID]
	if s.ClusterID != f.ClusterID || s.ShardID != f.Shard.ID {
		return fmt.Errorf("it holds shard %s of cluster %s", s.ShardID, s.ClusterID)
	}
	if err := h.within(ctx, h.cfg.Rejoin, func(ctx context.Context) error { return h.keepFromWriting(ctx, d) }); err != nil {
		return err
	}
	own, err := h.member(ctx, d)
	if err != nil {
		return err
	}
	source, err := h.member(ctx, primary) // after: it only grows
	if err != nil {
		return err
	}
	excess, err := excessOf(own, source, &h.record)
	if err != nil {
		return err
	}
	if excess != "" {
		return h.diverged(ctx, d, "it holds "+excess+", which "+primary.ID+" lacks")
	}
	if !follows(own.Link, primary) || !own.Link.Receiving || !own.Link.Applying {
		pool, err := h.server(d)
		if err == nil {
			err = pool.Follow(ctx, primary.Address, h.source())
		}
		if err != nil {
			return err
		}
	}
	return h.attach(ctx, primary, d, source.Term)
}

// excessOf returns what a database holds that the primary lacks, by what their logs say, and by where the terms that it has not seen began.
func excessOf(own, primary *mysql.Member, record *cluster.Failover) (string, error) {
	if end, known := record.EndOf(own.Term); known {
		if excess, err := mysql.Beyond(own.Held.Executed, end); err != nil || excess != "" {
			return excess, err
		}
	}
	return mysql.Excess(own.Held, primary.Held)
}

func follows(l mysql.Link, primary cluster.Database) bool {
	return l.Configured && l.Host+":"+strconv.Itoa(l.Port) == primary.Address
}

// attach waits until a database follows and has the shard's term, and gives it its place in the topology.
func (h *hand) attach(ctx context.Context, primary, d cluster.Database, term uint64) error {
	begun := h.cfg.Now()
	for {
		m, err := h.member(ctx, d)
		if err != nil {
			return err
		}
		l := m.Link
		if refused := refusal(l); refused != "" {
			return h.diverged(ctx, d, refused)
		}
		if follows(l, primary) && l.Receiving && l.Applying && m.Term >= term {
			break
		}
		if h.cfg.Now().Sub(begun) > h.cfg.Rejoin {
			return fmt.Errorf("it does not follow yet: %s", slices.DeleteFunc([]string{l.ReceiveErr, l.ApplyErr, "it is in term " + strconv.FormatUint(m.Term, 10)},
				func(s string) bool { return s == "" })[0])
		}
		if err := wait.For(ctx, followPoll); err != nil {
			return err
		}
	}
	err := h.switchTo(ctx, func(*cluster.Failover) {}, func(s *cluster.Shard) error {
		if now, ok := s.PrimaryDatabase(); !ok || now.ID != primary.ID {
			return errors.New("the primary has changed meanwhile")
		}
		return edit(s, d.ID, func(d *cluster.Database) { d.Role, d.State = cluster.Replica, cluster.Attached })
	})
	if err != nil {
		return err
	}
	h.log.Info("a database follows the primary", "shard", h.shard, "database", d.ID, "primary", primary.ID, "term", term)
	h.cfg.Progress(h.shard, "attached "+d.ID)
	return nil
}

// refusal is why a primary does not serve a replica, or why the replica can't execute what it gets: neither passes by itself.
func refusal(l mysql.Link) string {
	switch {
	case !l.Receiving && !l.Connecting && !l.Unreached && l.ReceiveErr != "":
		return l.ReceiveErr
	case !l.Applying && l.ApplyErr != "":
		return l.ApplyErr
	}
	return ""
}

// diverged marks a database that can't follow any more.
func (h *hand) diverged(ctx context.Context, d cluster.Database, why string) error {
	err := h.switchTo(ctx, func(*cluster.Failover) {}, func(s *cluster.Shard) error {
		return edit(s, d.ID, func(d *cluster.Database) { d.State = cluster.Diverged })
	})
	if err != nil {
		return err
	}
	h.log.Error("a database has diverged: it is not used until it is rebuilt (quipu replica rebuild)", "shard", h.shard, "database", d.ID, "reason", why)
	h.cfg.Progress(h.shard, "diverged "+d.ID)
	return nil
}
