package load_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/load"
)

func newGenerator(t *testing.T, cfg load.GeneratorConfig) *load.Generator {
	t.Helper()
	if cfg.Run == "" {
		cfg.Run = "test"
	}
	g, err := load.NewGenerator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func newVerifier(t *testing.T, c *cluster, change ...func(*load.VerifierConfig)) *load.Verifier {
	t.Helper()
	cfg := load.VerifierConfig{URLs: []string{c.URL}, CatchUp: 10 * time.Second}
	for _, f := range change {
		f(&cfg)
	}
	v, err := load.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func verify(t *testing.T, c *cluster, source load.Ledger, summary load.Summary) (load.Verification, error) {
	t.Helper()
	expected, err := source.Expected()
	if err != nil {
		t.Fatal(err)
	}
	return newVerifier(t, c).Verify(t.Context(), expected, summary.LastAck)
}

// TestEveryFaultIsVerified shows INV-1 from the producer's side: whatever happens on the way, what was acknowledged is what was counted.
func TestEveryFaultIsVerified(t *testing.T) {
	for name, fault := range map[string]func(int) string{
		"none":            func(int) string { return "" },
		"drop":            func(n int) string { return map[bool]string{true: "drop"}[n%3 == 0] },
		"drop after":      func(n int) string { return map[bool]string{true: "drop after"}[n%3 == 1] },
		"reject":          func(n int) string { return map[bool]string{true: "reject"}[n%4 == 1] },
		"refuse 429":      func(n int) string { return map[bool]string{true: "refuse 429"}[n%2 == 1] },
		"refuse for good": func(n int) string { return map[bool]string{true: "refuse for good"}[n%2 == 1] },
	} {
		for source, cfg := range map[string]load.GeneratorConfig{
			"batches":     {Keys: 50, Exponent: 1.1, Batch: 20, Count: 1990, Duplicates: 0.1, MaxValue: 1000, Seed: 7},
			"singles":     {Keys: 5, Exponent: 1.1, Batch: 1, Count: 300, Duplicates: 0.3, Seed: 8, WithTime: true},
			"without ids": {Keys: 50, Batch: 20, Count: 1000, MaxValue: 9, WithoutIDs: true},
		} {
			if source == "without ids" && (name == "reject" || name == "refuse for good") {
				continue // this cluster does not derive ids from places
			}
			t.Run(source+" "+name, func(t *testing.T) {
				c := newCluster(t)
				c.set(func() { c.fault = fault })
				g := newGenerator(t, cfg)
				summary, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Connections: 4}, g)
				if err != nil {
					t.Fatal(err)
				}
				result, err := verify(t, c, g, summary)
				if err != nil || result.Events != c.total() || result.Unknown != 0 {
					t.Errorf("got %+v, %v; want %d events verified", result, err, c.total())
				}
				if want := int64(cfg.Count); summary.Posted != want || summary.Accepted+summary.Lost != want {
					t.Errorf("got summary %+v, want %d events", summary, want)
				}
				if distinct, err := g.Distinct(); err != nil || distinct != c.total() {
					t.Errorf("got %d distinct events, %v; want %d", distinct, err, c.total())
				}
			})
		}
	}
}

func TestStreamDependsOnItsSeedAlone(t *testing.T) {
	streamOf := func(seed uint64, connections int) map[string]int {
		c := newCluster(t)
		g := newGenerator(t, load.GeneratorConfig{Keys: 100, Exponent: 1.1, Batch: 10, Count: 500, Duplicates: 0.05, MaxValue: 5, Seed: seed})
		if _, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Connections: connections}, g); err != nil {
			t.Fatal(err)
		}
		stream := map[string]int{}
		for _, e := range c.events {
			stream[e.Key+"/"+e.ID]++
		}
		return stream
	}
	first := streamOf(1, 1)
	if diff := cmp.Diff(first, streamOf(1, 8)); diff != "" {
		t.Errorf("streams of one seed differ (-1 connection +8):\n%s", diff)
	}
	if cmp.Equal(first, streamOf(2, 1)) {
		t.Error("streams of two seeds are the same")
	}
	if len(first) == 500 || len(first) < 400 {
		t.Errorf("got %d different events of 500, want some 5%% of duplicates", len(first))
	}
}

func TestVerifyNoticesWhatIsCountedWrongly(t *testing.T) {
	c := newCluster(t)
	g := newGenerator(t, load.GeneratorConfig{Keys: 2000, Batch: 100, Count: 20_000, Prefix: "p"})
	summary, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, g)
	if err != nil {
		t.Fatal(err)
	}
	c.set(func() { c.tamper["p3"], c.tamper["p1999"] = 1, -1 })
	result, err := verify(t, c, g, summary)
	if !errors.Is(err, load.ErrDifferent) || result.Different != 2 || result.Keys != 2000 {
		t.Fatalf("got %+v, %v; want two keys that differ", result, err)
	}
	var text strings.Builder
	result.Print(&text)
	if !strings.Contains(text.String(), `view "p3": counted `) || !strings.Contains(text.String(), "2 keys differ") {
		t.Errorf("got %s, want the keys that differ", text.String())
	}
}

func TestVerifySaysWhatItCanNotKnow(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.fault = func(n int) string { return map[bool]string{true: "drop after"}[n >= 5] } })
	sender := c.sender()
	sender.DeliveryTimeout = 100 * time.Millisecond
	g := newGenerator(t, load.GeneratorConfig{Keys: 10, Batch: 10, Count: 100})
	summary, err := load.Run(t.Context(), load.Config{Sender: sender, Connections: 1}, g)
	if err != nil || summary.Accepted != 40 || summary.Uncertain != 60 {
		t.Fatalf("got %+v, %v; want 40 events acknowledged and 60 unknown", summary, err)
	}
	if result, err := verify(t, c, g, summary); !errors.Is(err, load.ErrUnsure) || result.Unknown != 60 || result.Different != 0 {
		t.Errorf("got %+v, %v; want 60 unknown events and no difference", result, err)
	}
}

func TestVerifyWaitsForCountsToCatchUp(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.lag, c.failAsks = 200*time.Millisecond, 2 })
	g := newGenerator(t, load.GeneratorConfig{Keys: 10, Count: 1000})
	summary, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, g)
	if err != nil {
		t.Fatal(err)
	}
	result, err := verify(t, c, g, summary)
	if err != nil || result.CaughtUp.Sub(summary.LastAck) < c.lag {
		t.Errorf("got %v, caught up after %v; want not before %v", err, result.CaughtUp.Sub(summary.LastAck), c.lag)
	}
	c.set(func() { c.lag = time.Hour })
	expected, _ := g.Expected()
	late := newVerifier(t, c, func(cfg *load.VerifierConfig) { cfg.CatchUp = 50 * time.Millisecond })
	if _, err := late.Verify(t.Context(), expected, summary.LastAck); !errors.Is(err, load.ErrNotReached) {
		t.Errorf("got %v, want ErrNotReached", err)
	}
}

func TestBaselineLeavesOutWhatWasThere(t *testing.T) {
	c := newCluster(t)
	for run, seed := range map[string]uint64{"a": 1, "b": 2} {
		g := newGenerator(t, load.GeneratorConfig{Keys: 700, Exponent: 1, Count: 5000, Prefix: "same", Run: run, Seed: seed, MaxValue: 5})
		v := newVerifier(t, c)
		if err := v.Baseline(t.Context(), g.Keys(), time.Now()); err != nil {
			t.Fatal(err)
		}
		summary, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, g)
		if err != nil {
			t.Fatal(err)
		}
		expected, _ := g.Expected()
		if _, err := v.Verify(t.Context(), expected, summary.LastAck); err != nil {
			t.Error(err)
		}
	}
}

// TestReplayKnowsWhatItsKeysHadBefore replays the same events twice, in small batches: the second time they count on top of the first.
func TestReplayKnowsWhatItsKeysHadBefore(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.counts["view/k3"] = &event.Aggregate{Count: 7} })
	for run, tampered := range map[string]bool{"a": false, "b": false, "c": true} {
		v, begin, met := newVerifier(t, c), time.Now(), map[string]int{}
		source, err := load.NewReplay(load.ReplayConfig{Run: run, Batch: 3, Tally: true, Before: func(keys iter.Seq2[string, string]) error {
			for eventType, key := range keys {
				met[eventType+"/"+key]++
			}
			return v.Baseline(t.Context(), keys, begin)
		}}, func(yield func(event.Event, error) bool) {
			for i := range 100 {
				if !yield(event.Event{Type: "view", Key: fmt.Sprintf("k%d", i%10), Value: 2, HasValue: true}, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		summary, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, source)
		source.Close()
		if err != nil || summary.Accepted != 100 {
			t.Fatalf("got %+v, %v, want all accepted", summary, err)
		}
		if len(met) != 10 || met["view/k3"] != 1 {
			t.Errorf("got %v, want each key told once", met)
		}
		if tampered {
			c.set(func() { c.tamper["k3"] = 1 })
		}
		expected, _ := source.Expected()
		result, err := v.Verify(t.Context(), expected, summary.LastAck)
		if (err != nil) != tampered || result.Keys != 10 {
			t.Errorf("got %+v, %v, want a difference: %t", result, err, tampered)
		}
		c.set(func() { c.tamper["k3"] = 0 })
	}
}

func TestReplayEndsWhenNobodyKnowsWhatWasThere(t *testing.T) {
	source, err := load.NewReplay(load.ReplayConfig{Run: "r", Before: func(iter.Seq2[string, string]) error { return io.ErrUnexpectedEOF }},
		func(yield func(event.Event, error) bool) { yield(event.Event{Type: "view", Key: "k"}, nil) })
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	summary, err := load.Run(t.Context(), load.Config{Sender: newCluster(t).sender()}, source)
	if !errors.Is(err, io.ErrUnexpectedEOF) || summary.Requests != 0 {
		t.Errorf("got %+v, %v, want nothing sent and the error", summary, err)
	}
	var text bytes.Buffer
	summary.Print(&text)
	if text.String() != "nothing was sent\n" {
		t.Errorf("got %q of a run that sent nothing", text.String())
	}
}

func TestDifferencesTellWhatWasThereBefore(t *testing.T) {
	d := load.Difference{Type: "view", Key: "k", Count: 3, WantCount: 4, Before: 2}
	if got, want := d.String(), `view "k": counted 3, acknowledged 4; 2 of each from before`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestProgressTellsWhyNothingIsAcknowledged: who looks at a run that does not get on learns why.
func TestProgressTellsWhyNothingIsAcknowledged(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.fault = func(int) string { return "refuse 429" } })
	g := newGenerator(t, load.GeneratorConfig{Keys: 10, Count: 100})
	var told []string
	summary, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Progress: func(p load.Progress) {
		told = append(told, p.String())
		c.set(func() { c.fault = func(int) string { return "" } })
	}}, g)
	if err != nil || summary.Accepted != 100 {
		t.Fatalf("got %+v, %v, want all accepted in the end", summary, err)
	}
	if !strings.HasSuffix(told[0], "trying again: "+c.URL+" answers 429 Too Many Requests") || strings.Contains(told[0], "latency") {
		t.Errorf("got %q, want it to say why", told[0])
	}
}

func TestSummaryTellsReasonsByCode(t *testing.T) {
	s := load.Summary{Totals: load.Totals{Requests: 1, Lost: 9}, Reasons: map[string]load.Reason{
		"too_old": {Events: 2, Example: "time is …"}, "unknown_type": {Events: 7, Example: "type \"x\""},
	}}
	var text bytes.Buffer
	s.Print(&text)
	if want := "         7  unknown_type: type \"x\"\n         2  too_old: time is …\n"; !strings.HasSuffix(text.String(), want) {
		t.Errorf("got %q, want it to end in %q", text.String(), want)
	}
}

func TestRunKeepsItsRate(t *testing.T) {
	c := newCluster(t)
	g := newGenerator(t, load.GeneratorConfig{Keys: 10, Batch: 10, Count: 200})
	summary, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Rate: 1000}, g)
	// The twentieth batch is due 190 ms after the first. A busy machine may take longer.
	if err != nil || summary.Elapsed < 190*time.Millisecond {
		t.Errorf("got %v after %v, want not before 190ms", err, summary.Elapsed)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	c := newCluster(t)
	g := newGenerator(t, load.GeneratorConfig{Keys: 10})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	var told []string
	summary, err := load.Run(ctx, load.Config{Sender: c.sender(), Progress: func(p load.Progress) {
		told = append(told, p.String())
		once.Do(cancel)
	}}, g)
	if err != nil || summary.Accepted == 0 || summary.Lost != 0 {
		t.Errorf("got %+v, %v; want what was under way acknowledged", summary, err)
	}
	if len(told) == 0 || !strings.Contains(told[0], "events/s") {
		t.Errorf("got progress %q, want a line", told)
	}
	if _, err := verify(t, c, g, summary); err != nil {
		t.Error(err)
	}
	if summary, err := load.Run(t.Context(), load.Config{Sender: c.sender(), Duration: 50 * time.Millisecond}, g); err != nil || summary.Accepted == 0 {
		t.Errorf("got %+v, %v; want an end after the duration", summary, err)
	}
}

func TestRunGivesUpAfterItsGrace(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.fault = func(int) string { return "refuse 429" } })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	g := newGenerator(t, load.GeneratorConfig{Keys: 10, Count: 5000})
	summary, err := load.Run(ctx, load.Config{Sender: c.sender(), Grace: 20 * time.Millisecond, Connections: 2}, g)
	if err != nil || summary.Accepted != 0 || summary.Lost != 2000 {
		t.Errorf("got %+v, %v; want both requests lost", summary, err)
	}
	var text bytes.Buffer
	summary.Print(&text)
	if !strings.Contains(text.String(), "2000 events not acknowledged") {
		t.Errorf("got %s, want it to tell the losses", text.String())
	}
}

type failing struct{ load.Source }

func (failing) Batch() int                         { return 1 }
func (failing) Fill(*load.Parcel) error            { return io.ErrUnexpectedEOF }
func (failing) Settle(*load.Parcel, client.Report) {}

func TestRunReportsErrors(t *testing.T) {
	c := newCluster(t)
	if _, err := load.Run(t.Context(), load.Config{Sender: c.sender()}, failing{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the source's error", err)
	}
	for name, cfg := range map[string]load.Config{
		"no address":  {},
		"connections": {Sender: c.sender(), Connections: -1},
		"rate":        {Sender: c.sender(), Rate: -1},
		"duration":    {Sender: c.sender(), Duration: -1},
	} {
		if _, err := load.Run(t.Context(), cfg, failing{}); !errors.Is(err, load.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}

func TestNewGeneratorRefusesBadSettings(t *testing.T) {
	for name, cfg := range map[string]load.GeneratorConfig{
		"type":        {Run: "r", Type: "View"},
		"no run":      {},
		"long run":    {Run: strings.Repeat("r", 65)},
		"long keys":   {Run: "r", Prefix: strings.Repeat("k", 250)},
		"batch":       {Run: "r", Batch: 10_001},
		"keys":        {Run: "r", Keys: -1},
		"exponent":    {Run: "r", Exponent: -1},
		"duplicates":  {Run: "r", Duplicates: 0.6},
		"values":      {Run: "r", MaxValue: -1},
		"ids, though": {Run: "r", Duplicates: 0.1, WithoutIDs: true},
	} {
		if _, err := load.NewGenerator(cfg); !errors.Is(err, load.ErrConfig) {
			t.Errorf("%s: got %v, want ErrConfig", name, err)
		}
	}
}
