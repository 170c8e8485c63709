package proxyclient

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/quipudb/quipu/wire"
)

// killTimeout bounds a kill whose context has no deadline.
const killTimeout = 15 * time.Second

// sqlTimeout bounds how long an answer to SQL may take to begin.
const sqlTimeout = 10 * time.Minute

// Queries asks every shard proxy what runs, and with digests, what ran.
func (c *Client) Queries(ctx context.Context, digests bool) (*wire.QueriesAnswer, error) {
	path := wire.PathQueries
	if digests {
		path += "?digests=true"
	}
	out := &wire.QueriesAnswer{}
	err := c.do(ctx, "queries", c.cfg.Timeout, func(ctx context.Context, base string) error {
		return c.cfg.Client.JSON(ctx, http.MethodGet, base+path, nil, out)
	})
	return orNil(out, err)
}

// KillQuery ends a statement and returns once it is dead. When a reply was lost, the next try may not find it any more.
func (c *Client) KillQuery(ctx context.Context, id string) (*wire.QueryKilled, error) {
	out := &wire.QueryKilled{}
	err := c.do(ctx, "kill_query", killTimeout, func(ctx context.Context, base string) error {
		return c.cfg.Client.JSON(ctx, http.MethodDelete, base+wire.PathQueries+"/"+url.PathEscape(id), nil, out)
	})
	return orNil(out, err)
}

// SQL runs one SELECT of a person on a shard and returns its answer as it comes: wire.SQLRecords, one a line. The caller closes it. Another cluster proxy is
// tried only before an answer begins. The call is bounded by ctx alone.
func (c *Client) SQL(ctx context.Context, shard string, r *wire.SQLRequest) (body io.ReadCloser, err error) {
	var failed error
	err = c.do(ctx, "sql", sqlTimeout, func(_ context.Context, base string) error { // the answer outlives the time of a try
		body, _, failed = c.cfg.Client.Stream(ctx, http.MethodPost, base+wire.PathSQL+"?shard="+url.QueryEscape(shard), r)
		if wire.RetryableSQL(failed) {
			return failed
		}
		return nil
	})
	if err == nil {
		err = failed
	}
	return body, err
}
