package keepalive_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/load/keepalive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTransport(t *testing.T, token string) *keepalive.Transport {
	t.Helper()
	transport := keepalive.New(token)
	t.Cleanup(transport.Close)
	return transport
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

func TestPostSendsWhatAServerExpects(t *testing.T) {
	connections := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		body, err := io.ReadAll(r.Body)
		h := r.Header
		fmt.Fprintf(w, "%s %s %s %d %v %s|%s|%s|%s", r.Method, r.URL.Path, r.Host, len(body), err,
			h.Get("Content-Type"), h.Get("Authorization"), h.Get("Content-Encoding"), h.Get("Idempotency-Key"))
	}))
	defer server.Close()
	transport := newTransport(t, "secret")
	for _, length := range []int{0, 10, 100_000} {
		got, err := transport.Post(t.Context(), &client.Request{
			URL: server.URL, Body: []byte(strings.Repeat("x", length)), Encoding: "gzip", IdempotencyKey: "i", Deadline: in(10 * time.Second),
		})
		want := fmt.Sprintf("POST /v1/events %s %d <nil> application/json|Bearer secret|gzip|i", server.Listener.Addr(), length)
		if err != nil || got.Status != 200 || string(got.Body) != want {
			t.Errorf("got %v, %d %s; want 200 %s", err, got.Status, got.Body, want)
		}
	}
	if len(connections) != 1 {
		t.Errorf("got %d connections, want one that is kept", len(connections))
	}
}

// raw answers every request of a connection with the next of the given bytes, then closes it.
func raw(t *testing.T, answers ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reader := bufio.NewReader(conn)
			for len(answers) > 0 {
				if _, err := http.ReadRequest(reader); err != nil {
					break
				}
				io.WriteString(conn, answers[0])
				answers = answers[1:]
			}
			conn.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestPostReadsEveryFormOfAnswer(t *testing.T) {
	type result struct {
		Status     int
		Body       string
		RetryAfter time.Duration
		Failed     bool
	}
	for name, c := range map[string]struct {
		answer string
		want   result
	}{
		"length":          {"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok", result{202, "ok", 0, false}},
		"retry after":     {"HTTP/1.1 429 Too\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", result{429, "", 7 * time.Second, false}},
		"chunks":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", result{200, "abc", 0, false}},
		"until the end":   {"HTTP/1.0 503 No\r\n\r\nsorry", result{503, "sorry", 0, false}},
		"interim":         {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", result{200, "x", 0, false}},
		"no content":      {"HTTP/1.1 204 No Content\r\n\r\n", result{204, "", 0, false}},
		"closing":         {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", result{200, "x", 0, false}},
		"cut short":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx", result{Failed: true}},
		"nothing":         {"", result{Failed: true}},
		"not HTTP":        {"SSH-2.0-OpenSSH_9\r\n\r\n", result{Failed: true}},
		"bad status":      {"HTTP/1.1 abc\r\n\r\n", result{Failed: true}},
		"bad length":      {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", result{Failed: true}},
		"bad field":       {"HTTP/1.1 200 OK\r\nwhat\r\n\r\n", result{Failed: true}},
		"too long":        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", result{Failed: true}},
		"too many fields": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 300) + "\r\n", result{Failed: true}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := newTransport(t, "").Post(t.Context(), &client.Request{URL: raw(t, c.answer), Body: []byte("[]"), Deadline: in(10 * time.Second)})
			got := result{resp.Status, string(resp.Body), resp.RetryAfter, err != nil}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("error %v, answer differs (-want +got):\n%s", err, diff)
			}
			if errors.Is(err, client.ErrNotSent) {
				t.Errorf("got %v, want it not to call the request unsent", err)
			}
		})
	}
}

func TestPostConnectsAgain(t *testing.T) {
	url := raw(t, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")
	transport := newTransport(t, "")
	for _, want := range []string{"a", "b"} {
		got, err := transport.Post(t.Context(), &client.Request{URL: url, Body: []byte("[]"), Deadline: in(10 * time.Second)})
		if err != nil || string(got.Body) != want {
			t.Fatalf("got %v, %q; want %q", err, got.Body, want)
		}
	}
}

func TestPostKnowsThatNothingWasSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for _, url := range []string{"http://" + listener.Addr().String(), "http://%zz"} {
		if _, err := newTransport(t, "").Post(t.Context(), &client.Request{URL: url, Deadline: in(time.Second)}); !errors.Is(err, client.ErrNotSent) {
			t.Errorf("%s: got %v, want ErrNotSent", url, err)
		}
	}
}

func TestPostEndsInTime(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	transport := newTransport(t, "")
	if _, err := transport.Post(t.Context(), &client.Request{URL: server.URL, Deadline: in(30 * time.Millisecond)}); err == nil || errors.Is(err, client.ErrNotSent) {
		t.Errorf("got %v at the deadline, want an uncertain error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	if _, err := transport.Post(ctx, &client.Request{URL: server.URL, Deadline: in(time.Hour)}); err == nil {
		t.Error("got no error at the end of the context")
	}
}

func TestPostOverTLSChecksTheCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = nil
	if _, err := newTransport(t, "").Post(t.Context(), &client.Request{URL: server.URL, Deadline: in(5 * time.Second)}); !errors.Is(err, client.ErrNotSent) {
		t.Errorf("got %v from a server with a certificate of its own, want a refusal before anything is sent", err)
	}
}
