package proxyclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/proxyclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxy is a server that stands for a cluster proxy.
type proxy struct {
	*httptest.Server
	calls atomic.Int32
}

// newProxy answers with what answer returns: a problem, or any value as JSON.
func newProxy(t testing.TB, answer func(r *http.Request, body []byte) any) *proxy {
	t.Helper()
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		out := answer(r, body)
		if problem, ok := out.(*wire.Problem); ok {
			w.Header().Set("Content-Type", wire.ProblemType)
			if problem.RetryAfter > 0 {
				w.Header().Set("Retry-After", "3")
			}
			w.WriteHeader(problem.Status)
		}
		json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(p.Close)
	return p
}

func always(out any) func(*http.Request, []byte) any {
	return func(*http.Request, []byte) any { return out }
}

func newClient(t testing.TB, proxies ...*proxy) *proxyclient.Client {
	t.Helper()
	transport := wire.NewClient(wire.ClientConfig{})
	t.Cleanup(transport.Close)
	return proxyclient.New(proxyclient.Config{Client: transport, URLs: func() []string {
		var urls []string
		for _, p := range proxies {
			urls = append(urls, p.URL)
		}
		return urls
	}})
}

// Every call reaches its path with its request, and its answer comes back.
func TestCalls(t *testing.T) {
	title := "t"
	apply := &wire.ApplyRequest{
		Partition: 3, Epoch: 2, Expected: 5, Next: 6, WindowFrom: 1, AsOf: 99, Incarnation: "i", Checksum: 7,
		Rows: []wire.Row{{Type: "view", Key: "v1", Minute: 12, Aggregate: event.Aggregate{Count: 4, Min: event.NoMin, Max: event.NoMax}}},
	}
	for _, c := range []struct {
		name, path, method string
		call               func(context.Context, *proxyclient.Client) (any, error)
		request            any // as the proxy should get it
		answer             any
	}{
		{
			"apply", wire.PathApply + "?partition=3", http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) { return p.Apply(ctx, apply) },
			apply, &wire.ApplyAnswer{NextOffset: 6, Rows: 1},
		},
		{"claim", wire.PathClaim, http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) {
			return p.Claim(ctx, wire.ClaimRequest{Partition: 4, Owner: "w", MinEpoch: 3})
		}, &wire.ClaimRequest{Partition: 4, Owner: "w", MinEpoch: 3}, &wire.Checkpoint{Partition: 4, Epoch: 3, Owner: "w"}},
		{
			"checkpoints", wire.PathCheckpoints, http.MethodGet, func(ctx context.Context, p *proxyclient.Client) (any, error) { return p.Checkpoints(ctx) },
			nil, &wire.CheckpointsAnswer{Checkpoints: []wire.Checkpoint{{Partition: 1, Database: "s1-a"}}, Missing: []string{"s2-a"}},
		},
		{
			"stats", wire.PathStats, http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) {
				return p.Stats(ctx, &wire.StatsRequest{Type: "view", Keys: []string{"a", "ключ"}, From: 1, To: 2, Step: wire.StepMinute})
			}, &wire.StatsRequest{Type: "view", Keys: []string{"a", "ключ"}, From: 1, To: 2, Step: wire.StepMinute},
			&wire.StatsAnswer{Keys: []wire.KeyStats{{Key: "a", Known: true, Points: []wire.Point{{Start: 1, Count: 2, HasValues: true, Sum: event.Product(1<<62, 9)}}}}},
		},
		{"top", wire.PathTop, http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) {
			return p.Top(ctx, &wire.TopRequest{Type: "view", From: 1, To: 2, N: 3})
		}, &wire.TopRequest{Type: "view", From: 1, To: 2, N: 3}, &wire.TopAnswer{Exact: true, Entries: []wire.TopEntry{{Key: "a", Point: wire.Point{Count: 2}}}}},
		{"lookup", wire.PathKeyInfo, http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) {
			return p.LookupKey(ctx, &wire.KeyRequest{Type: "view", Key: "a"})
		}, &wire.KeyRequest{Type: "view", Key: "a"}, &wire.KeyInfo{Type: "view", Key: "a", Known: true, Shard: "s1"}},
		{"import", wire.PathKeysImport, http.MethodPost, func(ctx context.Context, p *proxyclient.Client) (any, error) {
			return p.ImportKeys(ctx, &wire.KeysImport{Keys: []wire.KeyAttributes{{Type: "view", Key: "a", Title: &title}}})
		}, &wire.KeysImport{Keys: []wire.KeyAttributes{{Type: "view", Key: "a", Title: &title}}}, &wire.KeysImported{Created: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxy(t, func(r *http.Request, body []byte) any {
				if got := r.Method + " " + r.URL.RequestURI(); got != c.method+" "+c.path {
					t.Errorf("got %s, want %s %s", got, c.method, c.path)
				}
				checkRequest(t, r, body, c.request)
				return c.answer
			})
			got, err := c.call(t.Context(), newClient(t, p))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.answer, got); d != "" {
				t.Errorf("answer differs (-want +got):\n%s", d)
			}
		})
	}
}

func checkRequest(t testing.TB, r *http.Request, body []byte, want any) {
	t.Helper()
	if apply, ok := want.(*wire.ApplyRequest); ok {
		got, err := wire.DecodeApply(body)
		if err != nil || r.Header.Get("Content-Type") != wire.ApplyType {
			t.Errorf("got %v, content type %s from the body of apply", err, r.Header.Get("Content-Type"))
		}
		if d := cmp.Diff(apply, got); d != "" {
			t.Errorf("request differs (-want +got):\n%s", d)
		}
		return
	}
	wantBody := ""
	if want != nil {
		data, err := json.Marshal(want)
		if err != nil {
			t.Error(err)
		}
		wantBody = string(data)
	}
	if string(body) != wantBody {
		t.Errorf("got request %s, want %s", body, wantBody)
	}
}

func TestAnotherProxyIsTried(t *testing.T) {
	good := newProxy(t, always(&wire.Checkpoint{Epoch: 4}))
	for name, bad := range map[string]*proxy{
		"unavailable": newProxy(t, always(wire.NewProblem(wire.CodeUnavailable, "no"))),
		"overloaded":  newProxy(t, always(wire.NewProblem(wire.CodeOverloaded, "no"))),
		"dead":        dead(t),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, bad, good)
			for range 4 {
				got, err := c.Claim(t.Context(), wire.ClaimRequest{Partition: 1})
				if err != nil || got.Epoch != 4 {
					t.Fatalf("got %v, %v, want the other proxy's answer", got, err)
				}
			}
		})
	}
}

func dead(t testing.TB) *proxy {
	p := newProxy(t, always(nil))
	p.Close()
	return p
}

// A code is passed on with all that belongs to it, and not tried elsewhere.
func TestProblemsPassThrough(t *testing.T) {
	stored := wire.Checkpoint{Partition: 1, Epoch: 8, NextOffset: 44, Incarnation: "x"}
	for _, code := range []wire.Code{wire.CodeFenced, wire.CodeOffsetMoved, wire.CodeUnapplicable, wire.CodeMisrouted, wire.CodeBadRequest, wire.CodeForbidden, wire.CodeInternal} {
		t.Run(string(code), func(t *testing.T) {
			problem := wire.NewProblem(code, "because").WithField("f").WithCheckpoint(stored).WithRetryAfter(3 * time.Second)
			a, b := newProxy(t, always(problem)), newProxy(t, always(problem))
			got, err := newClient(t, a, b).Apply(t.Context(), &wire.ApplyRequest{Partition: 1})
			if got != nil {
				t.Errorf("got an answer %v beside the error", got)
			}
			p, ok := errors.AsType[*wire.Problem](err)
			if !ok || p.Code != code || p.Detail != "because" || p.Field != "f" || p.RetryAfter != 3*time.Second {
				t.Fatalf("got %+v, want the proxy's problem", p)
			}
			if d := cmp.Diff(&stored, p.Checkpoint); d != "" {
				t.Errorf("checkpoint differs (-want +got):\n%s", d)
			}
			if n := a.calls.Load() + b.calls.Load(); n != 1 {
				t.Errorf("got %d calls, want 1", n)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	gate := make(chan struct{})
	t.Cleanup(func() { close(gate) })
	var told atomic.Value
	stuck := newProxy(t, func(r *http.Request, _ []byte) any {
		told.Store(r.Header.Get(wire.HeaderDeadline))
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := newClient(t, stuck).Stats(ctx, &wire.StatsRequest{})
	if wire.CodeOf(err) != wire.CodeDeadline || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline", err)
	}
	if ms, _ := told.Load().(string); ms == "" || len(ms) > 3 {
		t.Errorf("the proxy was told a deadline of %q ms, want what is left of 200", ms)
	}

	// With a second proxy the first one's silence leaves time for it.
	good := newProxy(t, always(&wire.StatsAnswer{}))
	c := newClient(t, stuck, good)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := c.Stats(ctx, &wire.StatsRequest{}); err != nil {
			t.Errorf("got %v, want the other proxy's answer", err)
		}
		cancel()
	}
}

func TestNoProxyIsKnown(t *testing.T) {
	_, err := newClient(t).Checkpoints(t.Context())
	if p, ok := errors.AsType[*wire.Problem](err); !ok || p.Code != wire.CodeUnavailable || p.RetryAfter <= 0 {
		t.Errorf("got %v, want unavailable with a time to retry", err)
	}
}

func TestNonsenseAnswer(t *testing.T) {
	p := newProxy(t, always("no object"))
	c := newClient(t, p)
	if _, err := c.Apply(t.Context(), &wire.ApplyRequest{}); wire.CodeOf(err) != wire.CodeInternal || !strings.Contains(err.Error(), "decode") {
		t.Errorf("apply: got %v, want internal", err)
	}
	if _, err := c.Top(t.Context(), &wire.TopRequest{}); wire.CodeOf(err) != wire.CodeInternal {
		t.Errorf("top: got %v, want internal", err)
	}
}
