package reader

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/wire"
)

// lookupsAtOnce bounds the questions that one request has under way.
const lookupsAtOnce = 4

// result answers one query: a value per point, ascending, without those that have no rows; or the reason why not.
type result struct {
	query   query
	points  []wire.Point
	partial bool // something is missing in the points, which will do
	problem *wire.Problem
}

// gathered is the answer to a list of queries.
type gathered struct {
	results []result // in the order of the queries
	wire.Provenance
	plans []*plan // if they were asked for
}

// provenance lets a wait look at how fresh an answer is.
func (g *gathered) provenance() *wire.Provenance { return &g.Provenance }

// gather asks what the plan says. A lookup that fails is the problem of its own queries only. Results that hold a
// problem already are left as they are.
func (r *Reader) gather(ctx context.Context, results []result, m manner) *gathered {
	out := &gathered{results: slices.Clone(results)}
	if m.explain {
		out.plans = []*plan{}
	}
	queries := make([]query, len(results))
	for i := range results {
		queries[i] = results[i].query
	}
	lookups := planLookups(queries, func(i int) bool { return results[i].problem != nil })
	var (
		group errgroup.Group
		mu    sync.Mutex
		join  joiner
	)
	take := func(l *lookup, answer *told, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			r.fail(out, l, err)
			join.failed(public(err).Code)
			return
		}
		fill(out, l, answer)
		out.add(answer.plan)
		join.add(&answer.Provenance)
	}
	if len(lookups) == 1 {
		r.tellAll(ctx, lookups[0], m, take)
	} else {
		group.SetLimit(lookupsAtOnce)
		for _, l := range lookups {
			group.Go(func() error {
				r.tellAll(ctx, l, m, take)
				return nil
			})
		}
		_ = group.Wait() // the goroutines above return no errors
	}
	out.Provenance = join.provenance()
	out.sortPlans()
	return out
}

// stats asks the cluster proxies one question.
func (r *Reader) stats(ctx context.Context, l *lookup, m manner, validators []string) (*wire.StatsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.Timeout)
	defer cancel()
	begin := time.Now()
	answer, err := r.convoy.stats(ctx, r.proxy, l.request(m, validators))
	r.metrics.lookups.WithLabelValues("stats").Observe(time.Since(begin).Seconds())
	r.metrics.keys.Add(float64(len(l.keys)))
	return answer, err
}

func (r *Reader) fail(out *gathered, l *lookup, err error) {
	p := public(err)
	r.logger.Debug("stats failed", "type", l.kind, "keys", len(l.keys), "error", err)
	for _, of := range l.of {
		for _, i := range of {
			out.results[i].problem = p
		}
	}
}

// fill hands the keys of an answer to the queries that want them. A key that isn't there, its partition being missing, is a problem, and
// so is one of which cold storage could not be read.
func fill(out *gathered, l *lookup, answer *told) {
	told := make(map[string]*wire.KeyStats, len(answer.Keys))
	for i := range answer.Keys {
		told[answer.Keys[i].Key] = &answer.Keys[i]
	}
	for at, key := range l.keys {
		stats := told[key]
		for _, i := range l.of[at] {
			switch {
			case stats == nil:
				out.results[i].problem = absent(answer.Coverage.Missing)
			case answer.failed[key] != nil:
				out.results[i].problem = answer.failed[key]
			case !l.span.fits(stats.Points):
				out.results[i].problem = wire.NewProblem(wire.CodeInternal, "the points of the answer are not those of the question")
			default:
				out.results[i].points, out.results[i].partial = stats.Points, answer.lacking[key]
			}
		}
	}
}

// gatherOne answers a single query. Its problem is the error.
func (r *Reader) gatherOne(ctx context.Context, q query, m manner) (*gathered, error) {
	g := r.gather(ctx, []result{{query: q}}, m)
	if p := g.results[0].problem; p != nil {
		return nil, p
	}
	return g, nil
}
