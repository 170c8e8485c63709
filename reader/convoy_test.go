package reader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// keeper is a proxy that keeps answers, or not.
type keeper struct {
	reader.Proxy
	slow   func(string) chan struct{} // what asking alone for a key waits for; nil: nothing
	keeps  func(string) bool
	fail   atomic.Bool
	calls  atomic.Int64 // for kept answers
	alone  atomic.Int64
	oddity atomic.Bool // answers nonsense
}

func (k *keeper) Stats(ctx context.Context, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	k.alone.Add(1)
	if wait := k.slow(r.Keys[0]); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, wire.NewProblem(wire.CodeDeadline, "too slow")
		}
	}
	return k.Proxy.Stats(ctx, r)
}

func (k *keeper) Kept(ctx context.Context, questions [][]byte) ([][]byte, error) {
	k.calls.Add(1)
	if k.fail.Load() {
		return nil, wire.NewProblem(wire.CodeNotFound, "no such path")
	}
	answers := make([][]byte, len(questions))
	for i, q := range questions {
		var r wire.StatsRequest
		if err := json.Unmarshal(q, &r); err != nil {
			return nil, err
		}
		answers[i] = []byte("null")
		if k.oddity.Load() {
			answers[i] = []byte("{")
		} else if k.keeps(r.Keys[0]) {
			answer, err := k.Proxy.Stats(ctx, &r)
			if err != nil {
				return nil, err
			}
			if answers[i], err = json.Marshal(answer); err != nil {
				return nil, err
			}
		}
	}
	return answers, nil
}

func newKeeperRig(t *testing.T) (*rig, *keeper) {
	t.Helper()
	l := &ledger{asOf: now.UnixMilli() - 800}
	k := &keeper{Proxy: serveLedger(t, l), slow: func(string) chan struct{} { return nil }, keeps: func(string) bool { return true }}
	r := rigOf(t, l, k, nil, nil)
	for i := range 20 {
		r.add(event.Event{Type: "view", Key: fmt.Sprint("k", i), TimeMs: at(12, 0, 0), Weight: int64(i + 1)})
	}
	return r, k
}

// askAll asks for every key several times at once, and compares the answers.
func (r *rig) askAll(t *testing.T, callers int) {
	t.Helper()
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			n := i % 20
			if got := r.get(t, fmt.Sprintf("/v1/stats?type=view&key=k%d", n)).fields(t); text(t, got["value"]) != fmt.Sprint(n+1) {
				t.Errorf("k%d: got %v", n, got)
			}
		})
	}
	group.Wait()
}

// Many questions at once are asked together, and each gets its own answer; whatever is not kept, or can't be told, is asked alone.
func TestQuestionsTravelTogether(t *testing.T) {
	for name, change := range map[string]func(*keeper){
		"all kept": func(*keeper) {}, "some kept": func(k *keeper) { k.keeps = func(key string) bool { return key < "k15" } },
		"none kept": func(k *keeper) { k.keeps = func(string) bool { return false } },
		"failing":   func(k *keeper) { k.fail.Store(true) }, "nonsense": func(k *keeper) { k.oddity.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			r, k := newKeeperRig(t)
			change(k)
			for range 50 { // until enough of them met
				if r.askAll(t, 40); k.calls.Load() > 0 {
					return
				}
			}
			t.Error("no questions travelled together")
		})
	}
}

// INV-9: questions that wait for a database keep nobody else waiting.
func TestSlowQuestionsDelayNoOthers(t *testing.T) {
	r, k := newKeeperRig(t)
	release := make(chan struct{})
	k.slow = func(key string) chan struct{} {
		if key == "k19" {
			return release
		}
		return nil
	}
	k.keeps = func(key string) bool { return key != "k19" }
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if got := r.get(t, "/v1/stats?type=view&key=k19").fields(t); text(t, got["value"]) != "20" {
				t.Errorf("got %v", got)
			}
		})
	}
	for i := range 100 { // they are answered while the others are not
		if got := r.get(t, fmt.Sprintf("/v1/stats?type=view&key=k%d", i%19)).fields(t); text(t, got["value"]) != fmt.Sprint(i%19+1) {
			t.Errorf("got %v", got)
		}
	}
	close(release)
	group.Wait()
}
