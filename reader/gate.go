package reader

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/wire"
)

// gate bounds how many are inside at once. It never queues: what doesn't fit is told when to come again.
type gate struct {
	bound  string
	slots  chan struct{}
	inside prometheus.Gauge
	full   prometheus.Counter
}

func newGate(bound string, limit int, inside prometheus.Gauge, refused *prometheus.CounterVec) gate {
	return gate{bound: bound, slots: make(chan struct{}, limit), inside: inside, full: refused.WithLabelValues(bound)}
}

// enter returns nil, and then leave must be called, or an overloaded problem.
func (g *gate) enter() error {
	select {
	case g.slots <- struct{}{}:
		g.inside.Inc()
		return nil
	default:
		g.full.Inc()
		return wire.NewProblem(wire.CodeOverloaded, "%d %s are in flight, the most that this reader takes", cap(g.slots), g.bound).
			WithRetryAfter(time.Second)
	}
}

func (g *gate) leave() {
	<-g.slots
	g.inside.Dec()
}
