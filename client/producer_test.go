package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newProducer(t *testing.T, cfg client.Config) *client.Producer {
	t.Helper()
	p, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(t.Context()) })
	return p
}

func send(t *testing.T, p *client.Producer, n int) {
	t.Helper()
	for i := range n {
		if err := p.Send(t.Context(), event.Event{Type: "view", Key: fmt.Sprint("k", i), Value: int64(i), HasValue: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProducerDeliversThroughFaults(t *testing.T) {
	for _, compression := range []client.Compression{client.Plain, client.Gzip, client.Zstd} {
		t.Run(fmt.Sprint("compression ", compression), func(t *testing.T) {
			server := newCluster(t, dropAfterAccepting, answer(503, ""), refuse("unavailable", true, 0, 3), drop, answer(429, ""))
			cfg := client.Config{SenderConfig: quick(server.URL), BatchEvents: 100, OnLoss: func(l client.Loss) { t.Errorf("lost %+v", l) }}
			cfg.Compression = compression
			p := newProducer(t, cfg)
			var senders sync.WaitGroup
			for range 4 {
				senders.Go(func() { send(t, p, 500) })
			}
			senders.Wait()
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if server.distinct() != 2000 {
				t.Errorf("the cluster counted %d events, want 2000", server.distinct())
			}
			if got := p.Stats(); got.Taken != 2000 || got.Accepted != 2000 || got.Lost != 0 || got.Retries < 5 {
				t.Errorf("got stats %+v, want 2000 taken and accepted, and 5 retries", got)
			}
		})
	}
}

func TestProducerGivesIDAndTime(t *testing.T) {
	server := newCluster(t, dropAfterAccepting)
	p := newProducer(t, client.Config{SenderConfig: quick(server.URL)})
	before := time.Now().UnixMilli()
	send(t, p, 3)
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(server.seen) != 3 {
		t.Fatalf("got ids %v, want 3", server.seen)
	}
	for id, times := range server.seen {
		e := server.events[id]
		if id == "" || times != 2 || e.Time < before || e.Time > time.Now().UnixMilli() {
			t.Errorf("got %+v sent %d times, want an id, a time, and both attempts under them", e, times)
		}
	}
}

func TestLingerSendsWithoutFlush(t *testing.T) {
	server := newCluster(t)
	p := newProducer(t, client.Config{SenderConfig: quick(server.URL), Linger: time.Millisecond})
	send(t, p, 1)
	eventually(t, func() bool { return server.distinct() == 1 })
}

func TestProducerReportsLosses(t *testing.T) {
	server := newCluster(t, refuse("too_old", false, 1))
	var losses []client.Loss
	p := newProducer(t, client.Config{SenderConfig: quick(server.URL), OnLoss: func(l client.Loss) { losses = append(losses, l) }})
	send(t, p, 3)
	if err := p.Flush(t.Context()); !errors.Is(err, client.ErrLost) {
		t.Errorf("got %v from Flush, want ErrLost", err)
	}
	if len(losses) != 1 || losses[0].Code != "too_old" || losses[0].Event.Key != "k1" || losses[0].Event.Value != 1 || !losses[0].Event.HasValue {
		t.Errorf("got losses %+v, want the second event, too old", losses)
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Errorf("got %v from the next Flush, want nil", err)
	}
}

func TestSendRefusesWhatCanNotBeTaken(t *testing.T) {
	server := newCluster(t)
	p := newProducer(t, client.Config{SenderConfig: quick(server.URL)})
	if err := p.Send(t.Context(), event.Event{Type: "view"}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("got %v for an event without a key, want ErrInvalid", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Send(t.Context(), event.Event{Type: "view", Key: "k"}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v after Close, want ErrClosed", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("got %v from a second Close", err)
	}
}

// TestMemoryIsBounded shows INV-9: a cluster that hangs fills the buffer, and then Send gives up instead of waiting for ever.
func TestMemoryIsBounded(t *testing.T) {
	release := make(chan struct{})
	hang := func(c *cluster, w http.ResponseWriter, events []sentEvent) {
		<-release
		accept(c, w, events)
	}
	server := newCluster(t, hang, hang)
	p := newProducer(t, client.Config{
		SenderConfig: quick(server.URL), InFlight: 1, BatchBytes: 4096, BufferBytes: 8192, MaxBlock: 10 * time.Millisecond,
	})
	e := event.Event{Type: "view", Key: strings.Repeat("k", 200)}
	taken := 0
	var err error
	for err == nil {
		if err = p.Send(t.Context(), e); err == nil {
			taken++
		}
	}
	if !errors.Is(err, client.ErrFull) || taken == 0 || taken > 8192/200 {
		t.Errorf("got %v after %d events, want ErrFull within 8192 bytes", err, taken)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Send(ended, e); !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrFull) {
		t.Errorf("got %v with an ended context", err)
	}
	close(release)
	if err := p.Flush(t.Context()); err != nil || server.distinct() != taken {
		t.Errorf("got %v and %d events, want all %d", err, server.distinct(), taken)
	}
	if err := p.Send(t.Context(), e); err != nil {
		t.Errorf("got %v once there is room again", err)
	}
}

func TestSendFailsAtOnceWhileNothingAnswers(t *testing.T) {
	server := newCluster(t)
	server.Close()
	cfg := client.Config{SenderConfig: quick(server.URL), BatchBytes: 4096, BufferBytes: 4096, MaxBlock: time.Hour}
	cfg.BreakerPause, cfg.BreakerFailures = time.Hour, 1
	p := newProducer(t, cfg)
	e := event.Event{Type: "view", Key: strings.Repeat("k", 200)}
	var err error
	eventually(t, func() bool {
		bounded, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err = p.Send(bounded, e)
		return errors.Is(err, client.ErrFull)
	})
	closing, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.Close(closing); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v from Close, want the deadline", err)
	}
	if got := p.Stats(); got.Lost != got.Taken {
		t.Errorf("got stats %+v, want everything reported lost", got)
	}
}

func TestNewRefusesBadSettings(t *testing.T) {
	sender := quick("http://h")
	for name, cfg := range map[string]client.Config{
		"batch events":  {SenderConfig: sender, BatchEvents: 10_001},
		"batch bytes":   {SenderConfig: sender, BatchBytes: 9 << 20},
		"buffer":        {SenderConfig: sender, BufferBytes: 10},
		"no request":    {SenderConfig: sender, InFlight: -1},
		"sender config": {},
	} {
		if _, err := client.New(cfg); !errors.Is(err, client.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}
