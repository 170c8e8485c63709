package reader

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"
)

// getStats serves GET /v1/stats: one function of one key.
func (r *Reader) getStats(c echo.Context) (err error) {
	defer func() { r.metrics.answered("stats", err) }()
	p, err := parseParams(c.Request(), "type", "key", "from", "to", "function", "step", "wait", "partial", "explain")
	if err != nil {
		return err
	}
	q, err := r.parseQuery(question{
		Type: p.optional("type"), Key: p.optional("key"), Function: p.optional("function"),
		From: p.optional("from"), To: p.optional("to"), Step: p.optional("step"),
	})
	if err != nil {
		return err
	}
	fresh, err := r.parseWait(p.optional("wait"))
	if err != nil {
		return err
	}
	partial, err := p.flag("partial")
	if err != nil {
		return err
	}
	explain, err := p.flag("explain")
	if err != nil {
		return err
	}
	g, waited, err := ask(c.Request().Context(), r, fresh, func(ctx context.Context) (*gathered, error) {
		defer r.timed("stats", time.Now())
		return r.gatherOne(ctx, q, r.manner(partial, explain, fresh.minAsOf(c.Request())))
	})
	if err != nil {
		return err
	}
	return r.sendStats(c, g, waited)
}

func (r *Reader) sendStats(c echo.Context, g *gathered, waited *bool) error {
	result := &g.results[0]
	points := result.query.span.points()
	body := make([]byte, 0, 512+48*points)
	body, err := appendPlan(appendResult(append(body, '{'), result), g.plans)
	if err != nil {
		return err
	}
	body, err = appendProvenance(body, &g.Provenance, waited)
	if err != nil {
		return err
	}
	r.metrics.points.Add(float64(points))
	r.metrics.told("stats", &g.Provenance, r.now())
	return sendJSON(c, body)
}

// timed records how long one try of a call took.
func (r *Reader) timed(call string, begin time.Time) {
	r.metrics.seconds.WithLabelValues(call).Observe(time.Since(begin).Seconds())
}
