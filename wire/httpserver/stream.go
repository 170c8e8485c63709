package httpserver

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Bounds of a stream.
const (
	flushBytes  = 32 << 10               // what may wait to be sent
	flushAfter  = 100 * time.Millisecond // how long it may
	stallBound  = 30 * time.Second       // how long its reader may take nothing
	streamSlack = 30 * time.Second
)

// Stream is an answer that is sent as it comes into being. As long as its reader takes it, it may take longer than answers may: each part that is
// sent has its own time. Not safe for concurrent use.
type Stream struct {
	c       echo.Context
	control *http.ResponseController
	buffer  []byte
	flushed time.Time
	err     error
}

// NewStream begins an answer with status 200. longest bounds the whole of it.
func NewStream(c echo.Context, contentType string, longest time.Duration) *Stream {
	s := &Stream{c: c, control: http.NewResponseController(c.Response().Writer), flushed: time.Now()}
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, contentType)
	header.Set(echo.HeaderCacheControl, "no-store")
	// The bound of reading the request would end the request's context as well.
	_ = s.control.SetReadDeadline(time.Now().Add(longest + streamSlack))
	return s
}

// Write adds to the answer.
func (s *Stream) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.buffer = append(s.buffer, p...)
	if len(s.buffer) >= flushBytes || time.Since(s.flushed) >= flushAfter {
		return len(p), s.Flush()
	}
	return len(p), nil
}

// Flush sends what waits.
func (s *Stream) Flush() error {
	if s.err != nil {
		return s.err
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(stallBound)) // tests have writers without deadlines
	if _, s.err = s.c.Response().Write(s.buffer); s.err == nil {
		s.err = s.control.Flush()
	}
	s.buffer, s.flushed = s.buffer[:0], time.Now()
	return s.err
}

// Abort breaks the connection off, so that whoever reads can tell that the answer is not whole.
func (s *Stream) Abort() {
	_ = s.Flush()
	if conn, _, err := s.control.Hijack(); err == nil {
		_ = conn.Close()
	}
}
