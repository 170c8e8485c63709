package reader

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/wire"
)

type keyAnswer struct {
	Type      string      `json:"type"`
	Key       string      `json:"key"`
	Known     bool        `json:"known"`
	Title     *string     `json:"title"`
	Owner     *string     `json:"owner"`
	Partition int         `json:"partition"`
	Shard     string      `json:"shard"`
	Total     json.Number `json:"total"`
	provenance
}

// keyFound is what the proxies know of a key and what it counts up to.
type keyFound struct {
	*gathered
	info *wire.KeyInfo
}

// getKey serves GET /v1/keys/{type}/{key}: what is known of a key, and its count of all time.
func (r *Reader) getKey(c echo.Context) (err error) {
	defer func() { r.metrics.answered("key", err) }()
	p, err := parseParams(c.Request(), "wait")
	if err != nil {
		return err
	}
	q, err := r.parseKeyPath(c)
	if err != nil {
		return err
	}
	fresh, err := r.parseWait(p.optional("wait"))
	if err != nil {
		return err
	}
	found, waited, err := ask(c.Request().Context(), r, fresh, func(ctx context.Context) (keyFound, error) {
		defer r.timed("key", time.Now())
		return r.lookupKey(ctx, q, fresh.minAsOf(c.Request()))
	})
	if err != nil {
		return err
	}
	info, total := found.info, &found.results[0].points[0]
	r.metrics.told("key", &found.Provenance, r.now())
	return sendValue(c, keyAnswer{
		Type: q.kind.Name, Key: q.key, Known: info.Known, Title: orNull(info.Title), Owner: orNull(info.Owner), Partition: info.Partition, Shard: info.Shard,
		Total: json.Number(appendValue(nil, count, total)), provenance: newProvenance(&found.Provenance, waited),
	})
}

// parseKeyPath reads type and key of the path. The router matches the escaped path where that differs from the plain one, and
// then hands out what is still escaped.
func (r *Reader) parseKeyPath(c echo.Context) (query, error) {
	kind, key := c.Param("type"), c.Param("key")
	if c.Request().URL.RawPath != "" {
		var err error
		if kind, err = url.PathUnescape(kind); err != nil {
			return query{}, badField("type", "type can't be decoded: %v", err)
		}
		if key, err = url.PathUnescape(key); err != nil {
			return query{}, badField("key", "key can't be decoded: %v", err)
		}
	}
	return r.parseQuery(question{Type: &kind, Key: &key})
}

// lookupKey asks for the key and for its total at once. Both come from the same partition: the provenance is that of the total.
func (r *Reader) lookupKey(ctx context.Context, q query, minAsOf int64) (keyFound, error) {
	group, ctx := errgroup.WithContext(ctx)
	var found keyFound
	group.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, r.limits.Timeout)
		defer cancel()
		begin := time.Now()
		info, err := r.proxy.LookupKey(ctx, &wire.KeyRequest{Type: q.kind.Name, Key: q.key})
		r.metrics.lookups.WithLabelValues("key").Observe(time.Since(begin).Seconds())
		if err != nil {
			r.logger.Debug("key lookup failed", "type", q.kind.Name, "error", err)
			return public(err)
		}
		found.info = info
		return nil
	})
	group.Go(func() error {
		var err error
		found.gathered, err = r.gatherOne(ctx, q, r.manner(false, false, minAsOf))
		return err
	})
	err := group.Wait()
	return found, err
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
