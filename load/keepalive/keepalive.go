// Package keepalive is a lean HTTP/1.1 client for load generation: a client.Transport over plain connections that stay open. It
// exists because the generator shares its cores with the cluster that it measures; see the benchmark beside it for what that saves
// against net/http.
//
// It speaks what an HTTP/1.1 server may answer (any status, lengths, chunks, interim answers, closing) and nothing more: no
// redirects, proxies or HTTP/2. A Transport keeps one connection an address and belongs to one goroutine.
package keepalive

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/quipudb/quipu/client"
)

const (
	dialTimeout = 3 * time.Second
	readBuffer  = 4 << 10
	joinBelow   = 16 << 10 // bodies up to here are sent in one write with their headers
	path        = "/v1/events"
)

// Transport implements client.Transport.
type Transport struct {
	token string
	lines map[string]*line
}

// line is the connection to one address.
type line struct {
	host, hostport string
	tls            *tls.Config // nil: plain
	head           []byte      // of every request, up to the fields that differ
	conn           net.Conn    // nil while there is none
	reader         *bufio.Reader
	out            []byte // request under construction
	in             []byte // body of the last answer
}

// New returns a transport that shows a bearer token, if there is one. It does no I/O.
func New(token string) *Transport { return &Transport{token: token, lines: map[string]*line{}} }

// Post implements client.Transport.
func (t *Transport) Post(ctx context.Context, req *client.Request) (client.Response, error) {
	l, err := t.line(req.URL)
	if err != nil {
		return client.Response{}, fmt.Errorf("%w: %w", client.ErrNotSent, err)
	}
	if l.conn == nil {
		if err := l.dial(ctx, req.Deadline); err != nil {
			return client.Response{}, fmt.Errorf("%w: %w", client.ErrNotSent, err)
		}
	}
	conn := l.conn
	if err := conn.SetDeadline(req.Deadline); err != nil {
		l.hangUp()
		return client.Response{}, fmt.Errorf("%w: %w", client.ErrNotSent, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // wakes what blocks on it
	resp, err := l.exchange(req)
	if !stop() || err != nil {
		l.hangUp()
	}
	if err != nil {
		return client.Response{}, fmt.Errorf("post to %s: %w", l.hostport, err)
	}
	return resp, nil
}

// Close closes every connection.
func (t *Transport) Close() {
	for _, l := range t.lines {
		l.hangUp()
	}
}

func (t *Transport) line(base string) (*line, error) {
	if l, ok := t.lines[base]; ok {
		return l, nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	l := &line{host: u.Hostname(), hostport: u.Host}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		l.tls = &tls.Config{ServerName: l.host}
	}
	if u.Port() == "" {
		l.hostport = net.JoinHostPort(l.host, port)
	}
	l.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: quipu-load\r\nContent-Type: application/json\r\n", u.Path+path, u.Host)
	if t.token != "" {
		l.head = fmt.Appendf(l.head, "Authorization: Bearer %s\r\n", t.token)
	}
	t.lines[base] = l
	return l, nil
}

func (l *line) dial(ctx context.Context, deadline time.Time) error {
	dialer := net.Dialer{Timeout: dialTimeout, Deadline: deadline}
	conn, err := dialer.DialContext(ctx, "tcp", l.hostport)
	if err != nil {
		return err
	}
	if l.tls != nil {
		secured := tls.Client(conn, l.tls)
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			return errors.Join(err, conn.Close())
		}
		conn = secured
	}
	l.conn, l.reader = conn, bufio.NewReaderSize(conn, readBuffer)
	return nil
}

func (l *line) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close() // nothing is left to be sent on it
		l.conn = nil
	}
}

func (l *line) exchange(req *client.Request) (client.Response, error) {
	l.out = append(l.out[:0], l.head...)
	if req.Encoding != "" {
		l.out = fmt.Appendf(l.out, "Content-Encoding: %s\r\n", req.Encoding)
	}
	if req.IdempotencyKey != "" {
		l.out = fmt.Appendf(l.out, "Idempotency-Key: %s\r\n", req.IdempotencyKey)
	}
	l.out = append(l.out, "Content-Length: "...)
	l.out = strconv.AppendInt(l.out, int64(len(req.Body)), 10)
	l.out = append(l.out, "\r\n\r\n"...)
	if err := l.write(req.Body); err != nil {
		return client.Response{}, err
	}
	return l.read()
}

func (l *line) write(body []byte) error {
	if len(body) <= joinBelow {
		l.out = append(l.out, body...)
		_, err := l.conn.Write(l.out)
		return err
	}
	both := net.Buffers{l.out, body}
	_, err := both.WriteTo(l.conn)
	return err
}
