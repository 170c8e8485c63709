package shardproxy

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// archiveTimeout bounds a call that sums up or deletes many rows, statement by statement. The server's answer has 2 minutes.
const archiveTimeout = 110 * time.Second

// registerArchive adds the calls with which rows move to cold storage and back.
func (p *Proxy) registerArchive(g *echo.Group) {
	change := func(path, call string, timeout time.Duration, answer func(context.Context, []byte) (any, error)) {
		g.POST(httpserver.Path(path), p.served(call, timeout, p.json(p.archives, answer)))
	}
	g.GET(wire.PathArchive, p.served("archive", p.cfg.ScanTimeout, p.serveArchive))
	g.POST(httpserver.Path(wire.PathArchiveRows), p.served("archive_rows", p.cfg.ScanTimeout, p.serveArchiveRows))
	change(wire.PathArchiveFreeze, "archive_freeze", p.cfg.ApplyTimeout, answering(p.freeze))
	change(wire.PathArchiveSeal, "archive_seal", p.cfg.ApplyTimeout, answering(p.seal))
	change(wire.PathArchiveIntend, "archive_intend", p.cfg.ApplyTimeout, answering(p.intend))
	change(wire.PathArchiveForget, "archive_forget", p.cfg.ApplyTimeout, answering(p.forget))
	change(wire.PathArchiveCommit, "archive_commit", archiveTimeout, answering(p.commit))
	change(wire.PathArchiveDrop, "archive_drop", archiveTimeout, answering(p.drop))
	change(wire.PathArchiveRestore, "archive_restore", p.cfg.ApplyTimeout, answering(p.restore))
	change(wire.PathArchiveRestoreEnd, "archive_restore_end", archiveTimeout, answering(p.restoreEnd))
	g.POST(httpserver.Path(wire.PathArchiveRestoreAdd), p.served("archive_restore_add", archiveTimeout, p.serveRestoreAdd))
	g.POST(httpserver.Path(wire.PathArchiveManifest), p.served("archive_manifest", p.cfg.PointTimeout, p.json(p.points, answering(p.manifest))))
	g.POST(httpserver.Path(wire.PathArchiveReferences), p.served("archive_references", p.cfg.PointTimeout, p.json(p.points, answering(p.references))))
}

func leaderOf(l wire.Leader) mysql.Leader { return mysql.Leader{Epoch: l.Epoch, Owner: l.Owner} }

// changing runs a change of the archive on the primary.
func (p *Proxy) changing(l wire.Leader, change func(*mysql.Primary, mysql.Leader) error) error {
	if err := checkOwner(l.Owner); err != nil {
		return err
	}
	d, err := p.writing()
	if err != nil {
		return err
	}
	if err := change(d.primary, leaderOf(l)); err != nil {
		d.suspect(err)
		return err
	}
	return nil
}

func archiveMarkOf(m mysql.ArchiveMark) wire.ArchiveMark {
	return wire.ArchiveMark{Resolution: m.Resolution, FrozenBefore: m.FrozenBefore, ColdBefore: m.ColdBefore, LateRound: m.LateRound}
}

// marking is a change that answers with the mark that it leaves.
func (p *Proxy) marking(l wire.Leader, change func(*mysql.Primary, mysql.Leader) (mysql.ArchiveMark, error)) (*wire.ArchiveMark, error) {
	var out wire.ArchiveMark
	err := p.changing(l, func(primary *mysql.Primary, l mysql.Leader) error {
		mark, err := change(primary, l)
		out = archiveMarkOf(mark)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.metrics.archive.mark(out.Resolution, out.FrozenBefore, out.ColdBefore)
	return &out, nil
}

func (p *Proxy) freeze(ctx context.Context, r *wire.ArchiveFreeze) (*wire.ArchiveMark, error) {
	return p.marking(r.Leader, func(primary *mysql.Primary, l mysql.Leader) (mysql.ArchiveMark, error) {
		return primary.FreezeArchive(ctx, l, r.Resolution, r.Before)
	})
}

func (p *Proxy) seal(ctx context.Context, r *wire.ArchiveSeal) (*wire.ArchiveMark, error) {
	return p.marking(r.Leader, func(primary *mysql.Primary, l mysql.Leader) (mysql.ArchiveMark, error) {
		return primary.SealArchive(ctx, l, r.Resolution)
	})
}

func checkObjectCount(n int) error {
	if n > wire.MaxArchiveObjects {
		return wire.NewProblem(wire.CodeBadRequest, "%d objects, at most %d", n, wire.MaxArchiveObjects).WithField("objects")
	}
	return nil
}

func (p *Proxy) intend(ctx context.Context, r *wire.ArchiveIntent) (*wire.Done, error) {
	if err := checkObjectCount(len(r.Objects)); err != nil {
		return nil, err
	}
	return &wire.Done{}, p.changing(r.Leader, func(primary *mysql.Primary, l mysql.Leader) error {
		return primary.IntendObjects(ctx, l, r.Objects)
	})
}

func (p *Proxy) forget(ctx context.Context, r *wire.ArchiveIntent) (*wire.Done, error) {
	if err := checkObjectCount(len(r.Objects)); err != nil {
		return nil, err
	}
	return &wire.Done{}, p.changing(r.Leader, func(primary *mysql.Primary, l mysql.Leader) error {
		return primary.ForgetObjects(ctx, l, r.Objects)
	})
}

func (p *Proxy) commit(ctx context.Context, r *wire.ArchiveCommit) (*wire.ArchiveMark, error) {
	if err := checkObjectCount(len(r.Objects) + len(r.Replaced)); err != nil {
		return nil, err
	}
	commit := &mysql.ArchiveCommit{Resolution: r.Resolution, From: r.From, To: r.To, Replaced: r.Replaced}
	for i := range r.Objects {
		o, err := objectOf(&r.Objects[i])
		if err != nil {
			return nil, err
		}
		commit.Objects = append(commit.Objects, o)
	}
	var how func(*mysql.Primary, context.Context, *mysql.ArchiveCommit) (mysql.ArchiveMark, error)
	switch r.Kind {
	case wire.CommitFrozen:
		how = (*mysql.Primary).CommitFrozen
	case wire.CommitLate:
		how = (*mysql.Primary).CommitLate
	case wire.CommitMerged:
		how = (*mysql.Primary).CommitMerged
	default:
		return nil, wire.NewProblem(wire.CodeBadRequest, "%q is no kind of commit", r.Kind).WithField("kind")
	}
	mark, err := p.marking(r.Leader, func(primary *mysql.Primary, l mysql.Leader) (mysql.ArchiveMark, error) {
		commit.Leader = l
		return how(primary, ctx, commit)
	})
	p.metrics.archive.compared(string(r.Kind), err)
	if errors.Is(err, mysql.ErrConservation) {
		p.log.Error("objects don't hold what they would replace", "kind", r.Kind, "resolution", r.Resolution, "error", err)
	}
	return mark, err
}

func objectOf(o *wire.ArchiveObject) (mysql.ArchiveObject, error) {
	sum, err := hex.DecodeString(o.SHA256)
	if err != nil {
		return mysql.ArchiveObject{}, wire.NewProblem(wire.CodeBadRequest, "sha256 of object %s: %v", o.Object, err).WithField("objects")
	}
	out := mysql.ArchiveObject{Object: o.Object, From: o.From, To: o.To, Bytes: o.Bytes, SHA256: sum}
	for _, part := range o.Parts {
		out.Parts = append(out.Parts, mysql.ArchiveSums(part))
	}
	return out, nil
}
