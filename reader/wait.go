package reader

import (
	"context"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/quipudb/quipu/wire"
)

// A wait asks again after pauses that grow from the first to the longest, by half each time.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// freshness is what ?wait= asks for: an answer that holds everything accepted before the request arrived, or what there is
// when the time has run out. A nil freshness asks for nothing.
type freshness struct {
	arrival int64 // ms since 1970
	limit   time.Duration
}

var waitText = regexp.MustCompile(`^([0-9]{1,6}ms|[0-9]{1,3}s)$`)

func (r *Reader) parseWait(text *string) (*freshness, error) {
	if text == nil {
		return nil, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil || !waitText.MatchString(*text) {
		return nil, badField("wait", "wait is %.64q, must be like 5s or 500ms", *text)
	}
	if d > r.limits.MaxWait {
		return nil, badField("wait", "wait is %s, the limit is %s", d, r.limits.MaxWait)
	}
	return &freshness{arrival: r.now().UnixMilli(), limit: d}, nil
}

// fresh tells whether an answer holds everything accepted before the arrival: as-of counts what came strictly before it.
func (f *freshness) fresh(p *wire.Provenance) bool { return p.AsOf > f.arrival && complete(p) }

// nothingKept is an as-of that no kept answer has.
const nothingKept = math.MaxInt64

// minAsOf is the least as-of of a kept answer that will do for a request. One that says no-cache wants none.
func (f *freshness) minAsOf(req *http.Request) int64 {
	switch {
	case strings.Contains(req.Header.Get("Cache-Control"), "no-cache"):
		return nothingKept
	case f == nil:
		return 0
	}
	return f.arrival + 1
}

// answer is what a question gives.
type answer interface{ provenance() *wire.Provenance }

// ask puts a question, again and again if a wait asks for it. It returns the last answer and, with a wait, whether it is fresh
// enough. Failures that may pass are waited out too; the error is that of the last try when none gave an answer.
func ask[A answer](ctx context.Context, r *Reader, f *freshness, put func(context.Context) (A, error)) (A, *bool, error) {
	if f == nil {
		a, err := once(ctx, r, put)
		return a, nil, err
	}
	if err := r.waits.enter(); err != nil {
		var none A
		return none, nil, err
	}
	defer r.waits.leave()
	begin := time.Now()
	a, outcome, err := poll(ctx, r, f, put)
	r.metrics.waited.Observe(time.Since(begin).Seconds())
	r.metrics.waits.WithLabelValues(outcome).Inc()
	waited := outcome == waitFresh
	return a, &waited, err
}

// The outcomes of a wait.
const (
	waitFresh   = "fresh"
	waitExpired = "expired"
	waitFailed  = "failed"
	waitGone    = "gone"
)

// poll asks until an answer is fresh, the limit is over, or the client has gone.
func poll[A answer](ctx context.Context, r *Reader, f *freshness, put func(context.Context) (A, error)) (last A, outcome string, err error) {
	limit, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	have := false
	for pause := firstPause; ; pause = min(longestPause, pause+pause/2) {
		try := ctx
		if have {
			try = limit // there is something to answer: don't let a slow try outlast the wait
		}
		a, failure := once(try, r, put)
		if failure == nil && (!have || complete(a.provenance()) || !complete(last.provenance())) {
			last, have = a, true
		}
		switch {
		case ctx.Err() != nil:
			return last, waitGone, ofContext(ctx.Err())
		case failure == nil && f.fresh(a.provenance()):
			return a, waitFresh, nil
		case failure != nil && !wire.Retryable(codeOf(failure)):
			return last, waitFailed, failure
		case r.sleep(limit, pause):
		case ctx.Err() != nil:
			return last, waitGone, ofContext(ctx.Err())
		case have:
			return last, waitExpired, nil
		default:
			return last, waitFailed, failure
		}
	}
}

// sleep pauses, and returns false at once when the context ends or the reader drains.
func (r *Reader) sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
	case <-r.drain:
	}
	return false
}

// once puts a question, if there is room for one more.
func once[A answer](ctx context.Context, r *Reader, put func(context.Context) (A, error)) (A, error) {
	if err := r.questions.enter(); err != nil {
		var none A
		return none, err
	}
	defer r.questions.leave()
	return put(ctx)
}
