package balance_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

// slowly answers after a time that depends on the server, or when its caller gives up.
func slowly(times map[string]time.Duration) func(ctx context.Context, url string) (string, error) {
	return func(ctx context.Context, url string) (string, error) {
		select {
		case <-time.After(times[url]):
			return "from " + url, nil
		case <-ctx.Done():
			return "", wire.NewProblem(wire.CodeDeadline, "gave up").WithCause(ctx.Err())
		}
	}
}

// warm has the balancer see so many calls of 10 ms.
func warm(t *testing.T, b *balance.Balancer, calls int, urls ...string) {
	t.Helper()
	for range calls {
		_, err := balance.Ask(t.Context(), b, "read", list(urls...), func(context.Context, string) (string, error) {
			time.Sleep(10 * time.Millisecond)
			return "", nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

type hedges struct{ won, lost int }

func (h *hedges) count(_ string, won bool) {
	if won {
		h.won++
	} else {
		h.lost++
	}
}

func TestHedgeTakesTheFirstGoodAnswer(t *testing.T) {
	for _, c := range []struct {
		name        string
		first       time.Duration // the server that is asked first
		second      time.Duration
		wantWithin  time.Duration
		want        string
		won, lost   int
		bothAsked   bool
		failsSecond bool
	}{
		{"quick enough", 9 * time.Millisecond, time.Hour, 10 * time.Millisecond, "from a", 0, 0, false, false},
		{"second wins", time.Minute, 10 * time.Millisecond, 30 * time.Millisecond, "from b", 1, 0, true, false},
		{"first wins after all", 20 * time.Millisecond, time.Minute, 21 * time.Millisecond, "from a", 0, 1, true, false},
		{"second fails", 50 * time.Millisecond, 0, 51 * time.Millisecond, "from a", 0, 1, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h hedges
				b := balance.New(balance.Config{HedgeShare: 0.05, OnHedge: h.count})
				warm(t, b, 100, "a", "b") // the hundredth goes to b, so a is next
				answer := slowly(map[string]time.Duration{"a": c.first, "b": c.second})
				asked := always(nil)
				begin := time.Now()
				got, err := balance.Ask(t.Context(), b, "read", list("a", "b"), func(ctx context.Context, url string) (string, error) {
					_ = asked.call(ctx, url)
					if url == "b" && c.failsSecond {
						return "", unreachable()
					}
					return answer(ctx, url)
				})
				if err != nil || got != c.want {
					t.Errorf("got %q, %v, want %q", got, err, c.want)
				}
				if took := time.Since(begin); took > c.wantWithin {
					t.Errorf("took %s, want at most %s", took, c.wantWithin)
				}
				if h.won != c.won || h.lost != c.lost {
					t.Errorf("got %d hedges won and %d lost, want %d and %d", h.won, h.lost, c.won, c.lost)
				}
				if got := asked.took() == "a b"; got != c.bothAsked {
					t.Errorf("both asked: %v, want %v", got, c.bothAsked)
				}
			})
		})
	}
}

// A first call that fails while its hedge runs leaves the answer to the hedge; both failing is a failure that is retried elsewhere.
func TestHedgeOutlivesItsFirstCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{HedgeShare: 0.05})
		warm(t, b, 99, "a", "b", "c")
		asked := always(nil)
		got, err := balance.Ask(t.Context(), b, "read", list("a", "b", "c"), func(ctx context.Context, url string) (string, error) {
			_ = asked.call(ctx, url)
			switch url {
			case "a":
				time.Sleep(30 * time.Millisecond)
				return "", unreachable()
			case "b":
				time.Sleep(60 * time.Millisecond)
				return "", unreachable()
			}
			return "from c", nil
		})
		if err != nil || got != "from c" {
			t.Errorf("got %q, %v, want the answer of c", got, err)
		}
		if order := asked.took(); order != "a b c" {
			t.Errorf("asked %s, want a, its hedge b, then c", order)
		}
	})
}

// What the request itself is at fault for is told at once: another server would say the same.
func TestHedgeEndsWithAFinalAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{HedgeShare: 0.05})
		warm(t, b, 100, "a", "b")
		begin := time.Now()
		_, err := balance.Ask(t.Context(), b, "read", list("a", "b"), func(ctx context.Context, url string) (string, error) {
			if url == "a" {
				time.Sleep(30 * time.Millisecond)
				return "", wire.NewProblem(wire.CodeBadRequest, "no such step")
			}
			<-ctx.Done()
			return "", wire.NewProblem(wire.CodeDeadline, "gave up").WithCause(ctx.Err())
		})
		if wire.CodeOf(err) != wire.CodeBadRequest || time.Since(begin) > 31*time.Millisecond {
			t.Errorf("got %v after %s, want the refusal as soon as it came", err, time.Since(begin))
		}
	})
}

// Hedges are a bounded share of the questions even if every one of them is slow.
func TestHedgesAreABoundedShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hedges
		b := balance.New(balance.Config{HedgeShare: 0.03, OnHedge: h.count})
		warm(t, b, 100, "a", "b")
		const n = 1000
		for i := range n {
			_, err := balance.Ask(t.Context(), b, "read", list("a", "b"), func(context.Context, string) (string, error) {
				time.Sleep(time.Duration(20+i) * time.Millisecond) // ever slower: beyond any p95 of before
				return "", nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := h.won + h.lost; got < n*2/100 || got > n*3/100+10 {
			t.Errorf("got %d hedges of %d questions, want 3 of 100 and what was saved up", got, n)
		}
	})
}

// Writes are never sent twice at a time, and nothing is without a share to spend or another server to ask.
func TestWhatIsNotHedged(t *testing.T) {
	for _, c := range []struct {
		name  string
		share float64
		urls  []string
		do    bool
	}{
		{"by Do", 0.05, []string{"a", "b"}, true},
		{"no share", 0, []string{"a", "b"}, false},
		{"one server", 0.05, []string{"a"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := balance.New(balance.Config{HedgeShare: c.share})
				warm(t, b, 100, c.urls...)
				asked := &calls{answer: func(context.Context, string) error { time.Sleep(time.Second); return nil }}
				var err error
				if c.do {
					err = b.Do(t.Context(), "read", list(c.urls...), asked.call)
				} else {
					_, err = balance.Ask(t.Context(), b, "read", list(c.urls...), func(ctx context.Context, url string) (int, error) {
						return 0, asked.call(ctx, url)
					})
				}
				if err != nil || len(strings.Fields(asked.took())) != 1 {
					t.Errorf("got %v and more calls than one", err)
				}
			})
		})
	}
}

// A caller that goes away ends both calls.
func TestHedgeEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{HedgeShare: 0.05})
		warm(t, b, 100, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		_, err := balance.Ask(ctx, b, "read", list("a", "b"), slowly(map[string]time.Duration{"a": time.Hour, "b": time.Hour}))
		if !errors.Is(err, context.Canceled) || time.Since(begin) > 1001*time.Millisecond {
			t.Errorf("got %v after %s, want the end with the caller", err, time.Since(begin))
		}
	})
}
