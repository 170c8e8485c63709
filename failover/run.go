package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/mysql"
)

// giveUpAfter is how long a change goes on trying with a new primary that no longer answers.
const giveUpAfter = time.Minute

// Change changes the primary of a shard, or goes on with a change that is under way. What it decided on is returned with ErrRefused, too; nothing
// has been changed then. Other errors leave the change to whoever takes the shard in hand next, or, with ErrAborted, as it was before.
func (k *Keeper) Change(ctx context.Context, shard string, r Request) (*Plan, error) {
	h, err := k.take(ctx, shard)
	if err != nil {
		return nil, err
	}
	defer h.unlock()
	if i := h.record.Intent; i != nil {
		return &Plan{Shard: shard, From: i.From, To: i.To, Term: i.Term, Planned: i.Planned, Reason: i.Reason}, h.goOn(ctx)
	}
	f, err := k.gather(ctx, shard, r.Automatic)
	if err != nil {
		return nil, fmt.Errorf("change the primary of shard %s: %w", shard, err)
	}
	k.askLog(ctx, f)
	p := Decide(f, k.cfg.Rules, r)
	if !p.Allowed() {
		for _, refusal := range p.Refusals {
			k.metrics.refusals.WithLabelValues(shard, string(refusal.Code)).Inc()
		}
		return p, fmt.Errorf("shard %s: %w: %s", shard, ErrRefused, p.Refusals[0].Detail)
	}
	if err := h.begin(ctx, p, r); err != nil {
		return p, fmt.Errorf("change the primary of shard %s: %w", shard, err)
	}
	return p, h.goOn(ctx)
}

// begin takes the role from the old primary: from here on no proxy that sees ZooKeeper writes to it.
func (h *hand) begin(ctx context.Context, p *Plan, r Request) error {
	begun := h.cfg.Now()
	intent := &cluster.Intent{
		From: p.From, To: p.To, Term: p.Term, Planned: p.Planned, Reason: p.Reason, Begun: begun.UTC(), Step: cluster.StepIntended,
	}
	if r.AcceptLoss {
		intent.AcceptLoss = append([]string{"agreed to"}, p.Lost...)
	}
	err := h.switchTo(ctx, func(f *cluster.Failover) { f.Intent = intent }, func(s *cluster.Shard) error {
		to, ok := s.Database(p.To)
		if primary, has := s.PrimaryDatabase(); !has || primary.ID != p.From || !ok || to.State != cluster.Attached || to.Unpromotable {
			return fmt.Errorf("the topology of shard %s has changed meanwhile", s.ID)
		}
		return edit(s, p.From, func(d *cluster.Database) { d.Role, d.State = cluster.Replica, cluster.Detached })
	})
	if err != nil {
		return err
	}
	h.log.Warn("a primary is being changed", "shard", h.shard, "from", p.From, "to", p.To, "term", p.Term, "planned", p.Planned,
		"reason", p.Reason, "replayed_batches", p.Replayed, "lost", p.Lost, "epoch", h.record.Epoch)
	h.tell(cluster.StepIntended, begun)
	return nil
}

// goOn does what is left of the change that is under way.
func (h *hand) goOn(ctx context.Context) error {
	i := h.record.Intent
	both, err := h.databases(ctx, i.From, i.To)
	if err != nil {
		return err
	}
	from, to := both[0], both[1]
	for _, step := range []struct {
		step cluster.FailoverStep
		work func(ctx context.Context, from, to cluster.Database) ([]func(*cluster.Intent), error)
	}{
		{cluster.StepFenced, h.fence}, {cluster.StepCaughtUp, h.catchUp}, {cluster.StepStopped, h.stop}, {cluster.StepPromoted, h.promote},
	} {
		if h.record.Intent.Reached(step.step) {
			continue
		}
		begun := h.cfg.Now()
		more, err := step.work(ctx, from, to)
		if err != nil {
			return h.failed(ctx, step.step, err)
		}
		if err := h.done(ctx, step.step, begun, more...); err != nil {
			return err
		}
	}
	return h.finish(ctx)
}

// failed takes a change back as long as the new primary is a replica still, or if it has been away for long.
func (h *hand) failed(ctx context.Context, step cluster.FailoverStep, cause error) error {
	err := fmt.Errorf("%s of shard %s: %w", step, h.shard, cause)
	if ctx.Err() != nil {
		return err // the next one goes on
	}
	if h.record.Intent.Reached(cluster.StepStopped) && h.cfg.Now().Sub(h.record.Intent.Begun) < giveUpAfter {
		return err
	}
	return errors.Join(fmt.Errorf("%w: %w", ErrAborted, err), h.abort(ctx, cause))
}

// abort gives the role back.
func (h *hand) abort(ctx context.Context, cause error) error {
	i := *h.record.Intent
	err := h.switchTo(ctx, func(f *cluster.Failover) { f.Intent = nil }, func(s *cluster.Shard) error {
		if i.Reached(cluster.StepStopped) {
			if err := edit(s, i.To, func(d *cluster.Database) { d.State = cluster.Detached }); err != nil {
				return err
			}
		}
		return edit(s, i.From, func(d *cluster.Database) { d.Role, d.State = cluster.Primary, cluster.Attached })
	})
	if err != nil {
		return fmt.Errorf("give the role back to %s: %w", i.From, err)
	}
	h.metrics.changes.WithLabelValues(h.shard, "aborted").Inc()
	h.log.Error("the change of a primary was taken back", "shard", h.shard, "from", i.From, "to", i.To, "error", cause)
	h.cfg.Progress(h.shard, "aborted")
	h.eachReplica(ctx, nil, "replicate again", (*mysql.DB).StartFollowing)
	both, err := h.databases(ctx, i.From)
	if err != nil {
		return err
	}
	pool, err := h.server(both[0])
	if err == nil {
		err = h.within(ctx, h.cfg.Timeout, func(ctx context.Context) error { return pool.SetReadOnly(ctx, false) })
	}
	if err != nil {
		h.log.Warn("the primary can't be reached to let it write again", "shard", h.shard, "database", i.From, "error", err)
	}
	return nil
}

func (h *hand) within(ctx context.Context, bound time.Duration, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return work(ctx)
}

// fence makes the old primary refuse writes, if it can be reached. In a planned change it must be.
func (h *hand) fence(ctx context.Context, from, _ cluster.Database) ([]func(*cluster.Intent), error) {
	bound := h.cfg.Fence
	if h.record.Intent.Planned {
		bound = h.cfg.Drain
	}
	err := h.within(ctx, bound, func(ctx context.Context) error { return h.keepFromWriting(ctx, from) })
	if err != nil && !h.record.Intent.Planned && ctx.Err() == nil {
		h.log.Warn("the old primary can't be reached to fence it: no proxy that knows of the change writes to it", "shard", h.shard, "database", from.ID, "error", err)
		err = nil
	}
	return nil, err
}

// sessionPoll is how often sessions are looked for that were told to end.
const sessionPoll = 20 * time.Millisecond

// keepFromWriting makes a server read-only and ends what was being written: afterwards it commits nothing more.
func (k *Keeper) keepFromWriting(ctx context.Context, d cluster.Database) error {
	pool, err := k.server(d)
	if err != nil {
		return err
	}
	return silence(ctx, pool, k.cfg.Writers)
}

func silence(ctx context.Context, pool *mysql.DB, writers []string) error {
	if err := pool.SetReadOnly(ctx, true); err != nil || len(writers) == 0 {
		return err
	}
	for {
		_, left, err := pool.EndSessions(ctx, writers)
		if err != nil || left == 0 {
			return err
		}
		if err := wait.For(ctx, sessionPoll); err != nil {
			return fmt.Errorf("%d sessions on %s don't end: %w", left, pool.ID(), err)
		}
	}
}

// catchUp lets the new primary execute what it has received, for a bounded time; in a planned change, all that the old one has.
func (h *hand) catchUp(ctx context.Context, from, to cluster.Database) ([]func(*cluster.Intent), error) {
	pool, err := h.server(to)
	if err != nil {
		return nil, err
	}
	if h.record.Intent.Planned {
		last, err := h.member(ctx, from)
		if err != nil {
			return nil, err
		}
		return nil, h.awaitExecuted(ctx, pool, last.Held.Executed, h.cfg.Drain)
	}
	m, err := h.member(ctx, to)
	if err != nil {
		return nil, err
	}
	if !m.Link.Applying {
		h.log.Warn("the new primary does not execute what it has received: the log brings it back", "shard", h.shard, "database", to.ID, "reason", m.Link.ApplyErr)
		return nil, nil
	}
	if err := h.awaitExecuted(ctx, pool, m.Link.Received, h.cfg.CatchUp); err != nil {
		h.log.Warn("the new primary has not executed all that it has received in time: the log brings the rest back", "shard", h.shard, "database", to.ID, "error", err)
	}
	return nil, ctx.Err()
}

func (k *Keeper) member(ctx context.Context, d cluster.Database) (*mysql.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	pool, err := k.server(d)
	if err != nil {
		return nil, err
	}
	return pool.Member(ctx)
}

func (h *hand) awaitExecuted(ctx context.Context, pool *mysql.DB, position string, bound time.Duration) error {
	begun := h.cfg.Now()
	for {
		left := bound - h.cfg.Now().Sub(begun)
		if left <= 0 {
			return fmt.Errorf("%s has not executed %s within %s", pool.ID(), position, bound)
		}
		done, err := pool.AwaitExecuted(ctx, position, min(left, h.cfg.Timeout))
		if done || err != nil {
			return err
		}
	}
}

// stop makes the new primary nobody's replica, unless the log does not reach back to what it has counted.
func (h *hand) stop(ctx context.Context, from, to cluster.Database) ([]func(*cluster.Intent), error) {
	pool, err := h.server(to)
	if err != nil {
		return nil, err
	}
	// The others first: a frozen primary that wakes up from here on must not have them execute what the new one lacks.
	h.eachReplica(ctx, []string{from.ID, to.ID}, "stop replication", (*mysql.DB).StopFollowing)
	if err := pool.StopFollowing(ctx); err != nil {
		return nil, err
	}
	m, err := h.member(ctx, to)
	if err == nil {
		err = h.reaches(ctx, m)
	}
	if err != nil {
		return nil, err // which starts replication again, as it takes the change back
	}
	return []func(*cluster.Intent){func(i *cluster.Intent) { i.Position = m.Held.Executed }}, nil
}

// eachReplica does something to every attached replica of the shard but some, at once. One that does not answer is left as it is.
func (h *hand) eachReplica(ctx context.Context, but []string, what string, work func(*mysql.DB, context.Context) error) {
	topology, _, err := h.cfg.Store.Topology(ctx)
	if err != nil {
		h.log.Warn("the shard's replicas can't be listed", "shard", h.shard, "error", err)
		return
	}
	shard, _ := topology.Shard(h.shard)
	var all sync.WaitGroup
	defer all.Wait()
	for _, d := range shard.Databases {
		if d.Role != cluster.Replica || d.State != cluster.Attached || slices.Contains(but, d.ID) {
			continue
		}
		all.Go(func() {
			pool, err := h.server(d)
			if err == nil {
				err = h.within(ctx, h.cfg.Timeout, func(ctx context.Context) error { return work(pool, ctx) })
			}
			if err != nil {
				h.log.Warn("a replica could not be told to "+what, "shard", h.shard, "database", d.ID, "error", err)
			}
		})
	}
}

// reaches asks once more, now that nothing changes any longer, what was asked for the plan.
func (h *hand) reaches(ctx context.Context, m *mysql.Member) error {
	if len(h.record.Intent.AcceptLoss) > 0 {
		return nil
	}
	topology, _, err := h.cfg.Store.Topology(ctx)
	if err != nil {
		return err
	}
	f := &Facts{Partitions: topology.PartitionsOf(h.shard)}
	h.askLog(ctx, f)
	if f.Log == nil {
		return fmt.Errorf("whether the log reaches back far enough can't be told: %s", f.LogError)
	}
	if lost := f.Log.lacks(m.Checkpoints, f.Partitions); len(lost) > 0 {
		return errors.New(strings.Join(lost, "; "))
	}
	return nil
}

// promote gives the new primary its term and lets it write.
func (h *hand) promote(ctx context.Context, _, to cluster.Database) ([]func(*cluster.Intent), error) {
	pool, err := h.server(to)
	if err != nil {
		return nil, err
	}
	for _, work := range []func() error{
		func() error { return pool.ForgetSource(ctx) },
		func() error { return pool.RaiseTerm(ctx, h.record.Intent.Term) },
		func() error { return pool.SetReadOnly(ctx, false) },
	} {
		if err := work(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// finish names the new primary in the topology. Every other database of the shard has yet to be made to follow it.
func (h *hand) finish(ctx context.Context) error {
	i, now := *h.record.Intent, h.cfg.Now()
	err := h.switchTo(ctx, func(f *cluster.Failover) {
		f.Remember(cluster.Promotion{
			Term: i.Term, From: i.From, To: i.To, Position: i.Position, Planned: i.Planned, Reason: i.Reason, Begun: i.Begun, Ended: now.UTC(), Lost: i.AcceptLoss,
		})
	}, func(s *cluster.Shard) error {
		for d := range s.Databases {
			if s.Databases[d].State == cluster.Attached {
				s.Databases[d].State = cluster.Detached
			}
		}
		return edit(s, i.To, func(d *cluster.Database) { d.Role, d.State, d.Unpromotable = cluster.Primary, cluster.Attached, false })
	})
	if err != nil {
		return err
	}
	h.tell(cluster.StepSwitched, now)
	h.metrics.changes.WithLabelValues(h.shard, "done").Inc()
	h.metrics.phases.WithLabelValues("all").Observe(now.Sub(i.Begun).Seconds())
	h.log.Warn("the primary was changed", "shard", h.shard, "from", i.From, "to", i.To, "term", i.Term, "seconds", now.Sub(i.Begun).Seconds())
	return nil
}
