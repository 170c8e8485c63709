package shardproxy

import (
	"context"
	"errors"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func (p *Proxy) drop(ctx context.Context, r *wire.ArchiveDrop) (*wire.ArchiveDropped, error) {
	out := &wire.ArchiveDropped{}
	err := p.changing(r.Leader, func(primary *mysql.Primary, l mysql.Leader) error {
		dropped, err := primary.DropArchived(ctx, l, r.Resolution)
		*out = wire.ArchiveDropped(dropped)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.metrics.archive.dropped.WithLabelValues(r.Resolution).Add(float64(out.Partitions))
	return out, nil
}

// restore begins to bring a range back, or ends that.
func (p *Proxy) restore(ctx context.Context, r *wire.RestoreRequest) (*wire.RestoredRange, error) {
	out := &wire.RestoredRange{}
	return out, p.changing(r.Leader, func(primary *mysql.Primary, l mysql.Leader) error {
		how := primary.BeginRestore
		if r.Release {
			how = primary.ReleaseRestored
		}
		found, err := how(ctx, l, r.Resolution, r.From, r.To)
		*out = wire.RestoredRange(found)
		return err
	})
}

// serveRestoreAdd writes rows of a range. It enters its class before it reads the body.
func (p *Proxy) serveRestoreAdd(ctx context.Context, c echo.Context) error {
	if got := c.Request().Header.Get(echo.HeaderContentType); got != wire.ArchiveRowsType {
		return wire.NewProblem(wire.CodeMediaType, "content type is %q, want %s", got, wire.ArchiveRowsType)
	}
	numbers := map[string]uint64{}
	for _, field := range []string{"epoch", "range"} {
		n, err := strconv.ParseUint(c.QueryParam(field), 10, 64)
		if err != nil {
			return wire.NewProblem(wire.CodeBadRequest, "%s must be a number", field).WithField(field)
		}
		numbers[field] = n
	}
	if err := p.archives.enter(ctx); err != nil {
		return err
	}
	defer p.archives.leave()
	body, err := httpserver.ReadBody(c, wire.MaxApplyBytes)
	if err != nil {
		return err
	}
	decoded, err := wire.DecodeArchiveRows(body)
	if err != nil {
		return err
	}
	rows := make([]mysql.ArchiveRow, len(decoded.Rows))
	for i := range rows {
		rows[i] = mysql.ArchiveRow(decoded.Rows[i])
	}
	err = p.changing(wire.Leader{Epoch: numbers["epoch"], Owner: c.QueryParam("owner")}, func(primary *mysql.Primary, l mysql.Leader) error {
		return primary.AddRestored(ctx, l, numbers["range"], rows)
	})
	if err != nil {
		return err
	}
	return httpserver.SendJSON(c, wire.Done{})
}

func (p *Proxy) restoreEnd(ctx context.Context, r *wire.RestoreEnd) (*wire.RestoredRange, error) {
	out := &wire.RestoredRange{}
	err := p.changing(r.Leader, func(primary *mysql.Primary, l mysql.Leader) error {
		found, err := primary.EndRestore(ctx, l, r.ID)
		*out = wire.RestoredRange(found)
		return err
	})
	p.metrics.archive.compared("restore", err)
	if errors.Is(err, mysql.ErrConservation) {
		p.log.Error("restored rows are not what the manifest has", "range", r.ID, "error", err)
	}
	return out, err
}
