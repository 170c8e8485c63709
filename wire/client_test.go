package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/wire"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func newClient(t *testing.T, cfg wire.ClientConfig) *wire.Client {
	t.Helper()
	client := wire.NewClient(cfg)
	t.Cleanup(client.Close)
	return client
}

func TestJSONSendsAndDecodes(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var in wire.KeyRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Errorf("decode request: %v", err)
		}
		if got, want := r.Header.Get("Authorization"), "Bearer secret"; got != want {
			t.Errorf("got authorization %q, want %q", got, want)
		}
		if got, want := r.Header.Get("Content-Type"), wire.JSONType; got != want {
			t.Errorf("got content type %q, want %q", got, want)
		}
		_ = json.NewEncoder(w).Encode(wire.KeyInfo{Type: in.Type, Key: in.Key, Partition: 3})
	})
	client := newClient(t, wire.ClientConfig{Token: "secret"})
	var got wire.KeyInfo
	if err := client.JSON(t.Context(), http.MethodPost, url, wire.KeyRequest{Type: "view", Key: "v1"}, &got); err != nil {
		t.Fatal(err)
	}
	if want := (wire.KeyInfo{Type: "view", Key: "v1", Partition: 3}); !cmp.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDeadlineIsSentAsRemainingTime(t *testing.T) {
	tests := map[string]struct {
		context time.Duration // 0: none
		want    time.Duration
	}{
		"of the context":         {context: 3 * time.Second, want: 3 * time.Second},
		"of the client":          {want: 20 * time.Second},
		"of the client, earlier": {context: time.Hour, want: 20 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var ms int64
			url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				ms, _ = strconv.ParseInt(r.Header.Get(wire.HeaderDeadline), 10, 64)
			})
			ctx := t.Context()
			if test.context > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.context)
				defer cancel()
			}
			if err := newClient(t, wire.ClientConfig{Timeout: 20 * time.Second}).JSON(ctx, http.MethodGet, url, nil, nil); err != nil {
				t.Fatal(err)
			}
			if got := time.Duration(ms) * time.Millisecond; got <= 0 || got > test.want || got < test.want/2 {
				t.Errorf("got %v left, want a little less than %v", got, test.want)
			}
		})
	}
}

func TestErrorAnswersBecomeProblems(t *testing.T) {
	checkpoint := wire.Checkpoint{Partition: 1, Epoch: 7, NextOffset: 42}
	tests := map[string]struct {
		status           int
		contentType      string
		retryAfter, body string
		code             wire.Code
		wait             time.Duration
		detail           string
		checkpoint       *wire.Checkpoint
	}{
		"problem": {
			status: 409, contentType: wire.ProblemType + "; charset=utf-8",
			body: `{"code":"offset_moved","detail":"moved","checkpoint":{"partition":1,"epoch":7,"next_offset":42,"window_from":0,"as_of_ms":0,"incarnation":"","checksum":0,"owner":""}}`,
			code: wire.CodeOffsetMoved, detail: "moved", checkpoint: &checkpoint,
		},
		"problem with seconds": {
			status: 429, contentType: wire.ProblemType, retryAfter: "7", body: `{"code":"overloaded","detail":"d"}`,
			code: wire.CodeOverloaded, wait: 7 * time.Second, detail: "d",
		},
		"retry after is bounded": {
			status: 503, contentType: wire.ProblemType, retryAfter: "99999999999", body: `{"code":"log_full","detail":"d"}`,
			code: wire.CodeLogFull, wait: time.Hour, detail: "d",
		},
		"negative retry after":    {status: 503, retryAfter: "-4", code: wire.CodeUnavailable, detail: "status 503: "},
		"retry after in the past": {status: 503, retryAfter: "Mon, 02 Jan 2006 15:04:05 GMT", code: wire.CodeUnavailable, detail: "status 503: "},
		"load balancer":           {status: 502, contentType: "text/html", body: "<h1>no</h1>", code: wire.CodeUnavailable, detail: "status 502: <h1>no</h1>"},
		"foreign 504":             {status: 504, code: wire.CodeDeadline, detail: "status 504: "},
		"foreign 404":             {status: 404, contentType: "application/json", body: `{"code":"fenced"}`, code: wire.CodeNotFound, detail: `status 404: {"code":"fenced"}`},
		"broken problem":          {status: 400, contentType: wire.ProblemType, body: `{"code":`, code: wire.CodeBadRequest, detail: `status 400: {"code":`},
		"redirect":                {status: 302, code: wire.CodeInternal, detail: "status 302: "},
		"long text is cut":        {status: 500, body: strings.Repeat("x", 1000), code: wire.CodeInternal, detail: "status 500: " + strings.Repeat("x", 200)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := newClient(t, wire.ClientConfig{}).Bytes(t.Context(), http.MethodGet, url, "", nil)
			p, ok := errors.AsType[*wire.Problem](err)
			if !ok {
				t.Fatalf("got error %v, want a problem", err)
			}
			if p.Code != test.code || p.Status != test.status || p.RetryAfter != test.wait || p.Detail != test.detail {
				t.Errorf("got %s, status %d, retry after %v, detail %q; want %s, %d, %v, %q",
					p.Code, p.Status, p.RetryAfter, p.Detail, test.code, test.status, test.wait, test.detail)
			}
			if diff := cmp.Diff(test.checkpoint, p.Checkpoint); diff != "" {
				t.Errorf("checkpoint differs (−want +got):\n%s", diff)
			}
		})
	}
}

func TestRetryAfterAsDate(t *testing.T) {
	at := time.Now().Add(time.Minute).UTC()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", at.Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	err := newClient(t, wire.ClientConfig{}).JSON(t.Context(), http.MethodGet, url, nil, nil)
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok || p.RetryAfter <= 30*time.Second || p.RetryAfter > time.Minute {
		t.Errorf("got %v with retry after %v, want a problem that waits about a minute", err, p.RetryAfter)
	}
}

func TestTransportErrorsAreUnavailableAndWrapTheirCause(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	listener.Close()
	err = newClient(t, wire.ClientConfig{}).JSON(t.Context(), http.MethodGet, url, nil, nil)
	if got, want := wire.CodeOf(err), wire.CodeUnavailable; got != want {
		t.Errorf("got code %q of %v, want %q", got, err, want)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want it to wrap ECONNREFUSED", err)
	}
}

func TestCutOffAnswerIsUnavailable(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "short")
	})
	_, err := newClient(t, wire.ClientConfig{}).Bytes(t.Context(), http.MethodGet, url, "", nil)
	if got, want := wire.CodeOf(err), wire.CodeUnavailable; got != want || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got code %q of %v, want %q that wraps an unexpected end", got, err, want)
	}
}

func TestEndedContextIsDeadline(t *testing.T) {
	tests := map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"timed out": {
			end: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 20*time.Millisecond)
			},
			want: context.DeadlineExceeded,
		},
		"cancelled": {
			end: func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			},
			want: context.Canceled,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			ctx, cancel := test.end(t.Context())
			defer cancel()
			err := newClient(t, wire.ClientConfig{}).JSON(ctx, http.MethodGet, url, nil, nil)
			if got, want := wire.CodeOf(err), wire.CodeDeadline; got != want || !errors.Is(err, test.want) {
				t.Errorf("got code %q of %v, want %q that wraps %v", got, err, want, test.want)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	for name, chunked := range map[string]bool{"with a length": false, "chunked": true} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if chunked {
					w.(http.Flusher).Flush()
				}
				_, _ = io.WriteString(w, strings.Repeat("x", 11))
			})
			client := newClient(t, wire.ClientConfig{MaxReplyBytes: 10})
			_, err := client.Bytes(t.Context(), http.MethodGet, url, "", nil)
			if got, want := wire.CodeOf(err), wire.CodeTooLarge; got != want {
				t.Errorf("got code %q of %v, want %q", got, err, want)
			}
			reply, err := newClient(t, wire.ClientConfig{MaxReplyBytes: 11}).Bytes(t.Context(), http.MethodGet, url, "", nil)
			if err != nil || len(reply.Body) != 11 {
				t.Errorf("got %v, %v, want the 11 bytes that fit", reply, err)
			}
		})
	}
}

func TestConnectionsAreReused(t *testing.T) {
	seen := map[string]bool{}
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen[r.RemoteAddr] = true })
	client := newClient(t, wire.ClientConfig{})
	for range 20 {
		if err := client.JSON(t.Context(), http.MethodPost, url, "body", nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("got %d connections for 20 calls in a row, want 1", len(seen))
	}
}

func TestHeadHasNoBody(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "100") })
	reply, err := newClient(t, wire.ClientConfig{MaxReplyBytes: 10}).Bytes(t.Context(), http.MethodHead, url, "", nil)
	if err != nil || len(reply.Body) != 0 || reply.Header.Get("Content-Length") != "100" {
		t.Errorf("got %+v, %v, want an empty body and the header", reply, err)
	}
}

// A connection that was kept and is broken is no word of its server: the call is sent again, if it may be.
func TestBrokenConnectionIsReplaced(t *testing.T) {
	for name, repeatable := range map[string]bool{"repeatable": true, "not repeatable": false} {
		t.Run(name, func(t *testing.T) {
			var seen sync.Map // connections that had a call
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if _, again := seen.LoadOrStore(r.RemoteAddr, true); !again {
					return
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			})
			client := newClient(t, wire.ClientConfig{Repeatable: repeatable})
			call := func() error {
				return client.JSON(t.Context(), http.MethodPost, url, wire.KeyRequest{Type: "view"}, nil)
			}
			if err := call(); err != nil {
				t.Fatal(err)
			}
			err := call()
			if repeatable && err != nil {
				t.Errorf("got %v, want the answer over a new connection", err)
			}
			if !repeatable && wire.CodeOf(err) != wire.CodeUnavailable {
				t.Errorf("got %v, want %s: the call may have been carried out", err, wire.CodeUnavailable)
			}
		})
	}
}
