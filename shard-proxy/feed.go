package shardproxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quipudb/quipu/internal/wait"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/guard"
)

const (
	feedInterval = 500 * time.Millisecond // between two looks while somebody asks
	feedFresh    = time.Second            // how old the last look may be for an answer to rest on it
	feedTimeout  = time.Second            // of one look, and of waiting for one
	feedChanges  = 4096                   // changes read at once: more are as good as all
)

// feed follows the late changes of the shard, whoever applied them, while there are reads.
type feed struct {
	proxy   *Proxy
	history *history
	kick    chan struct{}

	mu     sync.Mutex // guards all below
	looked look
	failed bool          // the last look found nothing
	next   chan struct{} // closed when the next look has ended
}

// look is what was found out at one instant.
type look struct {
	at    time.Time // when it began; zero: never
	stale bool      // by what was read then: it was a replica that lags, or as-of had been set back
}

func newFeed(p *Proxy, limit int64) *feed {
	return &feed{proxy: p, history: newHistory(limit), kick: make(chan struct{}, 1), next: make(chan struct{})}
}

// run looks whenever somebody asked, but not all the time.
func (f *feed) run(ctx context.Context) error {
	for {
		select {
		case <-f.kick:
		case <-ctx.Done():
			return nil
		}
		f.look(ctx)
		if wait.For(ctx, feedInterval) != nil {
			return nil
		}
	}
}

// wish asks for a look soon.
func (f *feed) wish() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// latest returns the last look, if need be after waiting for another one. While databases can't be read it does not wait.
func (f *feed) latest(ctx context.Context) look {
	f.wish()
	f.mu.Lock()
	looked, failed, next := f.looked, f.failed, f.next
	f.mu.Unlock()
	if failed || time.Since(looked.at) <= feedFresh {
		return looked
	}
	timer := time.NewTimer(feedTimeout)
	defer timer.Stop()
	select {
	case <-next:
	case <-timer.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looked
}

// last returns the last look as it is.
func (f *feed) last() look {
	f.wish()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looked
}

// look reads what changed since the last one.
func (f *feed) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	begin := time.Now()
	var changes *mysql.Changes
	after := f.history.after()
	from, err := f.proxy.reading(ctx, func(ctx context.Context, db *mysql.DB) (err error) {
		ctx, done := f.proxy.within(ctx, guard.Point)
		defer done()
		changes, err = db.Changes(ctx, after, feedChanges)
		return err
	})
	now := look{at: begin}
	if err == nil {
		now.stale = from.stale
		f.take(changes, &now)
	}
	f.end(ctx, now, err)
}

func (f *feed) take(changes *mysql.Changes, now *look) {
	p := f.proxy
	asOf := make(map[int]int64, len(changes.Positions))
	for partition, position := range changes.Positions {
		asOf[partition] = position.AsOf
	}
	now.stale = p.tide.observe(changes.Term, asOf) || now.stale
	taken := f.history.take(changes)
	if taken.newTerm {
		p.log.Info("shard term changed, answers dropped", "term", changes.Term)
	}
	p.cache.expire(changes.Term)
	if taken.full {
		f.makeRoom()
	}
	p.metrics.cache.told(len(changes.List), taken)
	_, bytes := f.history.size()
	p.metrics.cache.historyBytes.Set(float64(bytes))
}

// makeRoom forgets old changes, once every answer that they speak of was looked at.
func (f *feed) makeRoom() {
	f.proxy.cache.each(func(q question, e *entry) { f.history.look(&q, q.hash(), e) })
	f.history.forget()
	f.proxy.metrics.cache.forgotten.Inc()
}

func (f *feed) end(ctx context.Context, now look, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = err != nil
	if err == nil {
		f.looked = now
	}
	close(f.next)
	f.next = make(chan struct{})
	f.proxy.metrics.cache.looked(err)
	if err != nil && !errors.Is(err, mysql.ErrNoChanges) && ctx.Err() == nil {
		f.proxy.log.Debug("late changes can't be read", "error", err)
	}
}
