package shardproxy

import (
	"context"
	"errors"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/mysql/analyst"
	"github.com/quipudb/quipu/mysql/guard"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// maxSQLBody bounds a statement with its parameters.
const maxSQLBody = 1 << 20

// serveSQL runs one SELECT of a person, under the account for analysts, on a replica; on the primary only of a shard that the topology gives no replica:
// a shard whose replicas are all away answers that they are. The answer is a stream. What fails before its first record is a
// problem, what fails later is the last record.
func (p *Proxy) serveSQL(ctx context.Context, c echo.Context) error {
	ctx = guard.WithClass(ctx, guard.Analyst)
	body, err := httpserver.ReadBody(c, maxSQLBody)
	if err != nil {
		return err
	}
	request, text, err := p.parseSQL(body)
	if err != nil {
		return err
	}
	if p.cfg.Analyst.User == "" {
		return wire.NewProblem(wire.CodeUnavailable, "no account for analysts is configured (accounts.analyst)").WithRetryAfter(awayFor)
	}
	if err := p.analysts.enter(ctx); err != nil {
		return err
	}
	defer p.analysts.leave()
	all := p.databases.Load()
	if all == nil {
		return errNotProbed
	}
	err = all.whyNone()
	for _, from := range p.forAnalysts(ctx, all) {
		answer := &sqlAnswer{request: request, from: from, shard: p.cfg.ShardID, begin: time.Now(), metrics: p.metrics}
		answer.open = func() *httpserver.Stream {
			return httpserver.NewStream(c, wire.SQLType, p.guard.DeadlineOf(guard.Analyst))
		}
		err = from.analyst.Select(ctx, mysql.Selection{Text: text, Timeout: serverLimit(ctx), Dated: true}, answer)
		if answer.stream != nil {
			return answer.close(problemOfSQL(ctx, err))
		}
		if !errors.Is(err, mysql.ErrUnavailable) || ctx.Err() != nil {
			break
		}
		from.probeSoon()
		p.metrics.fallbacks.WithLabelValues(from.ID).Inc()
	}
	return problemOfSQL(ctx, err)
}

// serverLimit is what is left to a statement, less what lets the server end it first.
func serverLimit(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	return left - min(left/10, time.Second)
}

func (p *Proxy) parseSQL(body []byte) (request *wire.SQLRequest, text string, err error) {
	request = &wire.SQLRequest{}
	if err := httpserver.DecodeJSONNumbers(body, request); err != nil {
		return nil, "", err
	}
	switch {
	case request.MaxRows < 1 || request.MaxRows > wire.MaxSQLRows:
		return nil, "", wire.NewProblem(wire.CodeBadRequest, "max_rows is %d, must be 1 to %d", request.MaxRows, wire.MaxSQLRows).WithField("max_rows")
	case request.MaxBytes < 1 || request.MaxBytes > wire.MaxSQLBytes:
		return nil, "", wire.NewProblem(wire.CodeBadRequest, "max_bytes is %d, must be 1 to %d", request.MaxBytes, wire.MaxSQLBytes).WithField("max_bytes")
	}
	text, err = p.parser.Parse(request.SQL, request.Params)
	if refused, ok := errors.AsType[*analyst.Error](err); ok {
		return nil, "", wire.NewProblem(wire.CodeBadRequest, "%v", refused).WithField("sql")
	}
	return request, text, err
}

// forAnalysts lists the databases that a person's statement may run on, in the order of trying them.
func (p *Proxy) forAnalysts(ctx context.Context, all *databases) []candidate {
	var out []candidate
	for _, c := range p.candidates(all, p.zoneOf(ctx)) {
		if c.Role == cluster.Replica || !all.replicated() {
			out = append(out, c)
		}
	}
	return out
}

// replicated tells whether the topology has a replica of the shard, be it up or not.
func (d *databases) replicated() bool {
	for _, one := range d.list {
		if one.Role == cluster.Replica {
			return true
		}
	}
	return false
}

// problemOfSQL tells a person's mistake from what the database can't do.
func problemOfSQL(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, errTruncated) {
		return nil
	}
	if refused, ok := errors.AsType[*mysql.SelectionError](err); ok {
		code := wire.CodeBadRequest
		if refused.Denied {
			code = wire.CodeForbidden
		}
		return wire.NewProblem(code, "%s", refused.Message).WithField("sql")
	}
	if errors.Is(err, mysql.ErrDeadline) && ctx.Err() == nil {
		return wire.NewProblem(wire.CodeDeadline, "the statement was ended: its time was over, or somebody killed it").WithCause(err)
	}
	if errors.Is(err, mysql.ErrDeadline) {
		return wire.NewProblem(wire.CodeDeadline, "the statement took too long and was ended").WithCause(err)
	}
	return problemOf(err)
}
