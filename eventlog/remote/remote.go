// Package remote reads the embedded log of another process over HTTP.
//
// Guarantees: what it returns has been verified against the checksums that were made when it was appended, and has no gaps. Every
// call ends with its context. Errors are those of eventlog.Reader, wrapped around the *wire.Problem that told of them; any other error
// means that the log could not be asked just now. A Log starts no goroutines and is safe for concurrent use.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// Config says where the log is.
type Config struct {
	URLs   func() []string // base addresses of the processes that may serve the log, as known just now
	Client *wire.Client
}

// Log is an eventlog.Reader over HTTP.
type Log struct {
	cfg  Config
	last atomic.Pointer[string] // the address that answered last
}

var _ eventlog.Reader = (*Log)(nil)

// New returns a reader. It does no I/O.
func New(cfg Config) *Log { return &Log{cfg: cfg} }

// Read returns records; see eventlog.Reader. maxBytes above wire.MaxLogReadBytes counts as that.
func (l *Log) Read(ctx context.Context, partition int, from uint64, maxBytes int, wait time.Duration) (eventlog.Chunk, error) {
	until := time.Now().Add(wait)
	for {
		waitMs := min(max(time.Until(until).Milliseconds(), 0), wire.MaxLogReadWaitMs)
		chunk, err := l.readOnce(ctx, partition, from, maxBytes, waitMs)
		if err != nil || len(chunk.Records) > 0 || time.Until(until) < time.Millisecond {
			return chunk, err
		}
	}
}

func (l *Log) readOnce(ctx context.Context, partition int, from uint64, maxBytes int, waitMs int64) (eventlog.Chunk, error) {
	query := url.Values{
		"from":      {strconv.FormatUint(from, 10)},
		"max_bytes": {strconv.Itoa(min(max(maxBytes, 0), wire.MaxLogReadBytes))},
		"wait_ms":   {strconv.FormatInt(waitMs, 10)},
	}
	var chunk eventlog.Chunk
	err := l.ask(ctx, wire.PathLogRead, partition, query, func(address string) error {
		reply, err := l.cfg.Client.Bytes(ctx, http.MethodGet, address, "", nil)
		if err != nil {
			return err
		}
		chunk, err = eventlog.DecodeChunk(reply.Body)
		if err != nil {
			return err
		}
		return consecutive(&chunk, from)
	})
	if err != nil {
		return eventlog.Chunk{}, fmt.Errorf("read partition %d from offset %d: %w", partition, from, err)
	}
	return chunk, nil
}

// consecutive checks that a chunk is what was asked for.
func consecutive(c *eventlog.Chunk, from uint64) error {
	for i := range c.Records {
		if want := from + uint64(i); c.Records[i].Offset != want {
			return fmt.Errorf("%w: offset %d where %d belongs", eventlog.ErrChunk, c.Records[i].Offset, want)
		}
	}
	if want := from + uint64(len(c.Records)); c.Next != want || c.End < c.Next {
		return fmt.Errorf("%w: goes on at offset %d of %d, not %d", eventlog.ErrChunk, c.Next, c.End, want)
	}
	return nil
}

// Seek finds an offset by append time; see eventlog.Reader.
func (l *Log) Seek(ctx context.Context, partition int, appendTimeMs int64) (uint64, error) {
	var answer wire.LogOffset
	query := url.Values{"append_time_ms": {strconv.FormatInt(appendTimeMs, 10)}}
	err := l.ask(ctx, wire.PathLogSeek, partition, query, func(address string) error {
		return l.cfg.Client.JSON(ctx, http.MethodGet, address, nil, &answer)
	})
	if err != nil {
		return 0, fmt.Errorf("seek partition %d: %w", partition, err)
	}
	return answer.Offset, nil
}

// Bounds describes a partition; see eventlog.Reader.
func (l *Log) Bounds(ctx context.Context, partition int) (eventlog.Bounds, error) {
	var answer wire.LogBounds
	err := l.ask(ctx, wire.PathLogBounds, partition, url.Values{}, func(address string) error {
		return l.cfg.Client.JSON(ctx, http.MethodGet, address, nil, &answer)
	})
	if err != nil {
		return eventlog.Bounds{}, fmt.Errorf("ask for bounds of partition %d: %w", partition, err)
	}
	return eventlog.Bounds{Incarnation: answer.Incarnation, First: answer.First, Next: answer.Next, Bytes: answer.Bytes}, nil
}

// ask calls each address once, the one that answered last first, until one answers or says what no other would say better.
func (l *Log) ask(ctx context.Context, path string, partition int, query url.Values, call func(address string) error) error {
	query.Set("partition", strconv.Itoa(partition))
	urls := l.cfg.URLs()
	if last := l.last.Load(); last != nil {
		for i, u := range urls {
			if u == *last && i > 0 {
				urls = append([]string{u}, append(append([]string(nil), urls[:i]...), urls[i+1:]...)...)
				break
			}
		}
	}
	var err error = wire.NewProblem(wire.CodeUnavailable, "no process that serves the log is known")
	for _, base := range urls {
		err = translate(call(base + path + "?" + query.Encode()))
		if ctx.Err() != nil || !elsewhere(err) {
			if err == nil {
				l.last.Store(&base)
			}
			return err
		}
	}
	return err
}

// elsewhere tells whether another process may answer what this one did not.
func elsewhere(err error) bool {
	return err != nil && wire.CodeOf(err) == wire.CodeUnavailable
}

// translate makes a problem the error of the port that it stands for.
func translate(err error) error {
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		return err
	}
	switch {
	case p.Code == wire.CodeTrimmed:
		return fmt.Errorf("%w: %w", eventlog.ErrTrimmed, err)
	case p.Code == wire.CodeBeyondEnd:
		return fmt.Errorf("%w: %w", eventlog.ErrBeyondEnd, err)
	case p.Code == wire.CodeNotFound && p.Field == "partition":
		return fmt.Errorf("%w: %w", eventlog.ErrNoPartition, err)
	}
	return err
}
