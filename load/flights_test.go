package load_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
	"github.com/quipudb/quipu/load/flights"
	"github.com/quipudb/quipu/wire"
)

// registry stands for what ZooKeeper and the proxies keep.
type registry struct {
	mu    sync.Mutex
	marks map[string][]byte
	types []string
	keys  map[string]string
	after func(name string) // called after each new mark
}

func newRegistry() *registry {
	return &registry{marks: map[string][]byte{}, keys: map[string]string{}, after: func(string) {}}
}

func (r *registry) Mark(_ context.Context, name string, data []byte) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, already := r.marks[name]; already {
		return true, nil
	}
	r.marks[name] = data
	r.after(name)
	return false, nil
}

func (r *registry) Marked(_ context.Context, name string) ([]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.marks[name]
	return data, ok, nil
}

func (r *registry) CreateEventType(_ context.Context, t event.Type) (bool, error) {
	r.types = append(r.types, t.Name)
	return true, nil
}

func (r *registry) ImportKeys(_ context.Context, in *wire.KeysImport) (*wire.KeysImported, error) {
	for _, k := range in.Keys {
		r.keys[k.Type+"/"+k.Key] = *k.Title + "/" + *k.Owner
	}
	return &wire.KeysImported{Created: len(in.Keys)}, nil
}

func flightsConfig(t *testing.T, c *cluster, r *registry) load.FlightsConfig {
	t.Helper()
	return load.FlightsConfig{
		Run: load.Config{Sender: c.sender(), Connections: 4}, Marks: r, Types: r, Keys: r, Verifier: newVerifier(t, c),
	}
}

func TestFlightsAreLoadedOnce(t *testing.T) {
	c, r := newCluster(t), newRegistry()
	cfg := flightsConfig(t, c, r)
	var said []string
	cfg.Say = func(line string) { said = append(said, line) }
	got, err := load.Flights(t.Context(), cfg)
	if err != nil || got.Already || got.Summary.Accepted != 2*flights.SampleRows || got.Verification.Events != 2*flights.SampleRows {
		t.Fatalf("got %+v, %v; want the sample loaded and verified", got, err)
	}
	_, last := flights.Span()
	if want := int(flights.Shift(last, time.Now()) / (7 * 24 * time.Hour)); got.Weeks != want {
		t.Errorf("got a shift of %d weeks, want %d", got.Weeks, want)
	}
	if !strings.Contains(strings.Join(said, "\n"), fmt.Sprintf("moved by %d weeks", got.Weeks)) {
		t.Errorf("it said %q, want it to say by how many weeks the flights were moved", said)
	}
	if diff := cmp.Diff([]string{"departure", "route"}, r.types); diff != "" || r.keys["departure/LAS"] != "McCarran International/NV" {
		t.Errorf("got types %v and the key %q", r.types, r.keys["departure/LAS"])
	}
	requests := c.requests
	later := cfg
	later.Now = func() time.Time { return time.Now().Add(100 * 24 * time.Hour) }
	later.Verifier = nil
	again, err := load.Flights(t.Context(), later)
	if err != nil || !again.Already || c.requests != requests || again.Weeks != got.Weeks {
		t.Errorf("got %+v, %v after %d more requests; want nothing to be sent, and the same shift", again, err, c.requests-requests)
	}
	if got, err := load.Flights(t.Context(), cfg); err != nil || got.Verification.Events != 2*flights.SampleRows {
		t.Errorf("got %+v, %v; want what was loaded before to be verified", got, err)
	}
}

// cutOff stops a load when the mark of its third stint is made.
func cutOff(t *testing.T, cfg load.FlightsConfig, r *registry) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.after = func(name string) {
		if name == fmt.Sprintf("flights-rows-%d", flights.SampleFirstRow+2*5000) {
			time.AfterFunc(5*time.Millisecond, cancel)
		}
	}
	_, err := load.Flights(ctx, cfg)
	r.after = func(string) {}
	return err
}

func TestFlightsGoOnWhereTheyStopped(t *testing.T) {
	c, r := newCluster(t), newRegistry()
	cfg := flightsConfig(t, c, r)
	if err := cutOff(t, cfg, r); !errors.Is(err, load.ErrIncomplete) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want it to be incomplete", err)
	}
	cfg.Now = func() time.Time { return time.Now().Add(24 * time.Hour) } // far beyond the window
	got, err := load.Flights(t.Context(), cfg)
	if err != nil || got.LeftOut != 0 || len(c.events) != 2*flights.SampleRows {
		t.Errorf("got %+v, %v, and %d events sent; want each sent once", got, err, len(c.events))
	}
}

// killOff leaves behind what a load that is killed in its third stint does: nothing says how far it got.
func killOff(t *testing.T, c *cluster, cfg load.FlightsConfig, r *registry) {
	t.Helper()
	c.set(func() {
		c.fault = func(n int) string { return map[bool]string{true: "refuse for good"}[n > 23] }
	})
	if _, err := load.Flights(t.Context(), cfg); !errors.Is(err, load.ErrIncomplete) {
		t.Fatalf("got %v, want it to be incomplete", err)
	}
	c.set(func() { c.fault = func(int) string { return "" } })
	for name := range r.marks {
		if strings.HasPrefix(name, "flights-reached-") {
			t.Fatalf("got the mark %s of a stint that has losses", name)
		}
	}
}

func TestFlightsRepeatWhatWasCutOffJustNow(t *testing.T) {
	c, r := newCluster(t), newRegistry()
	cfg := flightsConfig(t, c, r)
	killOff(t, c, cfg, r)
	got, err := load.Flights(t.Context(), cfg)
	if err != nil || got.LeftOut != 0 || got.Verification.Events != 2*flights.SampleRows {
		t.Errorf("got %+v, %v; want every flight counted once (INV-1)", got, err)
	}
}

func TestFlightsLeaveOutWhatWasCutOffLongAgo(t *testing.T) {
	c, r := newCluster(t), newRegistry()
	cfg := flightsConfig(t, c, r)
	killOff(t, c, cfg, r)
	cfg.Now = func() time.Time { return time.Now().Add(9 * time.Minute) }
	for range 2 { // the second one has nothing to send, and still knows
		got, err := load.Flights(t.Context(), cfg)
		if !errors.Is(err, load.ErrUnsure) || got.LeftOut != 5000 || got.Verification.Different != 0 || got.Verification.Unknown != 2*5000 {
			t.Errorf("got %+v, %v; want one stint left out and unknown", got, err)
		}
	}
	if want := int64(2*flights.SampleRows - 2*5000); c.total() < want || c.total() > want+2*5000 {
		t.Errorf("got %d events counted, want at least %d", c.total(), want)
	}
}

func TestFlightsFileIsChecked(t *testing.T) {
	c, r := newCluster(t), newRegistry()
	cfg := flightsConfig(t, c, r)
	cfg.All, cfg.File = true, write(t, "flights.parquet", "PAR1")
	if _, err := load.Flights(t.Context(), cfg); !errors.Is(err, flights.ErrChecksum) || len(r.marks) > 0 || c.requests > 0 {
		t.Errorf("got %v, want ErrChecksum and nothing done", err)
	}
}
