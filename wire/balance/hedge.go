package balance

import (
	"context"
	"time"

	"github.com/quipudb/quipu/wire"
)

// hedged is the second asking of a question. ended is closed when it is over, and what follows may be read then.
type hedged struct {
	ended chan struct{}
	url   string // "": nobody was asked
	out   any
	err   error
}

func (h *hedged) won() bool { return h.url != "" && h.err == nil }

// hedge calls the server that was picked and, if it has not answered by the time that nearly all calls of the kind take, another one as
// well, if the budgets have room for that. The first good answer ends the other call.
func (b *Balancer) hedge(ctx context.Context, q *question, s *picked, tried *[]string) (any, error) {
	ctx, end := context.WithCancel(ctx) // of both calls
	defer end()
	h := &hedged{ended: make(chan struct{})}
	timer := time.AfterFunc(max(s.usual, b.cfg.HedgeLeast), func() {
		defer close(h.ended)
		b.askSecond(ctx, q, *tried, h)
		if h.won() {
			end()
		}
	})
	out, err := b.call(ctx, q, s)
	if timer.Stop() {
		return out, err
	}
	if err == nil || ctx.Err() == nil && !wire.Retryable(wire.CodeOf(err)) {
		end()
	}
	<-h.ended
	if h.url == "" {
		return out, err
	}
	*tried = append(*tried, h.url)
	b.cfg.OnHedge(q.kind, err != nil && h.won())
	if err != nil && h.won() {
		return h.out, nil
	}
	return out, err
}

// askSecond puts the question to a server that was not asked yet and that no others have to stand in for.
func (b *Balancer) askSecond(ctx context.Context, q *question, not []string, h *hedged) {
	if ctx.Err() != nil {
		return
	}
	s := b.servers.pick(q.kind, q.servers(), not, goodOnly)
	if s == nil {
		return
	}
	if !b.hedges.take() || !b.retries.take() {
		s.end(errUnclear, notCalled)
		return
	}
	h.url = s.url
	h.out, h.err = b.call(ctx, q, s)
}
