package reader

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// What an answer to SQL may be unless the request says otherwise, and how long a request may be.
const (
	defaultSQLRows  = 10_000
	defaultSQLBytes = 64 << 20
	maxSQLBody      = 1 << 20
)

// sqlQuestion is one SELECT of a person.
type sqlQuestion struct {
	SQL      string `json:"sql"`
	Params   []any  `json:"params,omitempty"`
	Shard    string `json:"shard,omitempty"` // all of them if none is named
	Format   string `json:"format,omitempty"`
	MaxRows  int    `json:"max_rows,omitempty"`
	MaxBytes int64  `json:"max_bytes,omitempty"`
	Timeout  string `json:"timeout,omitempty"`

	timeout time.Duration
}

// postSQL serves POST /v1/sql: one SELECT, on one shard or on each, its rows as they come.
func (r *Reader) postSQL(c echo.Context) (err error) {
	defer func() { r.metrics.answered("sql", err) }()
	defer r.timed("sql", time.Now())
	if _, err = parseParams(c.Request()); err != nil {
		return err
	}
	q, err := r.parseSQL(c)
	if err != nil {
		return err
	}
	if r.desk == nil || r.shards == nil {
		return errNoDesk
	}
	shards := []string{q.Shard}
	if q.Shard == "" {
		if shards = r.shards(); len(shards) == 0 {
			return wire.NewProblem(wire.CodeUnavailable, "the shards are not known yet").WithRetryAfter(retryAfter)
		}
	}
	if err := r.sql.enter(); err != nil {
		return err
	}
	defer r.sql.leave()
	ctx, cancel := context.WithTimeout(c.Request().Context(), q.timeout)
	defer cancel()
	g := &sqlGathering{desk: r.desk, question: q, each: q.Shard == "", out: newSQLWriter(c, q), begin: time.Now()}
	return g.run(ctx, shards)
}

func (r *Reader) parseSQL(c echo.Context) (*sqlQuestion, error) {
	body, err := httpserver.ReadBody(c, maxSQLBody)
	if err != nil {
		return nil, err
	}
	q := &sqlQuestion{}
	if err := httpserver.DecodeJSONNumbers(body, q); err != nil {
		return nil, err
	}
	setDefault(&q.Format, formatNDJSON)
	setDefault(&q.MaxRows, defaultSQLRows)
	setDefault(&q.MaxBytes, defaultSQLBytes)
	q.timeout = r.limits.SQLTimeout
	if q.Timeout != "" {
		if q.timeout, err = time.ParseDuration(q.Timeout); err != nil || q.timeout <= 0 || q.timeout > r.limits.SQLTimeout {
			return nil, badField("timeout", "timeout is %.64q, must be a duration like 10s, up to %s", q.Timeout, r.limits.SQLTimeout)
		}
	}
	switch {
	case strings.TrimSpace(q.SQL) == "":
		return nil, badField("sql", "sql is missing")
	case !slices.Contains(sqlFormats, q.Format):
		return nil, badField("format", "format is %.64q, must be %s", q.Format, strings.Join(sqlFormats, ", "))
	case q.MaxRows < 1 || q.MaxRows > wire.MaxSQLRows:
		return nil, badField("max_rows", "max_rows is %d, must be 1 to %d", q.MaxRows, wire.MaxSQLRows)
	case q.MaxBytes < 1 || q.MaxBytes > wire.MaxSQLBytes:
		return nil, badField("max_bytes", "max_bytes is %d, must be 1 to %d", q.MaxBytes, wire.MaxSQLBytes)
	}
	return q, nil
}

// sqlGathering puts the answers of shards behind each other.
type sqlGathering struct {
	desk     Desk
	question *sqlQuestion
	each     bool // every shard is asked: a first column says which
	out      sqlWriter
	begin    time.Time

	columns []wire.SQLColumn // of the first answer; nil until there is one
	begun   bool             // the answer: with the first row, for databases tell columns long before
	end     wire.SQLEnd
}

// run asks one shard after the other. What fails before the answer has begun is a problem, what fails later ends it.
func (g *sqlGathering) run(ctx context.Context, shards []string) error {
	for _, shard := range shards {
		err := g.ask(ctx, shard)
		switch {
		case err == nil:
		case !g.begun:
			return forPeople(err)
		default:
			problem := forPeople(err)
			g.out.fail(problem)
			return problem
		}
		if g.end.Truncated != "" {
			break
		}
	}
	g.end.Seconds = time.Since(g.begin).Seconds()
	if g.start() == nil {
		_ = g.out.end(&g.end) // nobody reads it if it fails
	}
	return nil
}

// ask takes over the answer of one shard. Where no row is left to the answer, one more is asked for, to know whether it is whole.
func (g *sqlGathering) ask(ctx context.Context, shard string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the body is closed: nobody wants the rest
	request := &wire.SQLRequest{
		SQL: g.question.SQL, Params: g.question.Params, MaxRows: max(1, g.question.MaxRows-g.end.Rows), MaxBytes: max(1, g.question.MaxBytes-g.end.Bytes),
	}
	body, err := g.desk.SQL(ctx, shard, request)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return brokenOff(ctx, shard, err)
		}
		whole, err := g.take(shard, line)
		if err != nil || whole {
			return err
		}
	}
}

func brokenOff(ctx context.Context, shard string, err error) error {
	if ctx.Err() != nil {
		return wire.NewProblem(wire.CodeDeadline, "the rows of shard %s did not come in time", shard).WithCause(ctx.Err())
	}
	return wire.NewProblem(wire.CodeUnavailable, "the answer of shard %s broke off", shard).WithCause(err)
}

var (
	rowPrefix = `{"row":`
	rowSuffix = "}\n"
)

// take takes one record and tells whether it was the last.
func (g *sqlGathering) take(shard string, line []byte) (whole bool, err error) {
	if row, ok := strings.CutPrefix(string(line), rowPrefix); ok {
		values, ok := strings.CutSuffix(row, rowSuffix)
		if !ok {
			return false, wire.NewProblem(wire.CodeInternal, "a row of shard %s is not whole", shard)
		}
		return g.row(shard, values)
	}
	var record wire.SQLRecord
	if err := json.Unmarshal(line, &record); err != nil {
		return false, wire.NewProblem(wire.CodeInternal, "decode answer of shard %s: %v", shard, err).WithCause(err)
	}
	switch {
	case record.Error != nil:
		named := *record.Error
		named.Detail = "shard " + shard + ": " + named.Detail
		return false, &named
	case record.End != nil:
		g.end.Sources = append(g.end.Sources, record.End.Sources...)
		g.end.Truncated = record.End.Truncated
		return true, nil
	}
	return false, g.head(shard, record.Columns)
}

func (g *sqlGathering) head(shard string, columns []wire.SQLColumn) error {
	if g.columns != nil {
		if !slices.EqualFunc(g.columns, columns, func(a, b wire.SQLColumn) bool { return a.Name == b.Name }) {
			return wire.NewProblem(wire.CodeConflict, "shard %s has other columns than those before it", shard)
		}
		return nil
	}
	g.columns = columns
	return nil
}

// start begins the answer.
func (g *sqlGathering) start() error {
	if g.begun {
		return nil
	}
	g.begun = true
	columns := g.columns
	if g.each {
		columns = append([]wire.SQLColumn{{Name: "shard", Type: "VARCHAR"}}, columns...)
	}
	return g.out.head(columns)
}

// row passes on a row, a JSON array.
func (g *sqlGathering) row(shard, values string) (whole bool, err error) {
	if g.each {
		name, err := json.Marshal(shard)
		if err != nil {
			return false, fmt.Errorf("encode name of shard: %w", err)
		}
		values = "[" + string(name) + "," + values[1:]
	}
	size := int64(len(rowPrefix) + len(values) + len(rowSuffix))
	switch {
	case g.end.Rows >= g.question.MaxRows:
		g.end.Truncated = wire.TruncatedRows
		return true, nil
	case g.end.Bytes+size > g.question.MaxBytes:
		g.end.Truncated = wire.TruncatedBytes
		return true, nil
	}
	if err := g.start(); err != nil {
		return false, err
	}
	g.end.Rows++
	g.end.Bytes += size
	return false, g.out.row(values)
}

// forPeople keeps what a process inside said about a statement.
func forPeople(err error) *wire.Problem {
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return ofContext(err)
	}
	if p.Code == wire.CodeDeadline && p.Cause != nil { // a transport's words, not the shard proxy's
		return wire.NewProblem(wire.CodeDeadline, "the rows did not come in time").WithRetryAfter(retryAfter).WithCause(err)
	}
	var out *wire.Problem
	_ = errors.As(forOperators(p), &out) // it always is one
	return out
}

// decodeRow is for formats that are not JSON.
func decodeRow(values string) ([]any, error) {
	decoder := json.NewDecoder(strings.NewReader(values))
	decoder.UseNumber()
	var row []any
	if err := decoder.Decode(&row); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode row: %w", err)
	}
	return row, nil
}
