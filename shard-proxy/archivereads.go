package shardproxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveArchiveRows sends a portion of rows. It enters its class before it reads anything: few portions are in memory at a time, and
// exports leave room for everybody else.
func (p *Proxy) serveArchiveRows(ctx context.Context, c echo.Context) error {
	if err := p.exports.enter(ctx); err != nil {
		return err
	}
	defer p.exports.leave()
	body, err := httpserver.ReadBody(c, maxJSONBytes)
	if err != nil {
		return err
	}
	r := &wire.ArchiveRowsRequest{}
	if err := httpserver.DecodeJSON(body, r); err != nil {
		return err
	}
	rows, err := p.archiveRows(ctx, r)
	if err != nil {
		return err
	}
	p.metrics.archive.exported.WithLabelValues(r.Resolution).Add(float64(len(rows.Rows)))
	return c.Blob(http.StatusOK, wire.ArchiveRowsType, wire.EncodeArchiveRows(make([]byte, 0, 64*len(rows.Rows)+64), rows))
}

func (p *Proxy) archiveRows(ctx context.Context, r *wire.ArchiveRowsRequest) (*wire.ArchiveRows, error) {
	switch {
	case r.Rows < 1 || r.Rows > wire.MaxArchiveRows:
		return nil, wire.NewProblem(wire.CodeBadRequest, "rows is %d, must be 1 to %d", r.Rows, wire.MaxArchiveRows).WithField("rows")
	case r.From < 0 || r.From >= r.To || r.To > event.MaxMinute+1:
		return nil, wire.NewProblem(wire.CodeBadRequest, "minutes %d to %d are no range", r.From, r.To).WithField("to_minute")
	}
	ask := mysql.ArchiveRowsRequest(*r)
	var got *mysql.ArchiveRows
	read := func(ctx context.Context, db *mysql.DB) (err error) {
		got, err = db.ArchiveRows(ctx, &ask)
		return err
	}
	if err := p.readingFrozen(ctx, r.Late, read); err != nil {
		return nil, err
	}
	out := &wire.ArchiveRows{NextKey: got.NextKey, Rows: make([]wire.ArchiveRow, len(got.Rows))}
	for i := range got.Rows {
		out.Rows[i] = wire.ArchiveRow(got.Rows[i])
	}
	return out, nil
}

// readingFrozen reads rows that don't change any more from the first database that has them all: a replica, to spare the primary. Late rows come
// from the primary alone, for a replica can't tell that it lacks some, or still has what was committed meanwhile.
func (p *Proxy) readingFrozen(ctx context.Context, late bool, read func(context.Context, *mysql.DB) error) error {
	all := p.databases.Load()
	if all == nil {
		return errNotProbed
	}
	err := all.whyNone()
	for _, c := range p.candidates(all) {
		if late && c.database != all.primary {
			continue
		}
		err = read(ctx, c.read)
		behind := errors.Is(err, mysql.ErrNotFrozen) || errors.Is(err, mysql.ErrSchema)
		if err == nil || !behind && !errors.Is(err, mysql.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, mysql.ErrUnavailable) {
			c.probeSoon()
			p.metrics.fallbacks.WithLabelValues(c.ID).Inc()
		}
	}
	return err
}

// serveArchive tells how far the primary's archive came.
func (p *Proxy) serveArchive(ctx context.Context, c echo.Context) error {
	if err := p.points.enter(ctx); err != nil {
		return err
	}
	defer p.points.leave()
	d, err := p.writing()
	if err != nil {
		return err
	}
	state, err := d.read.ArchiveState(ctx)
	if err != nil {
		d.suspect(err)
		return err
	}
	for _, m := range state.Marks {
		p.metrics.archive.mark(m.Resolution, m.FrozenBefore, m.ColdBefore)
	}
	out := archiveStateOf(state)
	out.Shard, out.Database = p.cfg.ShardID, d.ID
	return httpserver.SendJSON(c, out)
}

func archiveStateOf(s *mysql.ArchiveState) wire.ArchiveState {
	out := wire.ArchiveState{
		Marks: []wire.ArchiveMark{}, Watermarks: []wire.RollupMark{}, Tables: []wire.TimePartition{}, Late: []wire.LateRows{},
		Restored: []wire.RestoredRange{}, Intents: []wire.ArchiveIntents{},
	}
	for _, m := range s.Marks {
		out.Marks = append(out.Marks, archiveMarkOf(m))
	}
	for _, m := range s.Watermarks {
		out.Watermarks = append(out.Watermarks, wire.RollupMark{Resolution: m.Resolution, CompleteBefore: m.CompleteBefore, ComputingBefore: m.ComputingBefore})
	}
	for _, t := range s.Tables {
		out.Tables = append(out.Tables, wire.TimePartition{Resolution: t.Resolution, From: t.From, To: t.To, Rows: t.Rows})
	}
	for _, l := range s.Late {
		out.Late = append(out.Late, wire.LateRows(l))
	}
	for _, r := range s.Restored {
		out.Restored = append(out.Restored, wire.RestoredRange(r))
	}
	for _, i := range s.Intents {
		out.Intents = append(out.Intents, wire.ArchiveIntents(i))
	}
	return out
}
