package shardproxy

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveApply applies a flush. It enters its class before it reads the body, so that no more bodies are held than are worked on.
func (p *Proxy) serveApply(ctx context.Context, c echo.Context) error {
	if got := c.Request().Header.Get(echo.HeaderContentType); got != wire.ApplyType {
		return wire.NewProblem(wire.CodeMediaType, "content type is %q, want %s", got, wire.ApplyType)
	}
	within, large := p.flushes, true
	if size := c.Request().ContentLength; size >= 0 && size <= smallApply {
		within, large = p.small, false
	}
	if large {
		if err := p.throttle.enter(p.worstLag); err != nil {
			return err
		}
		defer p.throttle.leave()
	}
	if err := within.enter(ctx); err != nil {
		return err
	}
	defer within.leave()
	body, err := httpserver.ReadBody(c, wire.MaxApplyBytes)
	if err != nil {
		return err
	}
	request, err := wire.DecodeApply(body)
	if err != nil {
		return err
	}
	if named := c.QueryParam("partition"); named != "" && named != strconv.Itoa(request.Partition) {
		return wire.NewProblem(wire.CodeBadRequest, "the body is for partition %d, the address for %s", request.Partition, named).WithField("partition")
	}
	answer, err := p.apply(ctx, request)
	if err != nil {
		return err
	}
	return httpserver.SendJSON(c, answer)
}

func (p *Proxy) apply(ctx context.Context, r *wire.ApplyRequest) (*wire.ApplyAnswer, error) {
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	ctx, cancel := d.whileUsed(ctx)
	defer cancel()
	begin := time.Now()
	err = d.primary.Apply(ctx, &mysql.ApplyRequest{
		Partition: r.Partition, Epoch: r.Epoch, Expected: r.Expected, Next: r.Next, WindowFrom: r.WindowFrom, AsOf: r.AsOf,
		Incarnation: r.Incarnation, Checksum: r.Checksum, Rows: r.Rows,
	})
	took := time.Since(begin)
	if err != nil {
		p.throttle.applied(0, took, isGone(err) || errors.Is(err, mysql.ErrDeadline))
		d.suspect(err)
		return nil, err
	}
	p.throttle.applied(len(r.Rows), took, false)
	p.metrics.applied(len(r.Rows), d.primary.CachedKeys())
	return &wire.ApplyAnswer{NextOffset: r.Next, Rows: len(r.Rows)}, nil
}

// suspect has a database probed soon if a call failed for its absence.
func (d *database) suspect(err error) {
	if isGone(err) {
		d.probeSoon()
	}
}

func isGone(err error) bool {
	return errors.Is(err, mysql.ErrUnavailable) || errors.Is(err, mysql.ErrUnknownOutcome)
}

// maxOwnerBytes bounds the name of a writer, or of who rolls up.
const maxOwnerBytes = 255

func (p *Proxy) claim(ctx context.Context, r *wire.ClaimRequest) (*wire.Checkpoint, error) {
	if err := checkOwner(r.Owner); err != nil {
		return nil, err
	}
	d, err := p.writing()
	if err != nil {
		return nil, err
	}
	ctx, cancel := d.whileUsed(ctx)
	defer cancel()
	claimed, err := d.primary.Claim(ctx, r.Partition, r.Owner, r.MinEpoch)
	if err != nil {
		d.suspect(err)
		return nil, err
	}
	out := checkpointOf(claimed)
	return &out, nil
}
