package balance_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/balance"
)

// ejections records what was told of them.
type ejections struct{ told []string }

func (e *ejections) note(url string, cause balance.EjectCause) {
	e.told = append(e.told, url+":"+string(cause))
}

// run makes calls one after the other and returns how many of them each server got.
func run(t *testing.T, b *balance.Balancer, n int, answer func(ctx context.Context, url string) error, servers ...balance.Server) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		_ = b.Do(t.Context(), "read", func() []balance.Server { return servers }, func(ctx context.Context, url string) error {
			got[url]++
			return answer(ctx, url)
		})
	}
	return got
}

func servers(urls ...string) []balance.Server { return list(urls...)() }

func TestOutliersAreEjected(t *testing.T) {
	const quick = 5 * time.Millisecond
	for _, c := range []struct {
		name  string
		a     func(call int) error
		slow  time.Duration // of a
		cause balance.EjectCause
	}{
		{"failures in a row", func(int) error { return wire.NewProblem(wire.CodeUnavailable, "") }, quick, balance.EjectedFailures},
		{"overload in a row", func(int) error { return wire.NewProblem(wire.CodeOverloaded, "") }, quick, balance.EjectedFailures},
		{"half of them fail", func(call int) error {
			if call%2 == 0 {
				return wire.NewProblem(wire.CodeInternal, "")
			}
			return nil
		}, quick, balance.EjectedShare},
		{"slow", func(int) error { return nil }, 150 * time.Millisecond, balance.EjectedLatency},
		{"refusals are no failures", func(int) error { return wire.NewProblem(wire.CodeFenced, "") }, quick, balance.Rejoined},
		{"a little slower", func(int) error { return nil }, 80 * time.Millisecond, balance.Rejoined},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var e ejections
				b := balance.New(balance.Config{OnEject: e.note})
				calls := 0
				answer := func(_ context.Context, url string) error {
					if url != "a" {
						time.Sleep(quick)
						return nil
					}
					time.Sleep(c.slow)
					calls++
					return c.a(calls)
				}
				run(t, b, 100, answer, servers("a", "b", "c")...)
				want := ""
				if c.cause != balance.Rejoined {
					want = "a:" + string(c.cause)
				}
				if got := strings.Join(e.told, " "); got != want {
					t.Fatalf("ejected: %q, want %q", got, want)
				}
				if got := run(t, b, 30, answer, servers("a", "b", "c")...); want != "" && got["a"] != 0 {
					t.Errorf("the ejected server got %d calls", got["a"])
				}
			})
		})
	}
}

// An ejected server gets longer away each time, up to a bound, and a clean record after it was well for long.
func TestEjectionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left time.Time
		var away []time.Duration
		b := balance.New(balance.Config{EjectFor: time.Second, OnEject: func(_ string, cause balance.EjectCause) {
			if cause != balance.Rejoined {
				left = time.Now()
				return
			}
			away = append(away, time.Since(left).Round(100*time.Millisecond))
		}})
		bad := func(_ context.Context, url string) error {
			time.Sleep(time.Millisecond)
			if url == "a" {
				return wire.NewProblem(wire.CodeUnavailable, "")
			}
			return nil
		}
		for len(away) < 7 {
			run(t, b, 1, bad, servers("a", "b")...)
		}
		if want := "[1s 2s 4s 8s 16s 16s 16s]"; fmt.Sprint(away) != want {
			t.Errorf("away for %v, want %s", away, want)
		}
		time.Sleep(time.Minute)
		run(t, b, 10, func(context.Context, string) error { return nil }, servers("a", "b")...)
		time.Sleep(time.Minute)
		away = nil
		for len(away) < 1 {
			run(t, b, 1, bad, servers("a", "b")...)
		}
		if away[0] != time.Second {
			t.Errorf("away for %s after a good minute, want 1s again", away[0])
		}
	})
}

// However bad servers are, half of them stay, and when all fail alike nobody goes.
func TestEjectionHasAFloor(t *testing.T) {
	for _, c := range []struct {
		name string
		bad  string // servers that fail
		all  []string
		want int // ejected
	}{
		{"one alone", "a", []string{"a"}, 0},
		{"one of two", "a", []string{"a", "b"}, 1},
		{"both", "a b", []string{"a", "b"}, 0},
		{"two of three", "a b", []string{"a", "b", "c"}, 1},
		{"three of four", "a b c", []string{"a", "b", "c", "d"}, 2},
		{"four of five", "a b c d", []string{"a", "b", "c", "d", "e"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var e ejections
				b := balance.New(balance.Config{OnEject: e.note, EjectFor: time.Hour})
				run(t, b, 300, func(_ context.Context, url string) error {
					time.Sleep(time.Millisecond)
					if strings.Contains(c.bad, url) {
						return wire.NewProblem(wire.CodeInternal, "")
					}
					return nil
				}, servers(c.all...)...)
				if len(e.told) != c.want {
					t.Errorf("ejected %v, want %d of %d", e.told, c.want, len(c.all))
				}
			})
		})
	}
}

// An ejected server is better than none.
func TestEjectedServerIsTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.New(balance.Config{EjectFor: time.Hour})
		run(t, b, 50, func(_ context.Context, url string) error {
			if url == "a" {
				return wire.NewProblem(wire.CodeInternal, "")
			}
			return nil
		}, servers("a", "b")...)
		var got string
		err := b.Do(t.Context(), "read", list("a", "b"), func(_ context.Context, url string) error {
			got += url
			if url == "b" {
				return unreachable()
			}
			return nil
		})
		if err != nil || got != "ba" {
			t.Errorf("called %q, %v, want b and then, for want of others, a", got, err)
		}
	})
}

// Servers of the caller's zone come first, until they are busy or away.
func TestZones(t *testing.T) {
	near, far := balance.Server{URL: "near", Zone: "z1"}, balance.Server{URL: "far", Zone: "z2"}
	ok := func(context.Context, string) error { return nil }
	t.Run("near first", func(t *testing.T) {
		b := balance.New(balance.Config{Zone: "z1"})
		if got := run(t, b, 50, ok, far, near); got["near"] != 50 {
			t.Errorf("calls went to %v, want all to the near one", got)
		}
	})
	t.Run("no zone of its own", func(t *testing.T) {
		b := balance.New(balance.Config{})
		if got := run(t, b, 50, ok, far, near); got["near"] != 25 {
			t.Errorf("calls went to %v, want half to each", got)
		}
	})
	t.Run("spill over when ejected", func(t *testing.T) {
		b := balance.New(balance.Config{Zone: "z1"})
		run(t, b, 100, func(_ context.Context, url string) error {
			if url == "near" {
				return unreachable()
			}
			return nil
		}, far, near)
		if got := run(t, b, 10, ok, far, near); got["far"] != 10 {
			t.Errorf("calls went to %v, want all to the far one", got)
		}
	})
	t.Run("spill over when busy", func(t *testing.T) {
		b := balance.New(balance.Config{Zone: "z1"})
		entered, release := make(chan string), make(chan struct{})
		var all sync.WaitGroup
		got := map[string]int{}
		for range 60 {
			all.Go(func() {
				_ = b.Do(t.Context(), "read", func() []balance.Server { return []balance.Server{far, near} }, func(_ context.Context, url string) error {
					entered <- url
					<-release
					return nil
				})
			})
			got[<-entered]++
		}
		close(release)
		all.Wait()
		if got["far"] < 10 || got["far"] > 20 || got["near"]+got["far"] != 60 {
			t.Errorf("60 calls at once went to %v, want most near and some far", got)
		}
	})
}
