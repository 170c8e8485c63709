package reader_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// newWaitRig asks its ledger directly, so that time can be that of a synctest bubble.
func newWaitRig(t *testing.T, change func(*reader.Config)) *rig {
	t.Helper()
	l := &ledger{asOf: time.Now().UnixMilli() - 800}
	return rigOf(t, l, l, nil, func(c *reader.Config) {
		c.Now = time.Now
		if change != nil {
			change(c)
		}
	})
}

// follow makes the ledger's as-of run this far behind the clock.
func follow(lag time.Duration) func(*ledger) {
	return func(l *ledger) {
		l.onAsk = func(l *ledger) { l.asOf = time.Now().Add(-lag).UnixMilli() }
	}
}

var waitTargets = []string{"/v1/stats?type=view&key=v1&wait=5s", "/v1/top?type=view&wait=5s", "/v1/keys/view/v1?wait=5s"}

func TestWaitEndsWhenAsOfHasPassedTheArrival(t *testing.T) {
	for _, target := range waitTargets {
		t.Run(target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newWaitRig(t, nil)
				r.set(follow(800 * time.Millisecond))
				arrival := time.Now()
				got := r.get(t, target).fields(t)
				took := time.Since(arrival)
				asOf, _ := time.Parse(time.RFC3339, got["as_of"].(string))
				if got["waited"] != true || !asOf.After(arrival) || took <= 800*time.Millisecond || took > 1200*time.Millisecond {
					t.Errorf("got waited %v and as-of %v after %v, want as-of after the arrival, %v", got["waited"], asOf, took, arrival)
				}
			})
		})
	}
}

// As-of counts what was accepted strictly before it: the arrival's own millisecond isn't in yet.
func TestWaitWantsMoreThanTheArrivalItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.set(func(l *ledger) { l.asOf = time.Now().UnixMilli() })
		if got := r.get(t, "/v1/stats?type=view&key=v1&wait=0s").fields(t); got["waited"] != false {
			t.Errorf("got waited %v with as-of equal to the arrival, want false", got["waited"])
		}
		r.set(func(l *ledger) { l.asOf = time.Now().UnixMilli() + 1 })
		if got := r.get(t, "/v1/stats?type=view&key=v1&wait=0s").fields(t); got["waited"] != true {
			t.Errorf("got waited %v with as-of past the arrival, want true", got["waited"])
		}
	})
}

func TestWaitThatExpiresAnswersWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.add(event.Event{Type: "view", Key: "v1", TimeMs: 60_000})
		begin := time.Now()
		got := r.get(t, "/v1/stats?type=view&key=v1&wait=2s").fields(t)
		if took := time.Since(begin); got["waited"] != false || got["value"] == nil || took != 2*time.Second {
			t.Errorf("got %v after %v, want a value that wasn't waited for after 2s", got, took)
		}
		if n := len(r.requests()); n < 5 || n > 30 {
			t.Errorf("got %d questions within 2s, want a bounded number", n)
		}
	})
}

func TestBatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.set(follow(time.Second))
		got := r.post(t, "/v1/stats:batch", `{"type":"view","wait":"5s","queries":[{"key":"v1"},{"key":"v2"}]}`).fields(t)
		if got["waited"] != true {
			t.Errorf("got waited %v, want true", got["waited"])
		}
	})
}

// A batch that lacks a partition is not what was waited for, however fresh the rest is.
func TestBatchThatLacksAPartIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.set(func(l *ledger) {
			l.asOf = time.Now().UnixMilli() + 1000
			l.missing = map[string]wire.Code{"s2": wire.CodeUnavailable}
		})
		body := `{"type":"view","wait":"1s","queries":[{"key":"` + lost("s1") + `"},{"key":"` + lost("s2") + `"}]}`
		if got := r.post(t, "/v1/stats:batch", body).fields(t); got["waited"] != false {
			t.Errorf("got waited %v, want false", got["waited"])
		}
	})
}

func TestWaitOutlastsFailuresThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		up := time.Now().Add(time.Second)
		r.set(func(l *ledger) {
			l.onAsk = func(l *ledger) {
				l.asOf, l.fail = time.Now().UnixMilli(), nil
				if time.Now().Before(up) {
					l.fail = wire.NewProblem(wire.CodeTermChanged, "promoting")
				}
			}
		})
		if got := r.get(t, "/v1/stats?type=view&key=v1&wait=5s"); got.Status != 200 || got.fields(t)["waited"] != true {
			t.Errorf("got %d %s, want an answer once the failure has passed", got.Status, got.Body)
		}
	})
}

func TestWaitTellsAFailureThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.set(func(l *ledger) { l.fail = wire.NewProblem(wire.CodeSchema, "version 7") })
		begin := time.Now()
		wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1&wait=1s"), 503, wire.CodeUnavailable, "", "can't be reached")
		if took := time.Since(begin); took != time.Second {
			t.Errorf("got the failure after %v, want 1s", took)
		}
		r.set(func(l *ledger) { l.fail = wire.NewProblem(wire.CodeBadRequest, "what?") })
		begin = time.Now()
		wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1&wait=1s"), 500, wire.CodeInternal, "", "disagree")
		if took := time.Since(begin); took != 0 {
			t.Errorf("got a failure that can't pass after %v, want at once", took)
		}
	})
}

// An answer once had is kept when later tries fail.
func TestWaitKeepsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		r.set(func(l *ledger) {
			l.onAsk = func(l *ledger) {
				if len(l.asked) > 1 {
					l.fail = wire.NewProblem(wire.CodeUnavailable, "gone")
				}
			}
		})
		if got := r.get(t, "/v1/stats?type=view&key=v1&wait=1s"); got.Status != 200 || got.fields(t)["waited"] != false {
			t.Errorf("got %d %s, want the first answer", got.Status, got.Body)
		}
	})
}

func TestClientThatGoesAwayEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		r.echo.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/stats?type=view&key=v1&wait=30s", nil).WithContext(ctx))
		if took := time.Since(begin); took != 300*time.Millisecond {
			t.Errorf("got the end of the wait after %v, want 300ms", took)
		}
	})
}

func TestDrainEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.reader.Run(ctx) }()
		time.AfterFunc(700*time.Millisecond, stop)
		begin := time.Now()
		got := r.get(t, "/v1/stats?type=view&key=v1&wait=30s").fields(t)
		if took := time.Since(begin); got["waited"] != false || took != 700*time.Millisecond {
			t.Errorf("got waited %v after %v, want what there is after 700ms", got["waited"], took)
		}
		if err := <-ended; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
}

func TestWaitsAreBounded(t *testing.T) { // INV-9
	synctest.Test(t, func(t *testing.T) {
		r := newWaitRig(t, func(c *reader.Config) { c.Limits.Waits = 1 })
		first := make(chan reply, 1)
		go func() { first <- r.get(t, "/v1/stats?type=view&key=v1&wait=1s") }()
		synctest.Wait()
		got := r.get(t, "/v1/stats?type=view&key=v1&wait=1s")
		wantProblem(t, got, 429, wire.CodeOverloaded, "", "1 waits are in flight")
		if got.Header.Get("Retry-After") != "1" {
			t.Errorf("got Retry-After %q, want 1", got.Header.Get("Retry-After"))
		}
		if got := r.get(t, "/v1/stats?type=view&key=v1"); got.Status != 200 {
			t.Errorf("got status %d beside the wait, want 200", got.Status)
		}
		if got := <-first; got.Status != 200 {
			t.Errorf("got status %d from the first wait, want 200", got.Status)
		}
	})
}
