package failover

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/internal/wait"
)

// leadPause is between two tries to lead after one that failed.
const leadPause = time.Second

// reminder is how often a refusal that goes on is logged again.
const reminder = time.Minute

// Run looks after all shards, as long as this process leads; until then it waits. It ends with ctx, once what is being done has been noted.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		unlock, err := k.cfg.Store.Lock(ctx, "failover")
		if err != nil {
			if ctx.Err() == nil {
				k.log.Warn("can't tell who looks after the shards, will ask again", "error", err)
				_ = wait.For(ctx, leadPause)
			}
			continue
		}
		k.metrics.leading.Set(1)
		k.log.Info("looking after the shards")
		k.lead(ctx)
		k.metrics.leading.Set(0)
		unlock()
	}
	return nil
}

// lead watches each shard of the topology by itself, so that one that is slow to ask holds up no other.
func (k *Keeper) lead(ctx context.Context) {
	var shards sync.WaitGroup
	defer shards.Wait()
	watched := map[string]bool{}
	for {
		if s := k.cfg.Snapshot(); s != nil {
			for _, shard := range s.Topology.Shards {
				if !watched[shard.ID] {
					watched[shard.ID] = true
					shards.Go(func() { (&watch{Keeper: k, shard: shard.ID}).run(ctx) })
				}
			}
		}
		if wait.For(ctx, k.cfg.Interval) != nil {
			return
		}
	}
}

// watch is what is remembered of a shard between two looks.
type watch struct {
	*Keeper
	shard  string
	agreed time.Time // since when all agree that the primary is down; zero: they don't
	tended time.Time // when chores were done last
	failed bool      // that they did not end well: they are given some time
	told   time.Time // when a refusal was logged last
	code   RefusalCode

	rebuilds sync.WaitGroup
	rebuilt  chan struct{} // closed when the last rebuild has ended; nil: there was none
	next     time.Time     // of the next rebuild
}

// rebuildPause is between two rebuilds of a shard: one that can't succeed must not keep its source busy.
const rebuildPause = time.Minute

func (w *watch) run(ctx context.Context) {
	defer w.rebuilds.Wait()
	for {
		if err := w.once(ctx); err != nil && ctx.Err() == nil {
			w.metrics.errors.WithLabelValues(w.shard).Inc()
			w.log.Warn("looking after a shard failed, will try again", "shard", w.shard, "error", err)
		}
		if wait.For(ctx, w.cfg.Interval) != nil {
			return
		}
	}
}

// once looks at the shard, and does what is to be done.
func (w *watch) once(ctx context.Context) error {
	f, err := w.look(ctx, w.shard)
	if err != nil {
		w.agreed = time.Time{}
		return err
	}
	w.observe(f)
	w.rebuild(ctx, f)
	c := choresOf(f)
	if w.due(c, f.Now) {
		w.tended = f.Now
		err := w.Tend(ctx, w.shard)
		w.failed = err != nil
		return err
	}
	agreed, why := f.Agreement()
	if _, has := f.Shard.PrimaryDatabase(); !has || !agreed {
		w.agreed, w.told = time.Time{}, time.Time{}
		return nil
	}
	if w.agreed.IsZero() {
		w.agreed = f.Now
		w.log.Warn("a primary seems to be down", "shard", w.shard, "words", f.words())
	}
	if !w.cfg.Automatic || f.Now.Sub(w.agreed) < w.cfg.Confirm {
		return nil
	}
	p, err := w.Change(ctx, w.shard, Request{Automatic: true, Reason: why})
	if errors.Is(err, ErrRefused) {
		w.refused(p, f.Now)
		return nil
	}
	w.agreed, w.tended = time.Time{}, time.Time{}
	return err
}

// rebuild fills a database that has diverged anew, if that is wanted, one at a time, while the shard goes on being watched.
func (w *watch) rebuild(ctx context.Context, f *Facts) {
	if w.cfg.Rebuild == nil || f.Record.Intent != nil || f.Now.Before(w.next) {
		return
	}
	if w.rebuilt != nil {
		select {
		case <-w.rebuilt:
		default:
			return
		}
	}
	i := slices.IndexFunc(f.Shard.Databases, func(d cluster.Database) bool { return d.State == cluster.Diverged })
	if i < 0 {
		return
	}
	r := *w.cfg.Rebuild
	r.Shard, r.Database = w.shard, f.Shard.Databases[i].ID
	done := make(chan struct{})
	w.rebuilt, w.next = done, f.Now.Add(rebuildPause)
	w.rebuilds.Go(func() {
		defer close(done)
		w.log.Warn("rebuilding a database that has diverged", "shard", w.shard, "database", r.Database)
		begun := w.cfg.Now()
		from, err := w.Rebuild(ctx, r)
		if err != nil {
			w.log.Error("rebuilding a database failed", "shard", w.shard, "database", r.Database, "error", err)
			return
		}
		w.log.Info("a database was rebuilt", "shard", w.shard, "database", r.Database, "from", from, "seconds", w.cfg.Now().Sub(begun).Seconds())
	})
}

// due tells whether it is time for what has to be done.
func (w *watch) due(c chore, now time.Time) bool {
	wait := time.Duration(0)
	switch {
	case c.finish && w.failed:
		wait = leadPause
	case !c.finish && w.failed, len(c.rejoin) > 0 && !c.enable && len(c.guard) == 0:
		wait = w.cfg.Rejoin
	}
	return !c.none() && now.Sub(w.tended) >= wait
}

// refused logs why a lost primary is not replaced, when that is news, and now and then.
func (w *watch) refused(p *Plan, now time.Time) {
	if code := p.Refusals[0].Code; w.told.IsZero() || code != w.code || now.Sub(w.told) > reminder {
		w.told, w.code = now, code
		w.log.Error("a lost primary is not replaced", "shard", w.shard, "primary", p.From, "refusals", p.Refusals, "candidates", p.Candidates)
	}
}

func (w *watch) observe(f *Facts) {
	words := map[Word]int{WordAlive: 0, WordDown: 0, WordUnknown: 0}
	for _, proxy := range f.Proxies {
		words[proxy.Word]++
	}
	states := map[cluster.DatabaseState]int{cluster.Detached: 0, cluster.Diverged: 0}
	primaries := 0.0
	for _, d := range f.Shard.Databases {
		if d.Role == cluster.Primary {
			primaries++
			continue
		}
		states[d.State]++
		if d.State == cluster.Attached {
			words[f.Servers[d.ID].Word]++
		}
	}
	for word, n := range words {
		w.metrics.words.WithLabelValues(w.shard, string(word)).Set(float64(n))
	}
	for _, state := range []cluster.DatabaseState{cluster.Detached, cluster.Diverged} {
		w.metrics.misplaced.WithLabelValues(w.shard, string(state)).Set(float64(states[state]))
	}
	w.metrics.primary.WithLabelValues(w.shard).Set(primaries)
	since := 0.0
	if !w.agreed.IsZero() {
		since = f.Now.Sub(w.agreed).Seconds()
	}
	w.metrics.agreed.WithLabelValues(w.shard).Set(since)
}
