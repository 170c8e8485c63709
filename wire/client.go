package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// HeaderDeadline carries how many milliseconds the caller will still wait. Servers derive their context from it.
const HeaderDeadline = "Quipu-Deadline-Ms"

// HeaderRequestID names a request in logs on both sides.
const HeaderRequestID = "X-Request-Id"

// JSONType is the media type of JSON bodies.
const JSONType = "application/json"

// ClientConfig configures a Client. Zero values give the defaults named here.
type ClientConfig struct {
	Token          string        // bearer token; none by default
	Timeout        time.Duration // bound of a call whose context has no earlier deadline; 30 s
	DialTimeout    time.Duration // 2 s
	IdleTimeout    time.Duration // how long an idle connection is kept; 60 s, less than servers keep theirs
	MaxIdlePerHost int           // idle connections kept a host; 128
	MaxPerHost     int           // connections a host, beyond which calls wait for one; 1,024
	MaxReplyBytes  int64         // longest accepted answer; 64 MiB
	UserAgent      string        // "quipu"
	Origin         func() Origin // of calls whose context has none; optional
	// Repeatable says that every call may reach its server twice. Then one whose connection, kept from an earlier call, turns out to be broken is
	// sent again over a new one: that says nothing of the server.
	Repeatable bool
}

// Client makes calls to other processes. It is safe for concurrent use, keeps connections alive and never follows redirects.
//
// Every error it returns is a *Problem: the peer's own, or CodeUnavailable for a failed transport, or CodeDeadline when the
// call's context ended first; then the outcome of a write is unknown. The last two wrap their cause.
type Client struct {
	http          *http.Client
	authorization string
	userAgent     string
	origin        func() Origin
	timeout       time.Duration
	maxReply      int64
	repeatable    bool
}

// Reply is a successful answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte // owned by the caller
}

// NewClient returns a client. It does no I/O.
func NewClient(cfg ClientConfig) *Client {
	setDefault(&cfg.Timeout, 30*time.Second)
	setDefault(&cfg.DialTimeout, 2*time.Second)
	setDefault(&cfg.IdleTimeout, time.Minute)
	setDefault(&cfg.MaxIdlePerHost, 128)
	setDefault(&cfg.MaxPerHost, 1024)
	setDefault(&cfg.MaxReplyBytes, 64<<20)
	setDefault(&cfg.UserAgent, "quipu")
	dialer := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second}
	c := &Client{
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 nil, // calls between processes never leave through a proxy of the environment
				DialContext:           dialer.DialContext,
				TLSHandshakeTimeout:   5 * time.Second,
				ExpectContinueTimeout: time.Second,
				IdleConnTimeout:       cfg.IdleTimeout,
				MaxIdleConnsPerHost:   cfg.MaxIdlePerHost,
				MaxConnsPerHost:       cfg.MaxPerHost,
				DisableCompression:    true,
				WriteBufferSize:       64 << 10,
				ReadBufferSize:        32 << 10,

				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		userAgent: cfg.UserAgent,
		origin:    cfg.Origin,
		timeout:   cfg.Timeout,
		maxReply:  cfg.MaxReplyBytes,

		repeatable: cfg.Repeatable,
	}
	if cfg.Token != "" {
		c.authorization = "Bearer " + cfg.Token
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Close drops the idle connections. Calls in flight go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// JSON sends in as JSON (nil: no body) and decodes the answer into out (nil: the answer is dropped).
func (c *Client) JSON(ctx context.Context, method, url string, in, out any) error {
	var body []byte
	contentType := ""
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return NewProblem(CodeInternal, "encode request to %s: %v", url, err).WithCause(err)
		}
		contentType = JSONType
	}
	reply, err := c.Bytes(ctx, method, url, contentType, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(reply.Body, out); err != nil {
		return NewProblem(CodeInternal, "decode answer of %s: %v", url, err).WithCause(err)
	}
	return nil
}

// Bytes sends a body as it is and returns the answer. An answer outside of 200–299 is an error.
func (c *Client) Bytes(ctx context.Context, method, url, contentType string, body []byte) (*Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.request(ctx, method, url, contentType, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportProblem(ctx, err)
	}
	defer resp.Body.Close()
	data, err := c.readBody(resp)
	if err != nil {
		if _, ok := errors.AsType[*Problem](err); ok {
			return nil, err
		}
		return nil, transportProblem(ctx, fmt.Errorf("read answer of %s: %w", url, err))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, decodeProblem(resp, data)
	}
	return &Reply{Status: resp.StatusCode, Header: resp.Header, Body: data}, nil
}

func (c *Client) request(ctx context.Context, method, url, contentType string, body []byte) (*http.Request, error) {
	var reader io.Reader
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return nil, NewProblem(CodeInternal, "build request: %v", err).WithCause(err)
	}
	req.Header["User-Agent"] = []string{c.userAgent}
	if contentType != "" {
		req.Header["Content-Type"] = []string{contentType}
	}
	if c.authorization != "" {
		req.Header["Authorization"] = []string{c.authorization}
	}
	if c.repeatable {
		req.Header["X-Idempotency-Key"] = nil // net/http takes its presence as leave to repeat a POST, and does not send it
	}
	if caller := CallerOf(ctx); caller != "" {
		req.Header[HeaderCaller] = []string{caller}
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(1, time.Until(deadline).Milliseconds())
		req.Header[HeaderDeadline] = []string{strconv.FormatInt(left, 10)}
	}
	if o, ok := OriginOf(ctx); ok {
		o.put(req.Header)
	} else if c.origin != nil {
		c.origin().put(req.Header)
	}
	return req, nil
}

func (c *Client) readBody(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > c.maxReply && resp.Request.Method != http.MethodHead {
		return nil, NewProblem(CodeTooLarge, "answer of %d bytes is longer than %d", resp.ContentLength, c.maxReply)
	}
	if resp.Body == http.NoBody || resp.Request.Method == http.MethodHead {
		return nil, nil
	}
	if resp.ContentLength >= 0 {
		data := make([]byte, resp.ContentLength)
		_, err := io.ReadFull(resp.Body, data)
		return data, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, c.maxReply+1))
	if err == nil && int64(len(data)) > c.maxReply {
		return nil, NewProblem(CodeTooLarge, "answer is longer than %d bytes", c.maxReply)
	}
	return data, err
}

func transportProblem(ctx context.Context, err error) *Problem {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return NewProblem(CodeDeadline, "%v", err).WithCause(errors.Join(err, context.Cause(ctx)))
	}
	return NewProblem(CodeUnavailable, "%v", err).WithCause(err)
}
