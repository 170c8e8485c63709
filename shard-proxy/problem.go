package shardproxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// awayFor is how long callers wait before they ask an absent database again.
const awayFor = time.Second

var errNoPrimary = fmt.Errorf("the shard has no primary just now: %w", mysql.ErrUnavailable)

// problemOf turns an error into what crosses to other processes.
func problemOf(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		return p
	}
	p := wire.NewProblem(codeOf(err), "%v", err).WithCause(err)
	switch p.Code {
	case wire.CodeUnavailable, wire.CodeSchema:
		p.RetryAfter = awayFor
	}
	if unranked, ok := errors.AsType[*mysql.UnrankedError](err); ok {
		return problemOfRange(unranked, p)
	}
	if refused, ok := errors.AsType[*mysql.CheckpointError](err); ok && refused.Reason != mysql.ErrMisrouted {
		p.WithCheckpoint(checkpointOf(refused.Stored))
	}
	return p
}

// problemOfRange says which range near the one that was asked for can be ranked.
func problemOfRange(e *mysql.UnrankedError, p *wire.Problem) *wire.Problem {
	p.Detail = e.Reason
	if e.From < e.To {
		p.Detail += fmt.Sprintf("; offered is %s to %s", formatMinute(e.From), formatMinute(e.To))
	}
	return p.WithField("from_minute")
}

func formatMinute(minute int64) string { return time.Unix(minute*60, 0).UTC().Format(time.RFC3339) }

func codeOf(err error) wire.Code {
	for _, known := range []struct {
		err  error
		code wire.Code
	}{
		{mysql.ErrUnknownOutcome, wire.CodeDeadline}, // before what led to it
		{mysql.ErrFenced, wire.CodeFenced},
		{mysql.ErrOffsetMoved, wire.CodeOffsetMoved},
		{mysql.ErrMisrouted, wire.CodeMisrouted},
		{mysql.ErrTermChanged, wire.CodeTermChanged},
		{mysql.ErrUnapplicable, wire.CodeUnapplicable},
		{mysql.ErrConservation, wire.CodeConservation},
		{mysql.ErrConflict, wire.CodeConflict},
		{mysql.ErrNotFrozen, wire.CodeConflict},
		{mysql.ErrNoRange, wire.CodeNotFound},
		{mysql.ErrTooManyPoints, wire.CodeUnprocessable},
		{mysql.ErrUnranked, wire.CodeUnprocessable},
		{mysql.ErrTooManyCold, wire.CodeTooLarge},
		{mysql.ErrSchema, wire.CodeSchema},
		{mysql.ErrForeign, wire.CodeUnavailable},
		{mysql.ErrDeadline, wire.CodeDeadline},
		{mysql.ErrUnavailable, wire.CodeUnavailable},
		{context.DeadlineExceeded, wire.CodeDeadline},
		{context.Canceled, wire.CodeDeadline},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return wire.CodeInternal
}

func checkpointOf(c mysql.Checkpoint) wire.Checkpoint {
	return wire.Checkpoint{
		Partition: c.Partition, Epoch: c.Epoch, NextOffset: c.NextOffset, WindowFrom: c.WindowFrom, AsOf: c.AsOf,
		Incarnation: c.Incarnation, Checksum: c.Checksum, Owner: c.Owner,
	}
}
