package ingest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// readLog serves wire.PathLogRead: an encoded chunk, after waiting for one if need be.
func (i *Ingest) readLog(c echo.Context) error {
	partition, err := i.partitionParam(c)
	if err != nil {
		return err
	}
	from, err := numberParam(c, "from", 1<<63-1)
	if err != nil {
		return err
	}
	maxBytes, err := numberParam(c, "max_bytes", wire.MaxLogReadBytes)
	if err != nil {
		return err
	}
	waitMs, err := numberParam(c, "wait_ms", wire.MaxLogReadWaitMs)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	defer context.AfterFunc(i.draining, cancel)()
	chunk, err := i.cfg.Log.Read(ctx, partition, uint64(from), int(maxBytes), time.Duration(waitMs)*time.Millisecond)
	if err != nil {
		if i.draining.Err() != nil {
			return stopping()
		}
		return logProblem(err)
	}
	body := eventlog.AppendChunk(make([]byte, 0, eventlog.ChunkBytes(&chunk)), &chunk)
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(body))) // so that readers take as much memory as they need
	return c.Blob(http.StatusOK, eventlog.ChunkType, body)
}

// seekLog serves wire.PathLogSeek.
func (i *Ingest) seekLog(c echo.Context) error {
	partition, err := i.partitionParam(c)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(c.QueryParam("append_time_ms"), 10, 64)
	if err != nil {
		return wire.NewProblem(wire.CodeBadRequest, "append_time_ms must be a whole number").WithField("append_time_ms")
	}
	offset, err := i.cfg.Log.Seek(c.Request().Context(), partition, at)
	if err != nil {
		return logProblem(err)
	}
	return c.JSON(http.StatusOK, wire.LogOffset{Offset: offset})
}

// boundsOfLog serves wire.PathLogBounds.
func (i *Ingest) boundsOfLog(c echo.Context) error {
	partition, err := i.partitionParam(c)
	if err != nil {
		return err
	}
	b, err := i.cfg.Log.Bounds(c.Request().Context(), partition)
	if err != nil {
		return logProblem(err)
	}
	return c.JSON(http.StatusOK, wire.LogBounds{Incarnation: b.Incarnation, First: b.First, Next: b.Next, Bytes: b.Bytes})
}

func (i *Ingest) partitionParam(c echo.Context) (int, error) {
	partition, err := strconv.Atoi(c.QueryParam("partition"))
	if err != nil {
		return 0, wire.NewProblem(wire.CodeBadRequest, "partition must be a whole number").WithField("partition")
	}
	if partition < 0 || partition >= len(i.lanes) {
		return 0, noPartition(partition, len(i.lanes))
	}
	return partition, nil
}

func noPartition(partition, partitions int) error {
	return wire.NewProblem(wire.CodeNotFound, "partition %d of %d", partition, partitions).WithField("partition")
}

func numberParam(c echo.Context, name string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(c.QueryParam(name), 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, wire.NewProblem(wire.CodeBadRequest, "%s must be a whole number from 0 to %d", name, limit).WithField(name)
	}
	return n, nil
}

// logProblem makes an error of the log the problem that eventlog/remote turns back.
func logProblem(err error) error {
	switch {
	case errors.Is(err, eventlog.ErrTrimmed):
		return wire.NewProblem(wire.CodeTrimmed, "%v", err).WithField("from")
	case errors.Is(err, eventlog.ErrBeyondEnd):
		return wire.NewProblem(wire.CodeBeyondEnd, "%v", err).WithField("from")
	case errors.Is(err, eventlog.ErrClosed):
		return stopping()
	}
	return err
}

func stopping() error {
	return wire.NewProblem(wire.CodeUnavailable, "ingest is stopping").WithRetryAfter(time.Second)
}
