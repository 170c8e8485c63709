package reader

import (
	"context"
	"errors"
	"io"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
)

// Desk is what the reader asks of the cluster proxies for people: what runs in the databases, and SQL. *proxyclient.Client is one.
type Desk interface {
	Queries(ctx context.Context, digests bool) (*wire.QueriesAnswer, error)
	KillQuery(ctx context.Context, id string) (*wire.QueryKilled, error)
	// SQL returns the answer of one shard as it comes: wire.SQLRecords, one a line.
	SQL(ctx context.Context, shard string, request *wire.SQLRequest) (io.ReadCloser, error)
}

var errNoDesk = wire.NewProblem(wire.CodeUnavailable, "this reader has no way to the databases").WithRetryAfter(retryAfter)

// getQueries serves GET /v1/queries: what runs in the databases.
func (r *Reader) getQueries(c echo.Context) (err error) {
	defer func() { r.metrics.answered("queries", err) }()
	p, err := parseParams(c.Request(), "digests")
	if err != nil {
		return err
	}
	digests, err := p.flag("digests")
	if err != nil {
		return err
	}
	if r.desk == nil {
		return errNoDesk
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), r.limits.Timeout)
	defer cancel()
	out, err := r.desk.Queries(ctx, digests)
	if err != nil {
		return forOperators(err)
	}
	if digests && out.Digests == nil {
		out.Digests = []wire.QueryDigest{}
	}
	return sendValue(c, out)
}

// deleteQuery serves DELETE /v1/queries/{id}: the statement is dead when it answers.
func (r *Reader) deleteQuery(c echo.Context) (err error) {
	defer func() { r.metrics.answered("kill-query", err) }()
	if _, err = parseParams(c.Request()); err != nil {
		return err
	}
	if r.desk == nil {
		return errNoDesk
	}
	out, err := r.desk.KillQuery(c.Request().Context(), c.Param("id"))
	if err != nil {
		return forOperators(err)
	}
	return sendValue(c, out)
}

// forOperators keeps what a process inside said: who may ask this may know the cluster's parts.
func forOperators(err error) error {
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return ofContext(err)
	}
	switch p.Code {
	case wire.CodeBadRequest, wire.CodeNotFound, wire.CodeConflict, wire.CodeForbidden, wire.CodeTooLarge:
		return wire.NewProblem(p.Code, "%s", p.Detail).WithField(p.Field).WithCause(err)
	case wire.CodeOverloaded, wire.CodeUnavailable, wire.CodeDeadline:
		return wire.NewProblem(p.Code, "%s", p.Detail).WithRetryAfter(max(p.RetryAfter, retryAfter)).WithCause(err)
	}
	return public(err)
}
