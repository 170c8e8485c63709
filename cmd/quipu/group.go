package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// group runs the parts of a process. They start in order; when the process is told to stop, or any part ends by itself, they are
// stopped in reverse order, each with a deadline of its own, and each is awaited before the next one is told. Not safe for
// concurrent use.
type group struct {
	log   *slog.Logger
	parts []*part
	ended chan *part // parts that ended, each once
}

type part struct {
	name   string
	grace  time.Duration
	cancel context.CancelFunc
	done   chan struct{} // closed once err is final
	err    error
}

// maxParts bounds a group, so that no part ever waits to tell that it ended.
const maxParts = 32

func newGroup(log *slog.Logger) *group { return &group{log: log, ended: make(chan *part, maxParts)} }

// start runs a part until it is told to stop; then it may take grace.
func (g *group) start(name string, grace time.Duration, run func(context.Context) error) {
	if len(g.parts) == maxParts {
		panic("group is full")
	}
	ctx, cancel := context.WithCancel(context.Background()) // not the process's: parts end in reverse order, not all at once
	p := &part{name: name, grace: grace, cancel: cancel, done: make(chan struct{})}
	g.parts = append(g.parts, p)
	go func() {
		p.err = run(ctx)
		close(p.done)
		g.ended <- p
	}()
}

// stopsFirst makes a part the first to stop of those started so far.
func (g *group) stopsFirst(name string) {
	at := slices.IndexFunc(g.parts, func(p *part) bool { return p.name == name })
	p := g.parts[at]
	g.parts = append(slices.Delete(g.parts, at, at+1), p)
}

// await waits for a condition, but not beyond ctx or the end of any part, which is its error then.
func (g *group) await(ctx context.Context, what string, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waited := make(chan error, 1)
	go func() { waited <- wait(ctx) }()
	select {
	case err := <-waited:
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		return nil
	case p := <-g.ended:
		g.ended <- p // stop wants to know as well
		cancel(errEnded(p))
		<-waited
		return errEnded(p)
	}
}

// run waits until ctx ends, which is a stop as asked for, or a part does, which is an error; then it stops all parts.
func (g *group) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		g.log.Info("stopping")
		return g.stop()
	case p := <-g.ended:
		return errors.Join(errEnded(p), g.stop())
	}
}

// fail stops all parts after an error at the start. A start that was interrupted by ctx is a stop as asked for.
func (g *group) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		g.log.Info("stopping before the start was complete", "reason", err)
		return g.stop()
	}
	return errors.Join(err, g.stop())
}

// stop ends the parts, last first. A part that outlasts its grace is left behind, and is an error.
func (g *group) stop() error {
	var errs []error
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		select {
		case <-p.done:
			p.cancel()
			continue // ended by itself: its error was told, or comes first
		default:
		}
		p.cancel()
		if err := p.wait(); err != nil {
			errs = append(errs, err)
		}
		g.log.Debug("stopped", "part", p.name)
	}
	return errors.Join(errs...)
}

func (p *part) wait() error {
	timer := time.NewTimer(p.grace)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil && !errors.Is(p.err, context.Canceled) {
			return fmt.Errorf("stop %s: %w", p.name, p.err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("stop %s: not done after %v", p.name, p.grace)
	}
}

func errEnded(p *part) error {
	if p.err == nil {
		return fmt.Errorf("%s ended by itself", p.name)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}
