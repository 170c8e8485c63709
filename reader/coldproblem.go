package reader

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

// coldProblem says why what cold storage holds is missing in an answer.
func coldProblem(f cold.Failure, parts []wire.ColdPart, budget *cold.Budget) *wire.Problem {
	if p, ok := errors.AsType[*wire.Problem](f.Err); ok {
		return p // of the bound of cold questions in flight
	}
	which := whichPart(f, parts)
	switch {
	case errors.Is(f.Err, cold.ErrMissing):
		return wire.NewProblem(wire.CodeColdMissing, "%s, in cold storage: the object %s is not there", which, f.Object).WithCause(f.Err)
	case errors.Is(f.Err, cold.ErrDamaged):
		return wire.NewProblem(wire.CodeColdDamaged, "%s, in cold storage: the object %s is damaged", which, f.Object).WithCause(f.Err)
	case errors.Is(f.Err, cold.ErrTooMuch):
		return wire.NewProblem(wire.CodeUnprocessable, "more than %d bytes of cold storage would have to be read, the limit of a request: %s; take a shorter range, a coarser step or fewer keys",
			budget.Limit(), which).WithCause(f.Err)
	case errors.Is(f.Err, cold.ErrUnavailable), errors.Is(f.Err, errNoCold):
		return wire.NewProblem(wire.CodeColdUnavailable, "%s, in cold storage, which can't be reached now", which).WithRetryAfter(retryAfter).WithCause(f.Err)
	case errors.Is(f.Err, context.DeadlineExceeded), errors.Is(f.Err, context.Canceled):
		return wire.NewProblem(wire.CodeDeadline, "%s, in cold storage, which did not answer in time", which).WithRetryAfter(retryAfter).WithCause(f.Err)
	}
	return wire.NewProblem(wire.CodeInternal, "cold storage could not be read").WithCause(f.Err)
}

// whichPart names what is in cold storage: "minutes from 2024-01-01T00:00:00Z to 2024-01-02T00:00:00Z are".
func whichPart(f cold.Failure, parts []wire.ColdPart) string {
	if len(f.Ranges) == 0 {
		return "a part of the range is"
	}
	first := f.Ranges[0]
	return parts[first.Part].Resolution + "s from " + formatMinute(first.From) + " to " + formatMinute(first.To) + " are"
}

// withoutSeams joins what is missing of the same kind in ranges that touch.
func withoutSeams(missing []wire.Missing) []wire.Missing {
	slices.SortStableFunc(missing, func(a, b wire.Missing) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Resolution, b.Resolution), cmp.Compare(a.Code, b.Code),
			slices.Compare(a.Partitions, b.Partitions), cmp.Compare(a.From, b.From))
	})
	out := missing[:0]
	for _, m := range missing {
		if n := len(out); n > 0 && m.Resolution != "" {
			last := &out[n-1]
			if last.Shard == m.Shard && last.Resolution == m.Resolution && last.Code == m.Code && slices.Equal(last.Partitions, m.Partitions) && m.From <= last.To {
				last.To = max(last.To, m.To)
				continue
			}
		}
		out = append(out, m)
	}
	return out
}
