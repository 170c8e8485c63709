package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/quipudb/quipu/wire"
)

// errNotFrozen says that the shard freezes less than was asked for.
var errNotFrozen = errors.New("the shard does not freeze that far yet")

// rows asks for one portion.
func (l *lead) rows(ctx context.Context, request *wire.ArchiveRowsRequest) (*wire.ArchiveRows, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	answer, err := l.cfg.Shards.Bytes(ctx, l.shard, wire.PathArchiveRows, wire.JSONType, body)
	if err != nil {
		return nil, err
	}
	return wire.DecodeArchiveRows(answer)
}

// archive makes a unit cold.
func (l *lead) archive(ctx context.Context, u unit) error {
	if err := l.probe(ctx); err != nil { // before anything is frozen
		return err
	}
	if !u.frozen {
		if err := l.freeze(ctx, &u); err != nil {
			return err
		}
	}
	log := l.log.With("shard", l.shard, "resolution", u.resolution, "from", timeOf(u.from), "to", timeOf(u.to))
	log.Debug("archiving")
	rows, objects, err := l.move(ctx, u)
	if tooMuch(err) && u.to-u.from > minutesOfDay {
		l.hints.resolutions[u.resolution].smaller++
		log.Info("these days are too much at once, trying fewer", "reason", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("archive %s rows from %s to %s: %w", u.resolution, timeOf(u.from), timeOf(u.to), err)
	}
	if rows > 0 {
		log.Info("archived", "rows", rows, "objects", objects)
	}
	return nil
}

// move writes a frozen unit and commits it.
func (l *lead) move(ctx context.Context, u unit) (rows int64, objects int, err error) {
	written, err := l.export(ctx, wire.ArchiveRowsRequest{Resolution: u.resolution, From: u.from, To: u.to})
	if err != nil {
		return 0, 0, err
	}
	rows, err = l.commit(ctx, &wire.ArchiveCommit{
		Leader: l.leader, Kind: wire.CommitFrozen, Resolution: u.resolution, From: u.from, To: u.to, Objects: written,
	})
	return rows, len(written), err
}

// probe asks cold storage whether it is there.
func (l *lead) probe(ctx context.Context) error {
	err := l.cfg.Store.Probe(ctx)
	l.metrics.storageSaid(err)
	return err
}

func (l *lead) freeze(ctx context.Context, u *unit) error {
	var mark wire.ArchiveMark
	if err := l.call(ctx, wire.PathArchiveFreeze, &wire.ArchiveFreeze{Leader: l.leader, Resolution: u.resolution, Before: u.to}, &mark); err != nil {
		return fmt.Errorf("freeze %s rows before %s: %w", u.resolution, timeOf(u.to), err)
	}
	if u.to = min(u.to, mark.FrozenBefore); u.to <= u.from {
		return fmt.Errorf("freeze %s rows: %w: before %s", u.resolution, errNotFrozen, timeOf(mark.FrozenBefore))
	}
	return nil
}

// archiveLate moves the sealed late rows of a day.
func (l *lead) archiveLate(ctx context.Context, resolution string, day int64) error {
	if err := l.probe(ctx); err != nil {
		return err
	}
	from, to := day, day+minutesOfDay
	objects, err := l.export(ctx, wire.ArchiveRowsRequest{Resolution: resolution, From: from, To: to, Late: true})
	if err != nil {
		return fmt.Errorf("archive late %s rows of %s: %w", resolution, timeOf(day), err)
	}
	rows, err := l.commit(ctx, &wire.ArchiveCommit{
		Leader: l.leader, Kind: wire.CommitLate, Resolution: resolution, From: from, To: to, Objects: objects,
	})
	if err == nil {
		l.log.Info("archived late rows", "shard", l.shard, "resolution", resolution, "day", timeOf(day), "rows", rows, "objects", len(objects))
	}
	return err
}

// commit makes objects the place where their rows are read.
func (l *lead) commit(ctx context.Context, c *wire.ArchiveCommit) (rows int64, err error) {
	var mark wire.ArchiveMark
	if err := l.call(ctx, wire.PathArchiveCommit, c, &mark); err != nil {
		return 0, fmt.Errorf("commit %d objects: %w", len(c.Objects), err)
	}
	for _, object := range c.Objects {
		for _, part := range object.Parts {
			rows += part.Rows
		}
	}
	l.metrics.committed(l.shard, c.Resolution, c.Kind, len(c.Objects), rows)
	return rows, nil
}

// tooMuch tells whether a unit has more rows of a key, or objects, than the calls take: a shorter one may do.
func tooMuch(err error) bool {
	if err == nil {
		return false
	}
	code := wire.CodeOf(err)
	return errors.Is(err, errTooManyObjects) || code == wire.CodeUnapplicable || code == wire.CodeTooLarge
}
