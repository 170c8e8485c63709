package shardproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveTop answers PathTop, from what is kept where that will do.
func (p *Proxy) serveTop(ctx context.Context, c echo.Context) error {
	if err := p.asks.enter(ctx); err != nil {
		return err
	}
	defer p.asks.leave()
	body, err := httpserver.ReadBody(c, maxTopBytes)
	if err != nil {
		return err
	}
	request := &wire.TopRequest{}
	if err := httpserver.DecodeJSON(body, request); err != nil {
		return err
	}
	answer, err := p.tellTop(ctx, request)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, wire.JSONType, answer)
}

// tellTop returns the JSON of a wire.TopAnswer.
func (p *Proxy) tellTop(ctx context.Context, r *wire.TopRequest) ([]byte, error) {
	if err := checkTop(r); err != nil {
		return nil, err
	}
	if p.cfg.Cache.Bytes < 0 {
		return p.directTop(ctx, r)
	}
	questions := []asking{{question: question{kind: r.Type, from: r.From, to: r.To, n: r.N}}}
	looked := p.look(ctx, questions, p.cfg.Now())
	a := &questions[0]
	refresh := p.judge(a, looked, time.Now(), r.MinAsOf)
	switch {
	case !a.some():
		err := p.answerFrom(ctx, []*asking{a}, p.cfg.ScanTimeout, r.MinAsOf, p.loadTop)
		if errors.Is(err, errAskAlone) {
			return p.directTop(ctx, r)
		}
		if err != nil {
			return nil, err
		}
	case refresh:
		p.flights.refresh(ctx, a.question, p.cfg.ScanTimeout, p.loadTop)
		p.metrics.cache.answered(outcomeRefreshed, 1)
	default:
		p.metrics.cache.answered(outcomeHit, 1)
	}
	return p.appendTop(a)
}

func (p *Proxy) directTop(ctx context.Context, r *wire.TopRequest) ([]byte, error) {
	if err := p.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer p.scans.leave()
	p.metrics.cache.answered(outcomeDirect, 1)
	answer, _, _, err := p.top(ctx, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// loadTop asks a database for a ranking.
func (p *Proxy) loadTop(ctx context.Context, questions []question) (map[question]*entry, error) {
	if err := p.scans.enter(ctx); err != nil {
		return nil, err
	}
	defer p.scans.leave()
	q := questions[0]
	begin := time.Now()
	answer, from, header, err := p.top(ctx, &wire.TopRequest{Type: q.kind, From: q.from, To: q.to, N: q.n})
	if err != nil {
		return nil, err
	}
	e := &entry{
		points: len(answer.Entries), provenance: &answer.Provenance, term: header.Term, asOf: answer.AsOf, places: make([]place, len(header.AsOf)),
		database: from.ID, role: string(from.Role), resolution: header.Resolution, stale: answer.Stale, fetched: begin,
	}
	for i, partition := range slices.Sorted(maps.Keys(header.AsOf)) {
		at := &e.places[i]
		at.partition, at.read, at.asOf = partition, header.NextOffset[partition], header.AsOf[partition]
		at.seen.Store(at.read)
	}
	if e.body, err = openTop(answer); err != nil {
		return nil, err
	}
	e.closed = len(e.places) > 0 && len(answer.Coverage.Missing) == 0 && isClosed(e.asOf, q.to)
	e.lasting = e.closed
	p.cache.add(q, e)
	return map[question]*entry{q: e}, nil
}

// openTop returns the JSON of a ranking without its provenance and its end.
func openTop(answer *wire.TopAnswer) ([]byte, error) {
	body, err := json.Marshal(struct {
		Entries []wire.TopEntry `json:"entries"`
		Exact   bool            `json:"exact"`
		Others  int64           `json:"others_at_most"`
	}{answer.Entries, answer.Exact, answer.Others})
	if err != nil {
		return nil, fmt.Errorf("encode ranking: %w", err)
	}
	return body[:len(body)-1], nil
}

// appendTop returns the JSON of an answer.
func (p *Proxy) appendTop(a *asking) ([]byte, error) {
	out := *a.entry.provenance
	out.AsOf, out.Stale, out.Sources = a.asOf, a.stale, p.addSource(nil, a)
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	body := append(make([]byte, 0, len(a.entry.body)+len(text)+1), a.entry.body...)
	return append(append(body, ','), text[1:]...), nil
}
