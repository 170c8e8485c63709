package reader

import (
	"context"
	"encoding/json"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// batch is the body of POST /v1/stats:batch. Its own fields stand for those that a query leaves out.
type batch struct {
	question
	Queries []question `json:"queries"`
	Wait    *string    `json:"wait"`
	Partial bool       `json:"partial"`
	Explain bool       `json:"explain"`
}

// itemError is why one item of a batch has no value, in the form that ingest has for rejected events.
type itemError struct {
	Code      wire.Code `json:"code"`
	Message   string    `json:"message"`
	Field     string    `json:"field,omitempty"`
	Retryable bool      `json:"retryable"`
}

// postBatch serves POST /v1/stats:batch: many queries, each with an answer or an error of its own.
func (r *Reader) postBatch(c echo.Context) (err error) {
	defer func() { r.metrics.answered("batch", err) }()
	if _, err = parseParams(c.Request()); err != nil {
		return err
	}
	b, err := r.decodeBatch(c)
	if err != nil {
		return err
	}
	fresh, err := r.parseWait(b.Wait)
	if err != nil {
		return err
	}
	asked, err := r.parseBatch(b)
	if err != nil {
		return err
	}
	g, waited, err := ask(c.Request().Context(), r, fresh, func(ctx context.Context) (*gathered, error) {
		defer r.timed("batch", time.Now())
		g := r.gather(ctx, asked, r.manner(b.Partial, b.Explain, fresh.minAsOf(c.Request())))
		return g, allFailed(g.results)
	})
	if err != nil {
		return err
	}
	return r.sendBatch(c, b, g, waited)
}

// parseBatch checks every query. The error is about the whole batch; that of one query becomes its result.
func (r *Reader) parseBatch(b *batch) ([]result, error) {
	if len(b.Queries) == 0 {
		return nil, badField("queries", "queries is missing or empty")
	}
	if len(b.Queries) > r.limits.BatchQueries {
		return nil, wire.NewProblem(wire.CodeUnprocessable, "the batch has %d queries, the limit is %d", len(b.Queries), r.limits.BatchQueries).WithField("queries")
	}
	out := make([]result, len(b.Queries))
	points := int64(0)
	for i := range b.Queries {
		q, err := r.parseQuery(b.Queries[i].or(&b.question))
		if err != nil {
			out[i].problem = problemOf(err)
			continue
		}
		out[i].query = q
		points += q.span.points()
	}
	if limit := int64(r.limits.BatchPoints); points > limit {
		return nil, wire.NewProblem(wire.CodeUnprocessable, "the answers would have %d points, the limit of a batch is %d", points, limit).WithField("queries")
	}
	return out, nil
}

// or returns q with what it leaves out taken from d.
func (q question) or(d *question) question {
	for _, f := range []struct{ mine, its **string }{
		{&q.Type, &d.Type}, {&q.Key, &d.Key}, {&q.Function, &d.Function}, {&q.From, &d.From}, {&q.To, &d.To}, {&q.Step, &d.Step},
	} {
		if *f.mine == nil {
			*f.mine = *f.its
		}
	}
	return q
}

// allFailed returns the problem of the first query when every query failed and may succeed later: a client that knows
// nothing but status codes then tries again.
func allFailed(results []result) error {
	for i := range results {
		if p := results[i].problem; p == nil || !wire.Retryable(p.Code) {
			return nil
		}
	}
	return results[0].problem
}

func (r *Reader) sendBatch(c echo.Context, b *batch, g *gathered, waited *bool) error {
	body := append(make([]byte, 0, 256*len(g.results)), `{"results":[`...)
	for i := range g.results {
		if i > 0 {
			body = append(body, ',')
		}
		var err error
		if body, err = appendItem(append(body, '{'), b.Queries[i].or(&b.question), &g.results[i]); err != nil {
			return err
		}
		body = append(body, '}')
		if g.results[i].problem == nil {
			r.metrics.points.Add(float64(g.results[i].query.span.points()))
		}
	}
	body, err := appendPlan(append(body, ']'), g.plans)
	if err != nil {
		return err
	}
	body, err = appendProvenance(body, &g.Provenance, waited)
	if err != nil {
		return err
	}
	r.metrics.told("batch", &g.Provenance, r.now())
	return sendJSON(c, body)
}

// appendItem appends the fields of a result, or those of its error with the query as it was asked.
func appendItem(dst []byte, asked question, res *result) ([]byte, error) {
	p := res.problem
	if p == nil {
		return appendResult(dst, res), nil
	}
	fields, err := json.Marshal(struct {
		question
		Error itemError `json:"error"`
	}{asked, itemError{p.Code, p.Detail, p.Field, wire.Retryable(p.Code)}})
	return append(dst, fields[1:len(fields)-1]...), err
}
