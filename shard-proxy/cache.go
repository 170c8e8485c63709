package shardproxy

import (
	"context"
	"errors"
	"time"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// CacheConfig bounds what is kept of answers. Zero values give the defaults named here.
type CacheConfig struct {
	Bytes      int64         // of answers; 128 MiB. Below 0: nothing is kept, and every query is asked
	Changes    int64         // bytes of late changes that are remembered; an eighth of Bytes
	OpenFor    time.Duration // an answer of minutes that are still counted into is given again for so long; 500 ms
	Revalidate time.Duration // and for so long after that while it is asked anew; 1 s
	Waiters    int           // calls that wait for queries of others; 4,096
}

func (c CacheConfig) withDefaults() CacheConfig {
	if c.Bytes == 0 {
		c.Bytes = 128 << 20
	}
	if c.Changes <= 0 {
		c.Changes = c.Bytes / 8
	}
	if c.OpenFor <= 0 {
		c.OpenFor = 500 * time.Millisecond
	}
	if c.Revalidate <= 0 {
		c.Revalidate = time.Second
	}
	if c.Waiters <= 0 {
		c.Waiters = 4096
	}
	return c
}

// asking is one question of a call, and what was found to answer it.
type asking struct {
	question
	hash      uint64
	partition int
	validator string // of the caller

	kept *found // the best that is kept, however old
	found
}

// found answers a question.
type found struct {
	entry     *entry // nil: nothing yet, or the caller has it
	unchanged bool   // it is what the caller has
	asOf      int64
	offset    uint64 // at which it was found to hold; 0: nobody may keep it
	term      uint64
	stale     bool
	cached    bool
}

func (f *found) some() bool { return f.entry != nil || f.unchanged }

// How a call's questions were answered, in metrics.
const (
	outcomeHit       = "hit"
	outcomeUnchanged = "unchanged"
	outcomeRefreshed = "refreshed" // given again while it is asked anew
	outcomeMiss      = "miss"
	outcomeCoalesced = "coalesced"
	outcomeStale     = "stale" // given again for nothing newer can be had
	outcomeDirect    = "direct"
)

// judge looks for an answer among those kept, and tells whether it should be asked anew soon.
func (p *Proxy) judge(a *asking, looked look, now time.Time, minAsOf int64) (refresh bool) {
	e := p.cache.get(a.question)
	v, asOf := unknown, int64(0)
	if e != nil {
		v, asOf = p.feed.history.look(&a.question, a.hash, e)
	}
	if p.judgeValidator(a, e, v, looked, now, minAsOf) || e == nil {
		return false
	}
	f := found{entry: e, asOf: asOf, term: e.term, stale: e.stale, cached: true}
	age := now.Sub(e.fetched)
	if v == untouched {
		f.offset = e.places[0].seen.Load()
		if looked.at.After(e.fetched) {
			age, f.stale = now.Sub(looked.at), looked.stale
		}
	}
	if v == touched {
		p.metrics.cache.dropped.WithLabelValues("touched").Inc()
	}
	good := false
	switch {
	case asOf < minAsOf || v == touched:
	case v == untouched && e.lasting:
		good = age <= p.cfg.MaxLag
	default:
		age = now.Sub(e.fetched)
		good, refresh = age <= p.cfg.Cache.OpenFor+p.cfg.Cache.Revalidate, age > p.cfg.Cache.OpenFor
	}
	if !good {
		f.stale = true
		if a.kept == nil {
			a.kept = &f
		}
		return false
	}
	a.found = f
	return refresh
}

// judgeValidator tells whether what the caller has is still the answer: nothing touched it since, or what is kept here was read before and nothing
// touched that.
func (p *Proxy) judgeValidator(a *asking, e *entry, v verdict, looked look, now time.Time, minAsOf int64) bool {
	has, ok := parseValidator(a.validator)
	if !ok || has.shard != p.cfg.ShardID || has.partition != a.partition {
		return false
	}
	verdict, offset, asOf := p.feed.history.since(typeIn{a.partition, a.kind}, has.term, has.offset, a.hash, a.from, a.to)
	if verdict == unknown && v == untouched && e.term == has.term && e.places[0].read <= has.offset {
		verdict, offset, asOf = p.feed.history.since(typeIn{a.partition, a.kind}, e.term, e.places[0].seen.Load(), a.hash, a.from, a.to)
		offset = max(offset, has.offset)
	}
	if verdict != untouched {
		return false
	}
	f := found{unchanged: true, asOf: asOf, offset: offset, term: has.term, stale: looked.stale, cached: true}
	if now.Sub(looked.at) > p.cfg.MaxLag || asOf < minAsOf {
		f.stale = true
		a.kept = &f
		return false
	}
	a.found = f
	return true
}

// answerFrom fills in what databases answer to the questions that have no answer yet; or, if none can, what is kept. It returns errAskAlone if the
// call should ask for itself.
func (p *Proxy) answerFrom(ctx context.Context, missed []*asking, within time.Duration, minAsOf int64, query ask) error {
	questions := make([]question, len(missed))
	for i, a := range missed {
		questions[i] = a.question
	}
	joined, own, err := p.flights.board(ctx, questions, within, query)
	if err != nil {
		return p.orKept(missed, err)
	}
	if len(joined) > 0 {
		defer p.flights.left()
	}
	var failed error
	for _, a := range missed {
		other := joined[a.question]
		if other == nil {
			continue
		}
		if err := p.flights.await(ctx, other); err != nil {
			failed = err
			continue
		}
		e := other.entries[a.question]
		if e.asOf < minAsOf {
			failed = errAskAlone
			continue
		}
		a.fill(e)
		p.metrics.cache.answered(outcomeCoalesced, 1)
	}
	if own != nil {
		if err := p.flights.await(ctx, own); err != nil {
			return p.orKept(missed, err)
		}
		for _, a := range missed {
			if e := own.entries[a.question]; e != nil && a.entry == nil {
				a.fill(e)
			}
		}
		p.metrics.cache.answered(outcomeMiss, len(own.entries))
	}
	switch {
	case failed == nil:
		return nil
	case isAbsence(failed) || ctx.Err() != nil:
		return p.orKept(missed, failed)
	}
	return errAskAlone // the others' question may have been too large, or is not answered yet
}

var errAskAlone = errors.New("the call must ask for itself")

// fill takes what was read just now.
func (a *asking) fill(e *entry) {
	a.found = found{entry: e, asOf: e.asOf, term: e.term, stale: e.stale}
	if e.closed {
		a.offset = e.places[0].seen.Load()
	}
}

// orKept answers with what is kept, labelled stale, if databases can't answer and there is something for every question; else it returns the error.
func (p *Proxy) orKept(missed []*asking, err error) error {
	if !isAbsence(err) {
		return err
	}
	for _, a := range missed {
		if !a.some() && a.kept == nil {
			return err
		}
	}
	n := 0
	for _, a := range missed {
		if !a.some() {
			a.found = *a.kept
			n++
		}
	}
	p.metrics.cache.answered(outcomeStale, n)
	return nil
}

// isAbsence tells whether an error is about databases and not about what they were asked.
func isAbsence(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	switch wire.CodeOf(problemOf(err)) {
	case wire.CodeUnavailable, wire.CodeDeadline, wire.CodeOverloaded:
		return true
	}
	return false
}

// look returns what late changes say now, if any of the questions may rest on them.
func (p *Proxy) look(ctx context.Context, questions []asking, now time.Time) look {
	for i := range questions {
		if q := &questions[i]; q.validator != "" || q.to <= mysql.ClosedBefore(now.UnixMilli()) {
			return p.feed.latest(ctx)
		}
	}
	return look{}
}
