package reader

import (
	"context"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// What a ranking is of unless the query says otherwise.
const (
	defaultTop        = 10
	defaultTopMinutes = 60
)

type ranking struct {
	Type    string  `json:"type"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Entries []entry `json:"entries"`
	Exact   bool    `json:"exact"`
	Others  *int64  `json:"others_at_most,omitempty"`
	provenance
}

type entry struct {
	Rank  int    `json:"rank"`
	Key   string `json:"key"`
	Count int64  `json:"count"`
}

// topAnswer lets a wait look at a ranking.
type topAnswer struct{ *wire.TopAnswer }

func (a topAnswer) provenance() *wire.Provenance { return &a.Provenance }

// getTop serves GET /v1/top: the keys of a type with the largest counts.
func (r *Reader) getTop(c echo.Context) (err error) {
	defer func() { r.metrics.answered("top", err) }()
	p, err := parseParams(c.Request(), "type", "from", "to", "n", "wait")
	if err != nil {
		return err
	}
	request, err := r.parseTop(p)
	if err != nil {
		return err
	}
	fresh, err := r.parseWait(p.optional("wait"))
	if err != nil {
		return err
	}
	request.MinAsOf = fresh.minAsOf(c.Request())
	a, waited, err := ask(c.Request().Context(), r, fresh, func(ctx context.Context) (topAnswer, error) {
		defer r.timed("top", time.Now())
		return r.top(ctx, request)
	})
	if err != nil {
		return err
	}
	out := ranking{
		Type: request.Type, From: formatMinute(request.From), To: formatMinute(request.To),
		Entries: make([]entry, 0, len(a.Entries)), Exact: a.Exact && complete(&a.Provenance), provenance: newProvenance(&a.Provenance, waited),
	}
	if complete(&a.Provenance) {
		out.Others = &a.Others
	}
	for i, e := range a.Entries {
		out.Entries = append(out.Entries, entry{Rank: i + 1, Key: e.Key, Count: e.Count})
	}
	r.metrics.told("top", &a.Provenance, r.now())
	return sendValue(c, out)
}

func (r *Reader) top(ctx context.Context, request *wire.TopRequest) (topAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.Timeout)
	defer cancel()
	begin := time.Now()
	a, err := r.proxy.Top(ctx, request)
	r.metrics.lookups.WithLabelValues("top").Observe(time.Since(begin).Seconds())
	if err != nil {
		r.logger.Debug("top failed", "type", request.Type, "error", err)
		return topAnswer{}, public(err)
	}
	if a.Coverage.Answered == 0 && a.Coverage.Partitions > 0 {
		return topAnswer{}, absent(nil)
	}
	return topAnswer{a}, nil
}

// parseTop checks the parameters. A bound that isn't given lies an hour from the other one; to is the end of the current minute.
func (r *Reader) parseTop(p params) (*wire.TopRequest, error) {
	kind, err := r.parseType(p.optional("type"))
	if err != nil {
		return nil, err
	}
	out := &wire.TopRequest{Type: kind.Name, N: defaultTop}
	if text, ok := p["n"]; ok {
		if out.N, err = strconv.Atoi(text); err != nil || out.N < 1 || out.N > wire.MaxTop {
			return nil, badField("n", "n is %.64q, must be a number from 1 to %d", text, wire.MaxTop)
		}
	}
	s, err := parseSpan(p.optional("from"), p.optional("to"), nil, r.now())
	if err != nil {
		return nil, err
	}
	out.From, out.To = s.from, s.to
	if s.openTo {
		out.To = event.MinuteOf(r.now().UnixMilli()) + 1
	}
	if s.openFrom {
		out.From = max(0, out.To-defaultTopMinutes)
	}
	if out.From >= out.To {
		return nil, badField("from", "from, %s, lies in the future: give to as well", formatMinute(out.From))
	}
	return out, nil
}
