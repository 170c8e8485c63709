package mysql

import (
	"context"
	"errors"
	"fmt"
)

// RollupAction is what one step of a roll-up did.
type RollupAction string

// The actions, in the order in which they follow each other for one hour or day.
const (
	RollupAnnounced RollupAction = "announced" // said which hour or day is computed next
	RollupComputed  RollupAction = "computed"  // wrote the rows of some keys
	RollupAdvanced  RollupAction = "advanced"  // moved the watermark
	RollupPruned    RollupAction = "pruned"    // removed members of ranked lists
	RollupRanked    RollupAction = "ranked"    // made ranked lists for the rows of some keys that were complete before there were lists
	RollupIdle      RollupAction = "idle"      // nothing is left to do
)

// RollupRequest asks for one step.
type RollupRequest struct {
	Epoch     uint64
	Owner     string
	Until     int64 // minutes: what ends later, or has not ended, stays as it is
	ChunkRows int   // finer rows that are read in one transaction, about; 5,000
	// RankedKeys is how many keys a ranked list keeps at least, if there are as many; 1,000. Lists have up to four times as many members.
	RankedKeys int
}

// RollupStep is what a step did.
type RollupStep struct {
	Action     RollupAction
	Resolution string // "hour" or "day"; "" when idle
	Start      int64  // minute at which that hour or day starts; of pruned: of any list that was looked at
	Rows       int64  // coarse rows written; of pruned and ranked: members of lists
}

// RollupMark is how far one coarse table came, in minutes since 1970.
type RollupMark struct {
	Resolution      string
	CompleteBefore  int64
	ComputingBefore int64 // equal to CompleteBefore if nothing is being computed
	NextKey         uint64
}

// RollupState is how far a shard's roll-up came, and who moved it last.
type RollupState struct {
	Epoch uint64
	Owner string
	Marks []RollupMark // hour, day
	// ListsDue tells whether ranked lists have grown, or have yet to be made. It may be later than the marks.
	ListsDue bool
}

const (
	defaultChunkRows  = 5000
	defaultRankedKeys = 1000
)

// ClaimRollup makes owner the only one whose steps are done, and returns the epoch that they must name.
// After ErrUnknownOutcome the claim may have been taken; claim again.
func (p *Primary) ClaimRollup(ctx context.Context, owner string) (epoch uint64, err error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	err = p.retrying(ctx, func() error {
		return p.db.transaction(ctx, func(tx *transaction) error {
			stored, _, err := tx.lockLeader(ctx)
			if err != nil {
				return err
			}
			epoch = stored + 1
			return tx.exec(ctx, "UPDATE rollup_leader SET epoch = ?, owner = ? WHERE id = 1", epoch, owner)
		})
	})
	if err != nil {
		return 0, fmt.Errorf("claim roll-up: %w", err)
	}
	return epoch, nil
}

// StepRollup does the one thing that comes next, in one short transaction, and says what it was. What comes next is read from the database
// under a lock, so a step that may or may not have taken place (ErrUnknownOutcome) is simply followed by the next one.
// It returns ErrFenced if somebody else claimed the roll-up. docs/rollup.md tells why readers never notice.
func (p *Primary) StepRollup(ctx context.Context, r *RollupRequest) (RollupStep, error) {
	ctx, cancel := p.db.bounded(ctx)
	defer cancel()
	capped := *r
	capped.Until = min(r.Until, p.cfg.Now().Unix()/60)
	capped.ChunkRows, capped.RankedKeys = defaultTo(r.ChunkRows, defaultChunkRows), defaultTo(r.RankedKeys, defaultRankedKeys)
	r = &capped
	if err := p.ensureTimePartitions(ctx, r.Until); err != nil {
		return RollupStep{}, fmt.Errorf("roll up: %w", err)
	}
	var done RollupStep
	err := p.retrying(ctx, func() error {
		err := p.db.transaction(ctx, func(tx *transaction) (err error) {
			done, err = tx.rollUp(ctx, r, &p.gaps)
			return err
		})
		if errors.Is(err, errNoTimePartition) {
			p.ranges.forget()
		}
		return err
	})
	if err != nil {
		return RollupStep{}, fmt.Errorf("roll up: %w", err)
	}
	return done, nil
}

// rollUp is a step between the start of its transaction and its commit. Order of locks: the leader, the watermark, the progress, rows.
func (t *transaction) rollUp(ctx context.Context, r *RollupRequest, gaps *gaps) (RollupStep, error) {
	epoch, owner, err := t.lockLeader(ctx)
	if err != nil {
		return RollupStep{}, err
	}
	if epoch != r.Epoch || owner != r.Owner {
		return RollupStep{}, fmt.Errorf("%s leads with epoch %d, not %s with %d: %w", owner, epoch, r.Owner, r.Epoch, ErrFenced)
	}
	// Only who holds the leader's row changes what is read now.
	hour, day, err := t.readCoverage(ctx)
	if err != nil {
		return RollupStep{}, err
	}
	for _, c := range []struct {
		coverage
		from  resolution
		until int64
	}{{hour, perMinute, r.Until}, {day, perHour, min(hour.before, r.Until)}} {
		switch {
		case c.computing > c.before && c.next < allKeys:
			return t.compute(ctx, c.coverage, c.from, r)
		case c.computing > c.before:
			return t.advance(ctx, c.coverage, gaps)
		case c.before+c.minutes <= c.until:
			return t.announce(ctx, c.coverage, gaps)
		}
	}
	return t.tend(ctx, r)
}

func (c coverage) did(action RollupAction) RollupStep {
	return RollupStep{Action: action, Resolution: resolutionNames[c.resolution], Start: c.before}
}

// announce says what is computed next. Its lock on the watermark waits for every Apply that doesn't know of it.
func (t *transaction) announce(ctx context.Context, c coverage, gaps *gaps) (RollupStep, error) {
	if err := gaps.await(ctx, t, c.resolution); err != nil {
		return RollupStep{}, err
	}
	if err := t.exec(ctx, fmt.Sprintf("UPDATE rollup_watermarks SET computing_before = %s WHERE resolution = ?", appendTime(nil, c.before+c.minutes)),
		resolutionNames[c.resolution]); err != nil {
		return RollupStep{}, err
	}
	return c.did(RollupAnnounced), t.exec(ctx, "UPDATE rollup_progress SET next_key = 0 WHERE resolution = ?", resolutionNames[c.resolution])
}

// advance makes what was computed for all keys the table that is read.
func (t *transaction) advance(ctx context.Context, c coverage, gaps *gaps) (RollupStep, error) {
	if err := gaps.await(ctx, t, c.resolution); err != nil {
		return RollupStep{}, err
	}
	return c.did(RollupAdvanced), t.exec(ctx, "UPDATE rollup_watermarks SET complete_before = computing_before WHERE resolution = ?", resolutionNames[c.resolution])
}

const (
	// The first key that a chunk leaves for the next one.
	selectChunkEnd = `SELECT m.key_id FROM %s m FORCE INDEX (PRIMARY) WHERE m.start >= %s AND m.start < %s AND m.key_id >= ?
ORDER BY m.key_id LIMIT 1 OFFSET %d`

	selectChunk = `SELECT m.key_id, m.event_type_id, SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum), MIN(m.value_min), MAX(m.value_max)
FROM %s m FORCE INDEX (PRIMARY) WHERE m.start >= %s AND m.start < %s AND m.key_id >= ? AND m.key_id < ?
GROUP BY m.key_id, m.event_type_id ORDER BY m.key_id, m.event_type_id`
)

// compute writes the rows of the next keys, and the members that they give the ranked lists. From its lock on the progress to its commit nobody
// adds to the rows that it sums up, nor to the lists: an Apply with a cell in what is being computed shares that lock. Under READ COMMITTED
// the statement sees all that was committed before the lock was had.
func (t *transaction) compute(ctx context.Context, c coverage, from resolution, r *RollupRequest) (RollupStep, error) {
	start, end := appendTime(nil, c.before), appendTime(nil, c.computing)
	limit, err := t.chunkEnd(ctx, fmt.Sprintf(selectChunkEnd, from.table, start, end, r.ChunkRows), c.next)
	if err != nil {
		return RollupStep{}, err
	}
	if _, err := t.nextKey(ctx, c.resolution, "FOR UPDATE"); err != nil {
		return RollupStep{}, err
	}
	sums := newChunk(c.resolution, c.before)
	if err := sums.read(ctx, t, fmt.Sprintf(selectChunk, from.table, start, end), c.next, limit); err != nil {
		return RollupStep{}, err
	}
	for _, text := range sums.statements {
		if err := t.exec(ctx, string(text)); err != nil {
			return RollupStep{}, err
		}
	}
	if err := t.rankChunk(ctx, sums, limit == allKeys, r.RankedKeys); err != nil {
		return RollupStep{}, err
	}
	done := c.did(RollupComputed)
	done.Rows = sums.rows
	return done, t.exec(ctx, "UPDATE rollup_progress SET next_key = ? WHERE resolution = ?", limit, resolutionNames[c.resolution])
}
