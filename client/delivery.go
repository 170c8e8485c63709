package client

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// delivery is a batch on its way.
type delivery struct {
	batch    *Batch
	deadline time.Time
	report   Report

	pending    []int // places still to be settled; nil stands for all
	uncertain  bool  // some attempt at what is pending may have been accepted
	retryAfter time.Duration
	code       string // why what is pending was not accepted at the last attempt
	message    string
	retryable  []Loss // what the last answer said about pending places, if it said anything

	sent     []byte // body of the current pending set
	encoding string
}

// body returns what to post; it is encoded once for each set of pending events.
func (d *delivery) body(c *compressor) ([]byte, string) {
	if d.sent != nil {
		return d.sent, d.encoding
	}
	plain := d.batch.whole()
	if d.pending != nil {
		plain = d.batch.some(nil, d.pending)
	}
	d.sent, d.encoding = c.compress(plain)
	return d.sent, d.encoding
}

// absorb takes in the outcome of an attempt and tells whether another one is needed.
func (d *delivery) absorb(r Response, err error) (again bool) {
	d.retryAfter = 0
	switch {
	case err != nil:
		d.uncertain = d.uncertain || !errors.Is(err, ErrNotSent)
		d.code, d.message = CodeUnreachable, err.Error()
		return true
	case r.Status >= 200 && r.Status < 300:
		return d.absorbAnswer(r)
	}
	d.retryAfter = r.RetryAfter
	d.code, d.message = problemOf(r)
	if !retryableStatus(r.Status) {
		d.loseAll(false)
		return false
	}
	d.uncertain = d.uncertain || r.Status != http.StatusTooManyRequests
	return true
}

func retryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

func (d *delivery) absorbAnswer(r Response) (again bool) {
	a, err := parseAnswer(r.Body, d.count())
	if err != nil {
		d.uncertain = true
		d.code, d.message = CodeBadAnswer, err.Error()
		return true
	}
	if d.batch.IdempotencyKey != "" { // every attempt answers for the whole batch
		d.report.Accepted, d.report.Losses = 0, nil
	}
	d.report.Accepted += a.Accepted
	d.retryAfter = r.RetryAfter
	d.retryable = nil
	for _, rejected := range a.Rejected {
		loss := Loss{Index: d.place(rejected.Index), Code: rejected.Code, Message: rejected.Message, Uncertain: d.uncertain}
		if rejected.Retryable {
			d.retryable = append(d.retryable, loss)
			continue
		}
		d.report.Losses = append(d.report.Losses, loss)
	}
	if len(d.retryable) == 0 {
		return false
	}
	d.narrow()
	return true
}

// narrow makes what may be tried again the pending set. A failed append may have taken place all the same, so it is uncertain.
func (d *delivery) narrow() {
	d.uncertain = true
	if d.batch.IdempotencyKey != "" {
		return
	}
	d.pending = d.pending[:0:0]
	for _, loss := range d.retryable {
		d.pending = append(d.pending, loss.Index)
	}
	slices.Sort(d.pending)
	d.sent = nil
}

// giveUp turns what is pending into losses.
func (d *delivery) giveUp(ctx context.Context) {
	if ctx.Err() != nil && d.retryable == nil {
		d.code = CodeInterrupted
	}
	d.loseAll(true)
}

// loseAll makes losses of what is not settled: as the last answer told of each, or for the reason of the last attempt.
func (d *delivery) loseAll(asTold bool) {
	if d.retryable == nil {
		for n := range d.batch.Len() {
			d.lose(Loss{Index: n, Code: d.code, Message: d.message})
		}
		return
	}
	for _, loss := range d.retryable {
		if !asTold {
			loss.Code, loss.Message = d.code, d.message
		}
		d.lose(loss)
	}
}

func (d *delivery) lose(loss Loss) {
	loss.Uncertain = d.uncertain
	d.report.Losses = append(d.report.Losses, loss)
}

func (d *delivery) finish() Report {
	slices.SortFunc(d.report.Losses, func(a, b Loss) int { return cmp.Compare(a.Index, b.Index) })
	return d.report
}

func (d *delivery) count() int {
	if d.pending == nil {
		return d.batch.Len()
	}
	return len(d.pending)
}

// place returns the place in the batch of the n-th pending event.
func (d *delivery) place(n int) int {
	if d.pending == nil {
		return n
	}
	return d.pending[n]
}
