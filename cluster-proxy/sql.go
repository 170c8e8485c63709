package clusterproxy

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

// Bounds of a statement of a person. The shard proxy has stricter ones.
const (
	sqlTimeout = 10 * time.Minute
	maxSQLBody = 1 << 20
)

// serveSQL passes a statement on to one shard, and its answer back as it comes. Once an answer has begun nothing is tried again.
func (p *Proxy) serveSQL(ctx context.Context, c echo.Context) error {
	s, err := p.snapshot()
	if err != nil {
		return err
	}
	shard := c.QueryParam("shard")
	if _, ok := s.Topology.Shard(shard); !ok {
		return wire.NewProblem(wire.CodeNotFound, "there is no shard %.100q", shard).WithField("shard")
	}
	body, err := httpserver.ReadBody(c, maxSQLBody)
	if err != nil {
		return err
	}
	request := &wire.SQLRequest{}
	if err := httpserver.DecodeJSONNumbers(body, request); err != nil {
		return err
	}
	var answer io.ReadCloser
	var failed error
	err = p.onShard(ctx, "sql", shard, func(_ context.Context, base string) error { // the answer outlives the time of a try
		answer, _, failed = p.cfg.Client.Stream(ctx, http.MethodPost, base+wire.PathSQL, request)
		if wire.RetryableSQL(failed) {
			return failed
		}
		return nil
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return atShard(shard, failed)
	}
	defer answer.Close()
	return relay(httpserver.NewStream(c, wire.SQLType, sqlTimeout), answer)
}

// relay passes on what comes when it comes. When it breaks off, so does what is passed on.
func relay(to *httpserver.Stream, from io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return nil // nobody reads it any more
			}
			if err := to.Flush(); err != nil {
				return nil
			}
		}
		if err == io.EOF {
			return to.Flush()
		}
		if err != nil {
			to.Abort()
			return wire.NewProblem(wire.CodeUnavailable, "the answer of the shard proxy broke off: %v", err).WithCause(err)
		}
	}
}
