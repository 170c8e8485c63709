package reader

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/quipudb/quipu/wire"
)

// retryAfter is what a client is told to wait when nothing better is known.
const retryAfter = time.Second

// public translates an error of the cluster proxies for clients, who can do nothing about how partitions are routed and
// must not read of databases. The original stays its cause, for logs.
func public(err error) *wire.Problem {
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return ofContext(err)
	}
	after := p.RetryAfter
	if after <= 0 {
		after = retryAfter
	}
	switch p.Code {
	case wire.CodeOverloaded:
		return wire.NewProblem(wire.CodeOverloaded, "the service has too much to do").WithRetryAfter(after).WithCause(err)
	case wire.CodeDeadline:
		return wire.NewProblem(wire.CodeDeadline, "the counts did not come in time").WithRetryAfter(after).WithCause(err)
	case wire.CodeUnavailable, wire.CodeTermChanged, wire.CodeMisrouted, wire.CodeSchema:
		return wire.NewProblem(wire.CodeUnavailable, "the counts can't be reached now").WithRetryAfter(after).WithCause(err)
	case wire.CodeUnprocessable, wire.CodeTooLarge:
		return wire.NewProblem(wire.CodeUnprocessable, "%s", p.Detail).WithField(strings.TrimSuffix(p.Field, "_minute")).WithCause(err)
	}
	return wire.NewProblem(wire.CodeInternal, "the reader and the cluster proxies disagree (%s)", p.Code).WithCause(err)
}

func ofContext(err error) *wire.Problem {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return wire.NewProblem(wire.CodeDeadline, "the counts did not come in time").WithRetryAfter(retryAfter).WithCause(err)
	}
	return wire.NewProblem(wire.CodeInternal, "the counts could not be read").WithCause(err)
}

// absent is the problem of a key or ranking whose partitions did not answer.
func absent(missing []wire.Missing) *wire.Problem {
	p := wire.NewProblem(wire.CodeUnavailable, "no partition answered").WithRetryAfter(retryAfter)
	for _, m := range missing {
		if len(m.Partitions) > 0 {
			p.Detail = "the partition that counts this did not answer, of shard " + m.Shard + ": " + string(m.Code)
		}
	}
	return p
}

func codeOf(err error) wire.Code {
	if code := wire.CodeOf(err); code != "" {
		return code
	}
	return wire.CodeInternal
}
