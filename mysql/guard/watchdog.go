package guard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quipudb/quipu/internal/wait"
)

const (
	// watchInterval is how often deadlines are looked at.
	watchInterval = 20 * time.Millisecond
	// maxJobs bounds what waits for a killer. What finds no room is left to the server's own limit.
	maxJobs = 1024
	killers = 4
	// A kill that did not help yet is repeated after a pause.
	maxAttempts = 6
	firstPause  = 20 * time.Millisecond
	// Statements older than lookAge have their rows looked at once, when three quarters of their time are over: when the server has ended one, it is too late.
	lookAge = 200 * time.Millisecond
)

// job is for a killer: to end a query for a reason, or without one, to look at its rows.
type job struct {
	query  *Query
	reason Reason
}

// Run watches deadlines and kills, until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	for range killers {
		workers.Go(func() { g.work(ctx) })
	}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			g.watch()
		}
	}
}

func (g *Guard) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-g.jobs:
			if j.reason == "" {
				g.look(ctx, j.query)
				continue
			}
			_ = g.destroy(ctx, j.query, j.reason)
		}
	}
}

// queue hands a job to the killers, if there is room.
func (g *Guard) queue(j job) bool {
	select {
	case g.jobs <- j:
		return true
	default:
		g.metrics.dropped.Inc()
		return false
	}
}

// watch looks for statements that run too long.
func (g *Guard) watch() {
	now := g.cfg.Now()
	for _, q := range g.all() {
		if q.class == Write {
			continue
		}
		if reason, due := q.due(now); due {
			g.queue(job{query: q, reason: reason})
		}
	}
}

// due tells what is to be done with a statement now, and notes that it is being done.
func (q *Query) due(now time.Time) (reason Reason, due bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.ended || q.reason != "":
		return "", false
	case !now.Before(q.deadline):
		q.wantLocked(Deadline)
		return Deadline, true
	case !q.looked && now.Sub(q.begun) >= max(lookAge, q.deadline.Sub(q.begun)*3/4):
		q.looked = true
		return "", true
	}
	return "", false
}

// look notes how many rows a statement has examined.
func (g *Guard) look(ctx context.Context, q *Query) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.KillTimeout)
	defer cancel()
	sight, err := q.statement.Killer.Look(ctx, q.target)
	if err == nil && sight.Running {
		q.saw(sight)
	}
}

func (q *Query) saw(s Sight) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.examined = max(q.examined, s.RowsExamined)
}

// Kill ends the statement of an id because a person wants it, and returns once it is dead.
func (g *Guard) Kill(ctx context.Context, number string) error {
	q := g.find(number)
	switch {
	case q == nil:
		return ErrUnknown
	case q.class == Write:
		return ErrWrite
	}
	q.mu.Lock()
	q.wantLocked(Asked)
	q.mu.Unlock()
	return g.destroy(ctx, q, Asked)
}

// destroy kills a statement and sees to it that it is dead.
func (g *Guard) destroy(ctx context.Context, q *Query, reason Reason) error {
	begin, pause, hit := g.cfg.Now(), firstPause, false
	var err error
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		var sight Sight
		if sight, err = q.tryKill(ctx); err == nil && !sight.Running {
			g.metrics.killSeconds.Observe(g.cfg.Now().Sub(begin).Seconds())
			q.buried(hit)
			return nil
		}
		hit = hit || err == nil
		if err == nil {
			err = fmt.Errorf("kill query %s: it still runs", q.id())
		}
		if wait.For(ctx, pause) != nil {
			break
		}
		pause *= 2
	}
	g.metrics.failed.WithLabelValues(string(reason)).Inc()
	g.log.Warn("killing a query failed", "query", q.id(), "class", q.class, "database", q.statement.Database, "reason", reason, "error", err)
	q.buried(hit)
	return err
}

// tryKill makes one attempt. The connection is not used for another statement meanwhile.
func (q *Query) tryKill(ctx context.Context) (Sight, error) {
	q.turn.Lock()
	defer q.turn.Unlock()
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return Sight{}, nil
	}
	underWay := make(chan struct{})
	q.kill, q.aimed = underWay, true
	q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, q.guard.cfg.KillTimeout)
	defer cancel()
	sight, err := q.statement.Killer.Kill(ctx, q.target)
	if err == nil && sight.Running {
		q.saw(sight) // before the end of the statement is told of
	}
	q.mu.Lock()
	q.kill = nil
	q.mu.Unlock()
	close(underWay)
	return sight, err
}

// buried ends the account of a statement whose connection is gone. One that has a connection is ended by it.
func (q *Query) buried(hit bool) {
	q.mu.Lock()
	over := q.abandoned && !q.ended
	if over {
		q.ended = true
	}
	q.mu.Unlock()
	if !over {
		return
	}
	outcome := Done // it was over before the kill came
	if hit {
		outcome = Interrupted
	}
	q.finish(outcome)
}
