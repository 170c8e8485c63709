package client_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

func TestAppendEvent(t *testing.T) {
	for _, c := range []struct {
		event event.Event
		want  string
	}{
		{event.Event{Type: "view", Key: "v1"}, `{"type":"view","key":"v1"}`},
		{event.Event{Type: "view", Key: "v1", ID: "i", TimeMs: 5, Value: -3, HasValue: true, Weight: -1}, `{"type":"view","key":"v1","id":"i","time":5,"value":-3,"weight":-1}`},
		{event.Event{Type: "view", Key: "a\"\\\n\x00é", Weight: 1, Value: 9}, `{"type":"view","key":"a\"\\\u000a\u0000é"}`},
	} {
		if got := string(client.AppendEvent(nil, &c.event)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestAppendStringIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		var got, want string
		if err := json.Unmarshal(client.AppendString(nil, text), &got); err != nil {
			t.Fatalf("encoding of %q: %v", text, err)
		}
		standard, _ := json.Marshal(text)
		if err := json.Unmarshal(standard, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("got %q from %q, want %q", got, text, want)
		}
	})
}

func TestBatchMayGrowAfterItWasSent(t *testing.T) {
	server := newCluster(t)
	sender := newSender(t, quick(server.URL))
	b := batchOf(2)
	sender.Deliver(t.Context(), b)
	b.AddJSON([]byte(`{"type":"view","key":"k","id":"id2"}`))
	b.AddFunc(func(dst []byte) []byte { return append(dst, `{"type":"view","key":"k","id":"id3"}`...) })
	if got := sender.Deliver(t.Context(), b); got.Accepted != 4 {
		t.Errorf("got %+v, want 4 accepted", got)
	}
	if got := string(b.Event(1)); got != `{"type":"view","key":"k","id":"id1","time":1000}` {
		t.Errorf("got event %s", got)
	}
	b.Reset()
	if got := sender.Deliver(t.Context(), b); got.Attempts != 0 || b.Len() != 0 {
		t.Errorf("got %+v for an empty batch, want nothing sent", got)
	}
}

func TestCheckNamesTheField(t *testing.T) {
	good := event.Event{Type: "view", Key: "v1", Weight: 1}
	if err := client.Check(&good); err != nil {
		t.Errorf("got %v for a good event", err)
	}
	for field, change := range map[string]func(*event.Event){
		"type":   func(e *event.Event) { e.Type = "View" },
		"key":    func(e *event.Event) { e.Key = strings.Repeat("k", event.MaxKeyBytes+1) },
		"key \"": func(e *event.Event) { e.Key = "" },
		"id":     func(e *event.Event) { e.ID = "\xff" },
		"time":   func(e *event.Event) { e.TimeMs = -1 },
		"value":  func(e *event.Event) { e.Value, e.HasValue = event.MaxValue+1, true },
		"weight": func(e *event.Event) { e.Weight = -event.MaxWeight - 1 },
	} {
		bad := good
		change(&bad)
		if err := client.Check(&bad); !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v, want ErrInvalid that names it", field, err)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	got := map[string]time.Duration{}
	want := map[string]time.Duration{
		"": 0, "x": 0, "-3": 0, "7": 7 * time.Second, "99999999999999999999": 0,
		"Wed, 04 Mar 2026 05:06:17 GMT": 10 * time.Second, "Wed, 04 Mar 2026 05:06:00 GMT": 0,
	}
	for header := range want {
		got[header] = client.ParseRetryAfter(header, func() time.Time { return now })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("durations differ (-want +got):\n%s", diff)
	}
}
