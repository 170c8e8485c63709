package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// eventsPath is where a cluster takes events.
const eventsPath = "/v1/events"

// maxAnswerBytes bounds an answer: 10,000 rejections with their messages.
const maxAnswerBytes = 8 << 20

// Request is one attempt to post events.
type Request struct {
	URL            string // base address of the cluster's ingest: "http://127.0.0.1:8080"
	Body           []byte // must not be used once Post has returned
	Encoding       string // Content-Encoding: "", "gzip" or "zstd"
	IdempotencyKey string
	Deadline       time.Time
}

// Response is an answer of any status.
type Response struct {
	Status     int
	Body       []byte // valid until the next Post of the same caller
	RetryAfter time.Duration
}

// Transport carries one attempt. Post returns by the request's deadline or soon after ctx ends. Its error wraps ErrNotSent when
// nothing can have reached the server; otherwise the outcome is unknown.
type Transport interface {
	Post(ctx context.Context, req *Request) (Response, error)
}

// httpTransport is a Transport over net/http.
type httpTransport struct {
	client        *http.Client
	authorization string
}

// newHTTPTransport returns a transport that keeps up to perHost connections alive. Redirects are answers like any other.
func newHTTPTransport(token string, perHost int) *httpTransport {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	t := &httpTransport{client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, DisableCompression: true,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: perHost, WriteBufferSize: 64 << 10, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if token != "" {
		t.authorization = "Bearer " + token
	}
	return t
}

// Post implements Transport.
func (t *httpTransport) Post(ctx context.Context, r *Request) (Response, error) {
	ctx, cancel := context.WithDeadline(ctx, r.Deadline)
	defer cancel()
	connected := false // before that nothing can have been sent
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.URL, "/")+eventsPath, bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, fmt.Errorf("build request: %w: %w", ErrNotSent, err)
	}
	// The transport must not send a body again by itself: Deliver counts attempts and knows which outcomes are uncertain.
	req.GetBody = nil
	req.Header["Content-Type"] = []string{"application/json"}
	for name, value := range map[string]string{
		"Content-Encoding": r.Encoding, "Idempotency-Key": r.IdempotencyKey, "Authorization": t.authorization,
	} {
		if value != "" {
			req.Header[name] = []string{value}
		}
	}
	resp, err := t.client.Do(req)
	if err != nil {
		if !connected {
			err = fmt.Errorf("%w: %w", ErrNotSent, err)
		}
		return Response{}, fmt.Errorf("post events: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return Response{}, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswerBytes {
		return Response{}, fmt.Errorf("read answer: longer than %d bytes", maxAnswerBytes)
	}
	return Response{
		Status: resp.StatusCode, Body: body, RetryAfter: ParseRetryAfter(resp.Header.Get("Retry-After"), time.Now),
	}, nil
}

func (t *httpTransport) close() { t.client.CloseIdleConnections() }
