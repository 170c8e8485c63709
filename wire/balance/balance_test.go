package balance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

var errReset = errors.New("connection reset")

// unreachable is what the client returns when a server can't be reached.
func unreachable() error { return wire.NewProblem(wire.CodeUnavailable, "reset").WithCause(errReset) }

func list(urls ...string) func() []balance.Server {
	servers := make([]balance.Server, len(urls))
	for i, url := range urls {
		servers[i].URL = url
	}
	return func() []balance.Server { return servers }
}

// calls records which server was called, and answers for it.
type calls struct {
	mu     sync.Mutex
	urls   []string
	answer func(ctx context.Context, url string) error
}

func (c *calls) call(ctx context.Context, url string) error {
	c.mu.Lock()
	c.urls = append(c.urls, url)
	c.mu.Unlock()
	return c.answer(ctx, url)
}

func (c *calls) took() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := strings.Join(c.urls, " ")
	c.urls = nil
	return out
}

func always(err error) *calls {
	return &calls{answer: func(context.Context, string) error { return err }}
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name string
		urls []string
		err  error
		want string // servers called, in order
	}{
		{"success", []string{"a", "b"}, nil, "a"},
		{"another server", []string{"a", "b", "c"}, unreachable(), "a b c"},
		{"its own answer", []string{"a", "b"}, wire.NewProblem(wire.CodeSchema, ""), "a b"},
		{"never an unretryable code", []string{"a", "b"}, wire.NewProblem(wire.CodeFenced, ""), "a"},
		{"never a foreign error", []string{"a", "b"}, errReset, "a"},
		{"the same server when there is no other", []string{"a"}, unreachable(), "a a a"},
		{"the same server after a new term", []string{"a"}, wire.NewProblem(wire.CodeTermChanged, ""), "a a a"},
		{"not the same overloaded server", []string{"a"}, wire.NewProblem(wire.CodeOverloaded, ""), "a"},
		{"both, then one again", []string{"a", "b"}, unreachable(), "a b a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				retries := 0
				b := balance.New(balance.Config{OnRetry: func(wire.Code) { retries++ }})
				calls := always(c.err)
				if err := b.Do(t.Context(), "read", list(c.urls...), calls.call); !errors.Is(err, c.err) {
					t.Errorf("got error %v, want %v", err, c.err)
				}
				got := calls.took()
				if got != c.want {
					t.Errorf("got calls of %s, want %s", got, c.want)
				}
				if want := len(strings.Fields(got)) - 1; retries != want {
					t.Errorf("got %d retries told, want %d", retries, want)
				}
			})
		})
	}
}

func TestNoServers(t *testing.T) {
	b := balance.New(balance.Config{})
	err := b.Do(t.Context(), "read", list(), always(nil).call)
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok || p.Code != wire.CodeUnavailable || p.RetryAfter <= 0 {
		t.Errorf("got %v, want unavailable with a time to retry", err)
	}
}

func TestLeastBusyFirst(t *testing.T) {
	b := balance.New(balance.Config{})
	release, entered := make(chan struct{}), make(chan string, 3)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			_ = b.Do(t.Context(), "read", list("a", "b", "c"), func(_ context.Context, url string) error {
				entered <- url
				<-release
				return nil
			})
		})
	}
	var got []string
	for range 3 {
		got = append(got, <-entered)
	}
	close(release)
	all.Wait()
	slices.Sort(got)
	if fmt.Sprint(got) != "[a b c]" {
		t.Errorf("three calls at once went to %v, want one to each", got)
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []string
		b := balance.New(balance.Config{OnBreaker: func(url string, open int) { states = append(states, fmt.Sprint(url, open)) }})
		dead := &calls{answer: func(_ context.Context, url string) error {
			if url == "a" {
				return unreachable()
			}
			return nil
		}}
		for range 10 {
			if err := b.Do(t.Context(), "read", list("a", "b"), dead.call); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(dead.took(), "a"); got != 3 {
			t.Errorf("the dead server was called %d times, want 3 until its breaker opened", got)
		}
		time.Sleep(1100 * time.Millisecond)
		for range 4 {
			_ = b.Do(t.Context(), "read", list("a", "b"), dead.call)
		}
		if got := strings.Count(dead.took(), "a"); got != 1 {
			t.Errorf("the dead server was called %d times after a pause, want once", got)
		}
		time.Sleep(1100 * time.Millisecond)
		alive := always(nil)
		for range 10 {
			_ = b.Do(t.Context(), "read", list("a", "b"), alive.call)
		}
		if got := strings.Count(alive.took(), "a"); got < 4 {
			t.Errorf("the server was called %d times of 10 when it was back, want half of them", got)
		}
		if want := "[a0 b0 a2 a1 a2 a1 a0]"; fmt.Sprint(states) != want {
			t.Errorf("got breaker states %v, want %s", states, want)
		}
	})
}

func TestBreakerOfTheOnlyServerFailsFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{})
		dead := always(unreachable())
		_ = b.Do(t.Context(), "read", list("a"), dead.call)
		dead.took()
		err := b.Do(t.Context(), "read", list("a"), dead.call)
		if wire.CodeOf(err) != wire.CodeUnavailable || dead.took() != "" {
			t.Errorf("got %v, want unavailable without a call", err)
		}
	})
}

// An answer, even one of failure, shows that the server lives.
func TestAnswersDoNotOpenTheBreaker(t *testing.T) {
	b := balance.New(balance.Config{Attempts: 1})
	for _, code := range []wire.Code{wire.CodeUnavailable, wire.CodeSchema, wire.CodeInternal, wire.CodeDeadline, wire.CodeMisrouted} {
		busy := always(wire.NewProblem(code, "answered"))
		for range 5 {
			_ = b.Do(t.Context(), "read", list("a"), busy.call)
		}
		if got := len(strings.Fields(busy.took())); got != 5 {
			t.Errorf("%s: the server was called %d times, want 5", code, got)
		}
	}
}

// hanging answers like the client does when the attempt's deadline passes.
func hanging(ctx context.Context) error {
	<-ctx.Done()
	return wire.NewProblem(wire.CodeDeadline, "hangs").WithCause(ctx.Err())
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{})
		silent := &calls{answer: func(ctx context.Context, url string) error {
			if url == "a" {
				return hanging(ctx)
			}
			return nil
		}}
		for range 8 {
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			if err := b.Do(ctx, "read", list("a", "b"), silent.call); err != nil {
				t.Errorf("got %v, want the other server's answer within the deadline", err)
			}
			cancel()
		}
		if got := strings.Count(silent.took(), "a"); got > 4 {
			t.Errorf("the silent server was called %d times, want its breaker to open", got)
		}
	})
}

// Callers in a hurry, and callers that go away, are no fault of the server.
func TestShortDeadlinesDoNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{Attempts: 1})
		slow := &calls{answer: func(ctx context.Context, _ string) error { return hanging(ctx) }}
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_ = b.Do(ctx, "read", list("a"), slow.call)
			cancel()
		}
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Second, cancel)
			_ = b.Do(ctx, "read", list("a"), slow.call)
		}
		if got := len(strings.Fields(slow.took())); got != 10 {
			t.Errorf("the server was called %d times, want 10", got)
		}
	})
}

// When everything fails, retries end up as a fraction of the calls.
func TestRetriesAreABoundedShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retries := 0
		b := balance.New(balance.Config{OnRetry: func(wire.Code) { retries++ }})
		const n = 1000
		for range n {
			_ = b.Do(t.Context(), "read", list("a", "b"), always(wire.NewProblem(wire.CodeOverloaded, "")).call)
		}
		if retries < n/5 || retries > n/5+100 {
			t.Errorf("got %d retries of %d calls, want a fifth and what was saved up", retries, n)
		}
	})
}

func TestPanicDoesNotHoldTheServer(t *testing.T) {
	b := balance.New(balance.Config{})
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			_ = b.Do(t.Context(), "read", list("a"), func(context.Context, string) error { panic("bug") })
		}()
	}
	var got []string
	for range 4 {
		_ = b.Do(t.Context(), "read", list("a", "b"), func(_ context.Context, url string) error {
			got = append(got, url)
			return nil
		})
	}
	if strings.Count(fmt.Sprint(got), "a") != 2 {
		t.Errorf("calls went to %v, want both servers equally: the panics left load behind", got)
	}
}

func TestForgetsServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forgotten := 0
		b := balance.New(balance.Config{OnBreaker: func(_ string, open int) {
			if open < 0 {
				forgotten++
			}
		}})
		for i := range 300 {
			_ = b.Do(t.Context(), "read", list(fmt.Sprint("proxy-", i)), always(nil).call)
			time.Sleep(time.Minute)
		}
		if forgotten < 200 {
			t.Errorf("%d of 300 servers that went away were forgotten, want most", forgotten)
		}
	})
}
