package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/internal/wait"
)

// How long the supervisor waits before it starts something again: doubling, up to a
// bound, and from the beginning after a while without a fall.
const (
	restartFirst   = 100 * time.Millisecond
	restartLongest = 10 * time.Second
	restartForgets = 10 * time.Second
)

// Supervise starts again whatever ends, until ctx is done. It stops nothing. A server
// or role is started again on its data as often as it takes, at growing intervals.
func (c *Cluster) Supervise(ctx context.Context) error {
	var group errgroup.Group
	for _, p := range c.parts {
		group.Go(func() error {
			c.watch(ctx, p)
			return nil
		})
	}
	return group.Wait()
}

// StartAgain starts a part that has ended and that nobody supervises.
func (c *Cluster) StartAgain(ctx context.Context, name string) error {
	for _, p := range c.parts {
		if p.name != name {
			continue
		}
		if err := p.proc.Start(ctx); err != nil {
			return err
		}
		return c.startedAgain(p)
	}
	return fmt.Errorf("start %s: there is no such part", name)
}

// startedAgain notes a restart.
func (c *Cluster) startedAgain(p *part) error {
	c.mu.Lock()
	c.again[p.name]++
	c.mu.Unlock()
	return c.describe()
}

func (c *Cluster) watch(ctx context.Context, p *part) {
	pause := restartFirst
	for {
		process, since := p.proc.Process(), time.Now()
		select {
		case <-ctx.Done():
			return
		case <-process.Done():
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(since) > restartForgets {
			pause = restartFirst
		}
		c.say("%s ended: %v; starting it again", p.name, exitError(process))
		for !c.restart(ctx, p, pause) {
			if ctx.Err() != nil {
				return
			}
			pause = min(2*pause, restartLongest)
		}
		pause = min(2*pause, restartLongest)
	}
}

// restart waits and then starts a part again. It tells whether the part runs.
func (c *Cluster) restart(ctx context.Context, p *part, pause time.Duration) bool {
	if wait.For(ctx, pause) != nil {
		return false
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	role, isRole := p.proc.(*Role)
	var err error
	if isRole {
		err = role.Launch(ctx)
	} else {
		err = p.proc.Start(ctx)
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			c.say("%v", err)
		}
		return false
	}
	if err := c.startedAgain(p); err != nil {
		c.say("%v", err)
	}
	if isRole {
		// A role that waits for others is left to wait: its end is what counts.
		if err := role.AwaitReady(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				c.say("%s runs again but is not ready: %v", p.name, err)
			}
			return true
		}
	}
	c.say("%s is back (%.1f s)", p.name, time.Since(begun).Seconds())
	return true
}
