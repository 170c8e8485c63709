package shardproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/cluster"
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
	err, primaryTold := all.whyNone(), false
	for _, c := range p.candidates(all, p.zoneOf(ctx)) {
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
		primaryTold = primaryTold || behind && c.database == all.primary
	}
	if errors.Is(err, mysql.ErrNotFrozen) && !primaryTold { // only the primary knows: a replica may just lag
		return fmt.Errorf("%w: no database that has the rows frozen can be read: %v", mysql.ErrUnavailable, err)
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

// manifest reads a page from the primary.
func (p *Proxy) manifest(ctx context.Context, r *wire.ManifestRequest) (*wire.ManifestAnswer, error) {
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	page, more, err := d.read.Manifest(ctx, &mysql.ManifestRequest{Resolution: r.Resolution, From: r.From, To: r.To, After: r.After})
	if err != nil {
		d.suspect(err)
		return nil, err
	}
	out := &wire.ManifestAnswer{Rows: make([]wire.ManifestRow, len(page)), More: more}
	for i := range page {
		m := &page[i]
		out.Rows[i] = wire.ManifestRow{
			ID: m.ID, Resolution: m.Resolution, Object: m.Object, From: m.From, To: m.To, Bytes: m.Bytes, SHA256: m.SHA256, State: m.State,
			ChangedAt: m.ChangedAt, ArchiveSums: wire.ArchiveSums(m.ArchiveSums),
		}
	}
	return out, nil
}

// references asks every database. One that can't be asked is missing, whatever is remembered of it: objects are deleted by this answer.
func (p *Proxy) references(ctx context.Context, r *wire.ReferencesRequest) (*wire.ReferencesAnswer, error) {
	if err := checkObjectCount(len(r.Objects)); err != nil {
		return nil, err
	}
	all := p.databases.Load()
	if all == nil {
		return nil, errNotProbed
	}
	out := &wire.ReferencesAnswer{Referenced: []string{}}
	if len(all.list) == 0 {
		return nil, errNoPrimary
	}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	for _, d := range all.list {
		if d.State == cluster.Diverged {
			continue // nothing of it will ever be read
		}
		wg.Go(func() {
			found, err := d.references(ctx, r.Objects)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.log.Warn("asking for references to objects failed", "database", d.ID, "error", err)
				out.Missing = append(out.Missing, d.ID)
				return
			}
			out.Referenced = append(out.Referenced, found...)
		})
	}
	wg.Wait()
	slices.Sort(out.Missing)
	slices.Sort(out.Referenced)
	out.Referenced = slices.Compact(out.Referenced)
	return out, nil
}

func (d *database) references(ctx context.Context, objects []string) ([]string, error) {
	if h := d.health.Load(); !h.admitted {
		return nil, h.reason
	}
	return d.read.References(ctx, objects)
}
