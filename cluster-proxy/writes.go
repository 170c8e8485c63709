package clusterproxy

import (
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// serveApply forwards the body as it is to the shard that owns ?partition=.
func (p *Proxy) serveApply(ctx context.Context, c echo.Context) error {
	partition, err := partitionOf(c)
	if err != nil {
		return err
	}
	if got := c.Request().Header.Get(echo.HeaderContentType); got != wire.ApplyType {
		return wire.NewProblem(wire.CodeMediaType, "content type is %q, want %s", got, wire.ApplyType)
	}
	size := c.Request().ContentLength
	if size < 0 || size > wire.MaxApplyBytes {
		size = wire.MaxApplyBytes
	}
	if !p.bytes.TryAcquire(size) {
		origin, _ := wire.OriginOf(ctx)
		p.metrics.refused.WithLabelValues("bytes", roleOf(origin.Member)).Inc()
		return wire.NewProblem(wire.CodeOverloaded, "too many bytes of apply bodies are in flight").WithRetryAfter(overloadedFor)
	}
	p.metrics.bytes.Add(float64(size))
	defer p.metrics.bytes.Sub(float64(size))
	defer p.bytes.Release(size)
	body, err := httpserver.ReadBody(c, wire.MaxApplyBytes)
	if err != nil {
		return err
	}
	var reply *wire.Reply
	_, err = p.onPartition(ctx, "apply", partition, func(ctx context.Context, base string) (err error) {
		target := base + wire.PathApply + "?partition=" + strconv.Itoa(partition)
		reply, err = p.cfg.Client.Bytes(ctx, http.MethodPost, target, wire.ApplyType, body)
		return err
	})
	if err != nil {
		return err
	}
	return c.JSONBlob(reply.Status, reply.Body)
}

// serveClaim forwards to the shard that owns the partition.
func (p *Proxy) serveClaim(ctx context.Context, c echo.Context) error {
	r := &wire.ClaimRequest{Partition: -1}
	if err := decode(c, r); err != nil {
		return err
	}
	out := &wire.Checkpoint{}
	_, err := p.onPartition(ctx, "claim", r.Partition, func(ctx context.Context, base string) error {
		return p.cfg.Client.JSON(ctx, http.MethodPost, base+wire.PathClaim, r, out)
	})
	if err != nil {
		return err
	}
	return httpserver.SendJSON(c, out)
}
