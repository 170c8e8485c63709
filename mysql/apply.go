package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quipudb/quipu/event"
)

// ApplyRequest adds rows and moves a partition's checkpoint.
type ApplyRequest struct {
	Partition   int
	Epoch       uint64
	Expected    uint64 // the stored next offset that the rows continue from
	Next        uint64 // the next offset afterwards; above Expected if there are rows
	WindowFrom  uint64
	AsOf        int64
	Incarnation string
	Checksum    uint32
	Rows        []event.Row
}

// Apply commits the rows with the checkpoint, or nothing. It returns a *CheckpointError if the stored checkpoint is not the
// expected one; one whose next offset, epoch, checksum and incarnation are those of the request is a request that was committed before. After
// ErrTermChanged the same request may be sent again. Only after ErrUnknownOutcome may it have been committed although it failed.
func (p *Primary) Apply(ctx context.Context, r *ApplyRequest) error {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	if err := r.check(); err != nil {
		return err
	}
	err := p.retrying(ctx, func() error {
		if len(r.Rows) == 0 {
			return p.heartbeat(ctx, r)
		}
		return p.applyRows(ctx, r)
	})
	if err != nil {
		return fmt.Errorf("apply to partition %d: %w", r.Partition, err)
	}
	return nil
}

// check refuses what would not be exactly once or can't be stored: rows that move no offset could be added twice.
func (r *ApplyRequest) check() error {
	switch {
	case r.Next < r.Expected:
		return fmt.Errorf("apply to partition %d: next offset %d is below %d: %w", r.Partition, r.Next, r.Expected, ErrUnapplicable)
	case r.Next == r.Expected && len(r.Rows) > 0:
		return fmt.Errorf("apply to partition %d: %d rows, but the offset stays at %d: %w", r.Partition, len(r.Rows), r.Next, ErrUnapplicable)
	}
	for i := range r.Rows {
		if m := r.Rows[i].Minute; m < 0 || m > event.MaxMinute {
			return fmt.Errorf("apply to partition %d: row %d is in minute %d, not 0 to %d: %w", r.Partition, i, m, event.MaxMinute, ErrUnapplicable)
		}
	}
	return nil
}

// The compare-and-set. A checkpoint that no log has filled yet takes the incarnation of the first.
const moveCheckpoint = `UPDATE checkpoints SET next_offset = ?, as_of = GREATEST(as_of, ?), window_from = ?, incarnation = ?, checksum = ?
WHERE partition_id = ? AND owned AND epoch = ? AND next_offset = ? AND (incarnation = '' OR incarnation = ?)`

func (r *ApplyRequest) moveArgs() []any {
	return []any{r.Next, r.AsOf, r.WindowFrom, r.Incarnation, r.Checksum, r.Partition, r.Epoch, r.Expected, r.Incarnation}
}

// heartbeat moves the checkpoint alone, in one statement.
func (p *Primary) heartbeat(ctx context.Context, r *ApplyRequest) error {
	result, err := p.db.sql.ExecContext(ctx, moveCheckpoint, r.moveArgs()...)
	if err != nil {
		return unknownUnlessRefused(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var refusal error
	err = p.db.transaction(ctx, func(tx *transaction) error {
		refusal = tx.refusal(ctx, r)
		return nil
	})
	return cmp.Or(refusal, err)
}

// refusal says why the compare-and-set matched nothing.
func (t *transaction) refusal(ctx context.Context, r *ApplyRequest) error {
	stored, err := t.checkpoint(ctx, r.Partition, "")
	switch {
	case err != nil:
		return err
	case stored.Epoch != r.Epoch:
		return &CheckpointError{Reason: ErrFenced, Stored: stored}
	case stored.NextOffset != r.Expected || (stored.Incarnation != "" && stored.Incarnation != r.Incarnation):
		return &CheckpointError{Reason: ErrOffsetMoved, Stored: stored}
	}
	return fmt.Errorf("checkpoint of partition %d changed twice: %w", r.Partition, errRetry)
}

func (p *Primary) applyRows(ctx context.Context, r *ApplyRequest) error {
	g, err := p.generation(ctx)
	if err != nil {
		return err
	}
	resolving := time.Now()
	cells, err := p.resolve(ctx, g, r.Partition, r.Rows)
	p.metrics.resolveSeconds.Observe(time.Since(resolving).Seconds())
	if err != nil {
		return err
	}
	// One order for all: transactions that touch the same rows wait for each other and never in a circle.
	slices.SortFunc(cells, compareCells)
	if err := p.ensureTimePartitions(ctx, lastMinute(cells)); err != nil {
		return err
	}
	start := time.Now()
	var written upserts
	err = p.db.transaction(ctx, func(tx *transaction) error {
		written, err = tx.apply(ctx, r, g, cells)
		return err
	})
	p.metrics.applySeconds.Observe(time.Since(start).Seconds())
	switch {
	case errors.Is(err, ErrTermChanged):
		p.drop(g)
	case errors.Is(err, errNoTimePartition):
		p.ranges.forget()
		err = fmt.Errorf("%w: %w", errRetry, err)
	case err == nil:
		p.metrics.minuteRows.Add(float64(written.minutes))
		p.metrics.coarseRows.Add(float64(written.coarse))
		p.metrics.lateRows.Add(float64(written.late))
	}
	return err
}

func lastMinute(cells []cell) int64 {
	last := int64(0)
	for i := range cells {
		last = max(last, cells[i].row.Minute)
	}
	return last
}

// apply is the transaction between its start and its commit.
func (t *transaction) apply(ctx context.Context, r *ApplyRequest, g *generation, cells []cell) (upserts, error) {
	result, err := t.conn.ExecContext(ctx, moveCheckpoint, r.moveArgs()...)
	if err != nil {
		return upserts{}, meaning(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return upserts{}, cmp.Or(err, t.refusal(ctx, r))
	}
	// The locks are held until the commit: no promotion, no roll-up and no freeze comes in between.
	state, err := t.lockState(ctx, r.Partition, cells)
	if err != nil {
		return upserts{}, err
	}
	if state.term != g.term {
		return upserts{}, fmt.Errorf("ids are of term %d, the shard is in %d: %w", g.term, state.term, ErrTermChanged)
	}
	sent, err := t.upsert(ctx, cells, state.tables)
	if err != nil {
		return sent, err
	}
	if sent.coarse > 0 {
		if err := t.rankLate(ctx, cells, state.tables); err != nil {
			return sent, err
		}
	}
	return sent, t.tellLate(ctx, r, state.asOf)
}
