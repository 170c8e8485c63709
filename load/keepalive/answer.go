package keepalive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"time"

	"github.com/quipudb/quipu/client"
)

const (
	maxHeaderLines = 200
	maxAnswerBytes = 8 << 20
)

var errAnswer = errors.New("answer is not HTTP/1.1")

// answerHead is what is kept of an answer's header.
type answerHead struct {
	status     int
	length     int64 // −1: not told
	chunked    bool
	closing    bool
	retryAfter time.Duration
}

// read reads one answer and leaves the connection ready for the next request, or hung up.
func (l *line) read() (client.Response, error) {
	h, err := l.readHead()
	for err == nil && h.status < 200 && h.status != http.StatusSwitchingProtocols {
		h, err = l.readHead()
	}
	if err != nil {
		return client.Response{}, err
	}
	if err := l.readBody(&h); err != nil {
		return client.Response{}, fmt.Errorf("read answer's body: %w", err)
	}
	if h.closing {
		l.hangUp()
	}
	return client.Response{Status: h.status, Body: l.in, RetryAfter: h.retryAfter}, nil
}

func (l *line) readHead() (answerHead, error) {
	h := answerHead{length: -1}
	first, err := l.readLine()
	if err != nil {
		return h, err
	}
	// "HTTP/1.1 202 Accepted"
	if len(first) < 12 || string(first[:7]) != "HTTP/1." || first[8] != ' ' {
		return h, fmt.Errorf("%w: it begins with %.20q", errAnswer, first)
	}
	h.closing = first[7] == '0'
	if h.status, err = strconv.Atoi(string(first[9:12])); err != nil || h.status < 100 {
		return h, fmt.Errorf("%w: status %q", errAnswer, first[9:12])
	}
	for range maxHeaderLines {
		field, err := l.readLine()
		if err != nil || len(field) == 0 {
			return h, err
		}
		if err := h.absorb(field); err != nil {
			return h, err
		}
	}
	return h, fmt.Errorf("%w: more than %d header fields", errAnswer, maxHeaderLines)
}

func (l *line) readLine() ([]byte, error) {
	text, err := l.reader.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read answer's header: %w", err)
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

// absorb takes in one header field. Most are skipped after a look at their length.
func (h *answerHead) absorb(field []byte) error {
	colon := bytes.IndexByte(field, ':')
	if colon < 0 {
		return fmt.Errorf("%w: header field %.20q", errAnswer, field)
	}
	name, value := field[:colon], bytes.TrimSpace(field[colon+1:])
	switch colon {
	case len("Content-Length"):
		if bytes.EqualFold(name, []byte("Content-Length")) {
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 || n > maxAnswerBytes {
				return fmt.Errorf("%w: Content-Length %.20q", errAnswer, value)
			}
			h.length = n
		}
	case len("Transfer-Encoding"):
		h.chunked = h.chunked || bytes.EqualFold(name, []byte("Transfer-Encoding")) && bytes.EqualFold(value, []byte("chunked"))
	case len("Connection"):
		h.closing = h.closing || bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close"))
	case len("Retry-After"):
		if bytes.EqualFold(name, []byte("Retry-After")) {
			h.retryAfter = client.ParseRetryAfter(string(value), time.Now)
		}
	}
	return nil
}

func (l *line) readBody(h *answerHead) error {
	l.in = l.in[:0]
	switch {
	case h.status == http.StatusNoContent || h.status == http.StatusNotModified:
		return nil
	case h.chunked:
		// The chunked reader ends before the trailer, which is left on the connection: it is not used again.
		h.closing = true
		return l.readAll(httputil.NewChunkedReader(l.reader))
	case h.length < 0:
		h.closing = true
		return l.readAll(l.reader)
	}
	if int64(cap(l.in)) < h.length {
		l.in = make([]byte, 0, h.length)
	}
	l.in = l.in[:h.length]
	_, err := io.ReadFull(l.reader, l.in)
	return err
}

func (l *line) readAll(from io.Reader) (err error) {
	l.in, err = io.ReadAll(io.LimitReader(from, maxAnswerBytes+1))
	if err == nil && len(l.in) > maxAnswerBytes {
		return fmt.Errorf("%w: longer than %d bytes", errAnswer, maxAnswerBytes)
	}
	return err
}
