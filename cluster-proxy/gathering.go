package clusterproxy

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/quipudb/quipu/wire"
)

// isRequestFault tells whether an error of one part is the request's own fault: it fails the whole.
func isRequestFault(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeBadRequest, wire.CodeUnprocessable, wire.CodeUnknownType, wire.CodeConflict, wire.CodeTooLarge:
		return true
	}
	return false
}

// gathering adds up what the parts of an answer are (INV-8). Its methods may be called by several goroutines.
type gathering struct {
	mu      sync.Mutex
	needed  map[int]bool         // partitions that the request needs
	missing map[int]wire.Missing // by partition
	lost    []*wire.Problem      // of parts that could not be had
	fault   error                // of the request itself
	out     wire.Provenance
	dated   bool
}

func newGathering(needed []int) *gathering {
	g := &gathering{needed: map[int]bool{}, missing: map[int]wire.Missing{}}
	for _, p := range needed {
		g.needed[p] = true
	}
	return g
}

// answered takes over what a shard said of its part.
func (g *gathering) answered(one part, p *wire.Provenance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range p.Coverage.Missing {
		for _, partition := range m.Partitions {
			g.missing[partition] = wire.Missing{Shard: cmp.Or(m.Shard, one.shard), Code: m.Code, Detail: m.Detail}
		}
	}
	if !slices.ContainsFunc(one.partitions, func(partition int) bool { return g.missing[partition].Code == "" }) {
		return // it has nothing
	}
	if !g.dated || p.AsOf < g.out.AsOf {
		g.out.AsOf, g.dated = p.AsOf, true
	}
	g.out.Stale = g.out.Stale || p.Stale
	g.out.Sources = append(g.out.Sources, p.Sources...)
}

// failed notes partitions of a part that could not be had.
func (g *gathering) failed(shard string, partitions []int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if isRequestFault(err) {
		g.fault = err
		return
	}
	problem, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		problem = wire.NewProblem(wire.CodeInternal, "%v", err)
	}
	g.lost = append(g.lost, problem)
	for _, partition := range partitions {
		g.missing[partition] = wire.Missing{Shard: shard, Code: problem.Code, Detail: problem.Detail}
	}
}

// has tells whether a partition was answered for.
func (g *gathering) has(partition int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.missing[partition].Code == ""
}

// provenance returns what the parts add up to; or the request's fault, or the problem of having none of the parts.
func (g *gathering) provenance() (wire.Provenance, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault != nil {
		return wire.Provenance{}, g.fault
	}
	out := g.out
	out.Coverage.Partitions = len(g.needed)
	out.Coverage.Answered = len(g.needed)
	for _, partition := range slices.Sorted(maps.Keys(g.missing)) {
		if g.needed[partition] {
			out.Coverage.Answered--
			out.Coverage.Missing = addMissing(out.Coverage.Missing, g.missing[partition], partition)
		}
	}
	if out.Coverage.Answered == 0 {
		return wire.Provenance{}, nothing(out.Coverage.Missing, g.lost)
	}
	slices.SortFunc(out.Coverage.Missing, func(a, b wire.Missing) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Code, b.Code))
	})
	slices.SortStableFunc(out.Sources, func(a, b wire.Source) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Database, b.Database))
	})
	return out, nil
}

// addMissing adds a partition to the entry of its shard and code.
func addMissing(list []wire.Missing, m wire.Missing, partition int) []wire.Missing {
	for i := range list {
		if list[i].Shard == m.Shard && list[i].Code == m.Code {
			list[i].Partitions = append(list[i].Partitions, partition)
			return list
		}
	}
	m.Partitions = []int{partition}
	return append(list, m)
}

// nothing is the problem of an answer that lacks every part: the parts' code if it is one that says when or how to retry,
// else unavailable.
func nothing(missing []wire.Missing, lost []*wire.Problem) error {
	code := missing[0].Code
	for _, m := range missing {
		if m.Code != code || !wire.Retryable(code) {
			code = wire.CodeUnavailable
		}
	}
	problem := wire.NewProblem(code, "no part of the answer can be had: %s", missing[0].Detail)
	for _, l := range lost {
		problem.RetryAfter = max(problem.RetryAfter, l.RetryAfter)
	}
	return problem
}
