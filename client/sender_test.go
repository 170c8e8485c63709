package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

func quick(urls ...string) client.SenderConfig {
	return client.SenderConfig{
		URLs: urls, BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond, BreakerPause: 5 * time.Millisecond,
		RequestTimeout: 5 * time.Second, DeliveryTimeout: 20 * time.Second,
	}
}

func newSender(t *testing.T, cfg client.SenderConfig) *client.Sender {
	t.Helper()
	s, err := client.NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func batchOf(n int) *client.Batch {
	b := &client.Batch{}
	for i := range n {
		b.Add(&event.Event{Type: "view", Key: "k", ID: fmt.Sprint("id", i), TimeMs: 1000})
	}
	return b
}

func TestDeliverSettlesEveryEvent(t *testing.T) {
	for _, c := range []struct {
		name     string
		script   []step
		want     client.Report
		distinct int
	}{
		{"accepted at once", nil, client.Report{Accepted: 4, Attempts: 1}, 4},
		{"connection dropped before", []step{drop, drop}, client.Report{Accepted: 4, Attempts: 3}, 4},
		{"connection dropped after accepting", []step{dropAfterAccepting}, client.Report{Accepted: 4, Attempts: 2}, 4},
		{"overloaded", []step{answer(429, `{"code":"overloaded"}`), answer(503, "")}, client.Report{Accepted: 4, Attempts: 3}, 4},
		{"answers nonsense", []step{answer(202, `{"accepted":3,"rejected":[]}`), answer(202, `hello`)}, client.Report{Accepted: 4, Attempts: 3}, 4},
		{"refused for good", []step{refuse("too_old", false, 1, 3)}, client.Report{
			Accepted: 2, Attempts: 1,
			Losses: []client.Loss{{Index: 1, Code: "too_old", Message: "no"}, {Index: 3, Code: "too_old", Message: "no"}},
		}, 2},
		{"refused for now, then for good", []step{refuse("unavailable", true, 3, 1), refuse("too_old", false, 0)}, client.Report{
			Accepted: 3, Attempts: 2, Losses: []client.Loss{{Index: 1, Code: "too_old", Message: "no", Uncertain: true}},
		}, 3},
		{"refused as a whole", []step{answer(401, `{"code":"unauthorized","detail":"who?"}`)}, client.Report{
			Attempts: 1, Losses: []client.Loss{
				{Index: 0, Code: "unauthorized", Message: "who?"},
				{Index: 1, Code: "unauthorized", Message: "who?"},
				{Index: 2, Code: "unauthorized", Message: "who?"},
				{Index: 3, Code: "unauthorized", Message: "who?"},
			},
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newCluster(t, c.script...)
			got := newSender(t, quick(server.URL)).Deliver(t.Context(), batchOf(4))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("report differs (-want +got):\n%s", diff)
			}
			if server.distinct() != c.distinct {
				t.Errorf("the cluster counted %d events, want %d", server.distinct(), c.distinct)
			}
		})
	}
}

func TestDeliverSendsOnlyWhatIsNotSettled(t *testing.T) {
	server := newCluster(t, refuse("unavailable", true, 0, 2))
	newSender(t, quick(server.URL)).Deliver(t.Context(), batchOf(4))
	if diff := cmp.Diff(map[string]int{"id0": 1, "id1": 1, "id2": 1, "id3": 1}, server.seen); diff != "" {
		t.Errorf("ids differ (-want +got):\n%s", diff)
	}
}

func TestDeliverWithAKeyRepeatsTheWholeRequest(t *testing.T) {
	server := newCluster(t, refuse("unavailable", true, 2), refuse("too_old", false, 1))
	b := batchOf(3)
	b.IdempotencyKey = "request-7"
	got := newSender(t, quick(server.URL)).Deliver(t.Context(), b)
	want := client.Report{Accepted: 2, Attempts: 2, Losses: []client.Loss{{Index: 1, Code: "too_old", Message: "no", Uncertain: true}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report differs (-want +got):\n%s", diff)
	}
	for _, h := range server.headers {
		if got := h.Get("Idempotency-Key"); got != "request-7" {
			t.Errorf("got Idempotency-Key %q, want request-7", got)
		}
	}
}

func TestDeliverGivesUpInTime(t *testing.T) {
	hang := func(_ *cluster, w http.ResponseWriter, _ []sentEvent) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		t.Cleanup(func() { conn.Close() }) // no answer, and no end either
	}
	server := newCluster(t, hang, hang, hang, hang, hang, hang, hang, hang, hang, hang)
	cfg := quick(server.URL)
	cfg.RequestTimeout, cfg.DeliveryTimeout = 30*time.Millisecond, 150*time.Millisecond
	got := newSender(t, cfg).Deliver(t.Context(), batchOf(1))
	want := client.Report{Losses: []client.Loss{{Code: client.CodeUnreachable, Uncertain: true}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(client.Loss{}, "Message"), cmpopts.IgnoreFields(client.Report{}, "Attempts")); diff != "" {
		t.Errorf("report differs (-want +got):\n%s", diff)
	}
}

func TestDeliverIsCertainThatNothingWasSent(t *testing.T) {
	server := newCluster(t)
	server.Close()
	cfg := quick(server.URL)
	cfg.DeliveryTimeout = 50 * time.Millisecond
	got := newSender(t, cfg).Deliver(t.Context(), batchOf(1))
	if len(got.Losses) != 1 || got.Losses[0].Code != client.CodeUnreachable || got.Losses[0].Uncertain {
		t.Errorf("got %+v, want one certain loss", got)
	}
}

func TestDeliverEndsWithItsContext(t *testing.T) {
	server := newCluster(t, answer(503, "", "Retry-After", "10"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan client.Report)
	go func() { done <- newSender(t, quick(server.URL)).Deliver(ctx, batchOf(1)) }()
	eventually(t, func() bool { return server.requestCount() == 1 })
	cancel()
	if got := <-done; len(got.Losses) != 1 || got.Losses[0].Code != client.CodeInterrupted {
		t.Errorf("got %+v, want one loss by interruption", got)
	}
	if got := newSender(t, quick(server.URL)).Deliver(ctx, batchOf(1)); got.Attempts != 0 || got.Losses[0].Uncertain {
		t.Errorf("got %+v, want a certain loss without an attempt", got)
	}
}

func TestDeliverHonoursRetryAfter(t *testing.T) {
	server := newCluster(t, answer(429, "", "Retry-After", "1"))
	start := time.Now()
	got := newSender(t, quick(server.URL)).Deliver(t.Context(), batchOf(1))
	if took := time.Since(start); got.Accepted != 1 || took < time.Second {
		t.Errorf("got %+v after %v, want it accepted after a second", got, took)
	}
	late := newCluster(t, answer(429, `{"code":"window_full"}`, "Retry-After", "3600"))
	if got := newSender(t, quick(late.URL)).Deliver(t.Context(), batchOf(1)); len(got.Losses) != 1 || got.Losses[0].Code != "window_full" {
		t.Errorf("got %+v, want a loss at once: the server asks for more time than there is", got)
	}
}

func TestDeliverTurnsToAnotherAddress(t *testing.T) {
	dead, alive := newCluster(t), newCluster(t)
	dead.Close()
	sender := newSender(t, quick(dead.URL, alive.URL))
	for range 20 {
		if got := sender.Deliver(t.Context(), batchOf(1)); got.Accepted != 1 {
			t.Fatalf("got %+v, want it accepted", got)
		}
	}
}

func TestBreakerLeavesAFailingAddressAlone(t *testing.T) {
	failing := make([]step, 1000)
	for i := range failing {
		failing[i] = answer(500, "")
	}
	server := newCluster(t, failing...)
	cfg := quick(server.URL)
	cfg.BreakerFailures, cfg.BreakerPause, cfg.DeliveryTimeout = 3, time.Minute, 100*time.Millisecond
	sender := newSender(t, cfg)
	got := sender.Deliver(t.Context(), batchOf(1))
	if len(got.Losses) != 1 || server.requestCount() != 3 {
		t.Errorf("got %+v after %d requests, want a loss after 3", got, server.requestCount())
	}
	if sender.Available() {
		t.Error("the sender calls itself available, want it not to be")
	}
}

func TestNewSenderRefusesBadSettings(t *testing.T) {
	for name, cfg := range map[string]client.SenderConfig{
		"no address":       {},
		"no scheme":        {URLs: []string{"localhost:8080"}},
		"other scheme":     {URLs: []string{"ftp://localhost"}},
		"retries too long": {URLs: []string{"http://h"}, DeliveryTimeout: 10 * time.Minute},
		"compression":      {URLs: []string{"http://h"}, Compression: "lzw"},
	} {
		if _, err := client.NewSender(cfg); !errors.Is(err, client.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 seconds")
		}
	}
}
