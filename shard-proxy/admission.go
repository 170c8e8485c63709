package shardproxy

import (
	"context"
	"errors"
	"time"

	"github.com/quipudb/quipu/wire"
)

// overloadedFor is how long those are sent away for whom there is no room.
const overloadedFor = time.Second

// class bounds the calls of one kind: some run, some more wait, the others are refused.
type class struct {
	name    string
	running chan struct{}
	waiting chan struct{}
	metrics *metrics
}

func newClass(name string, places, waitingAPlace int, m *metrics) *class {
	m.places.WithLabelValues(name).Set(float64(places))
	return &class{name: name, running: make(chan struct{}, places), waiting: make(chan struct{}, places*waitingAPlace), metrics: m}
}

// enter takes a place, or waits for one until ctx ends. Whoever entered calls leave.
func (c *class) enter(ctx context.Context) error {
	select {
	case c.running <- struct{}{}:
		c.metrics.running.WithLabelValues(c.name).Inc()
		return nil
	default:
	}
	select {
	case c.waiting <- struct{}{}:
	default:
		c.metrics.refused.WithLabelValues(c.name).Inc()
		return wire.NewProblem(wire.CodeOverloaded, "%d %s calls are running and %d wait", cap(c.running), c.name, cap(c.waiting)).WithRetryAfter(overloadedFor)
	}
	c.metrics.waiting.WithLabelValues(c.name).Inc()
	defer func() {
		<-c.waiting
		c.metrics.waiting.WithLabelValues(c.name).Dec()
	}()
	select {
	case c.running <- struct{}{}:
		c.metrics.running.WithLabelValues(c.name).Inc()
		return nil
	case <-ctx.Done():
		return c.outOfTime(ctx.Err())
	}
}

// outOfTime says that nothing was done: the call did not come to its turn.
func (c *class) outOfTime(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	c.metrics.refused.WithLabelValues(c.name).Inc()
	return wire.NewProblem(wire.CodeOverloaded, "the time ran out before the call came to its turn").WithRetryAfter(overloadedFor).WithCause(err)
}

func (c *class) leave() {
	<-c.running
	c.metrics.running.WithLabelValues(c.name).Dec()
}
