package shardproxy

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveKept answers many questions with what is kept, and waits for nothing: what is not kept, or can't be told to hold just now, is null, for whoever asked to ask alone.
func (p *Proxy) serveKept(ctx context.Context, c echo.Context) error {
	if err := p.asks.enter(ctx); err != nil {
		return err
	}
	defer p.asks.leave()
	body, err := httpserver.ReadBody(c, maxStatsBytes)
	if err != nil {
		return err
	}
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	looked, now := p.feed.last(), time.Now()
	out := make([]byte, 0, 16<<10)
	for lines := 0; len(body) > 0 && lines < wire.MaxKept; lines++ {
		line, rest, _ := bytes.Cut(body, newline)
		body = rest
		answer := p.tellKept(ctx, s, line, looked, now)
		if answer == nil {
			answer = null
		}
		out = append(append(out, answer...), '\n')
	}
	return c.Blob(http.StatusOK, wire.LinesType, out)
}

var newline, null = []byte("\n"), []byte("null")

// tellKept returns the JSON of a wire.StatsAnswer, nil if there is none.
func (p *Proxy) tellKept(ctx context.Context, s *cluster.Snapshot, line []byte, looked look, now time.Time) []byte {
	r := &wire.StatsRequest{}
	if p.cfg.Cache.Bytes < 0 || httpserver.DecodeJSON(line, r) != nil || r.Explain {
		return nil
	}
	if _, err := checkStats(r); err != nil {
		return nil
	}
	if now.Sub(looked.at) > feedFresh && r.To <= mysql.ClosedBefore(p.cfg.Now().UnixMilli()) {
		return nil
	}
	questions, at := askingOf(s, r)
	for i := range questions {
		a := &questions[i]
		refresh := p.judge(a, looked, now, r.MinAsOf)
		if !a.some() {
			return nil
		}
		p.given(ctx, a, refresh)
	}
	if !coldIsWhole(questions) {
		return nil
	}
	answer, err := p.appendStats(nil, questions, at)
	if err != nil {
		return nil
	}
	return answer
}
