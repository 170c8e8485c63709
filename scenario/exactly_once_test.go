package scenario_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// flowWithin is how recent the last acknowledgement must be when something is killed.
const flowWithin = time.Second

// stream is producers at work on a cluster.
type stream struct {
	ledger *ledger
	cancel context.CancelFunc
	done   chan struct{}
	errs   []error
}

// startStream has several producers send until stop.
func startStream(t *testing.T, ingest string, seed uint64, producers int) *stream {
	t.Helper()
	return startStreamInto(t, newLedger(), ingest, seed, 0, producers)
}

// startStreamInto notes what is acknowledged in a ledger that may hold more. Producers are numbered from first on.
func startStreamInto(t *testing.T, l *ledger, ingest string, seed uint64, first, producers int) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{ledger: l, cancel: cancel, done: make(chan struct{}), errs: make([]error, producers)}
	var group sync.WaitGroup
	for i := range producers {
		p := newProducer(first+i, ingest, seed, s.ledger)
		group.Go(func() { s.errs[i] = p.run(ctx) })
	}
	go func() {
		group.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
	})
	return s
}

// stop ends the stream and waits until the outcome of everything is known.
func (s *stream) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	<-s.done
	for _, err := range s.errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// awaitFlow waits until events are acknowledged that were not when it was called.
func (s *stream) awaitFlow(t *testing.T) {
	t.Helper()
	before, _ := s.ledger.flow()
	testkit.Eventually(t, patience, func() error {
		for _, err := range s.errsSoFar() {
			t.Fatal(err)
		}
		if now, _ := s.ledger.flow(); now <= before {
			return fmt.Errorf("nothing was acknowledged beyond %d events", before)
		}
		return nil
	})
}

// errsSoFar are the errors of producers if all of them have ended.
func (s *stream) errsSoFar() []error {
	select {
	case <-s.done:
		return s.errs
	default:
		return nil
	}
}

// killInFlow kills a process at a random instant while events are being acknowledged, and waits until it is back.
func (r *rig) killInFlow(t *testing.T, s *stream, random *rand.Rand, name string) {
	t.Helper()
	instant := time.NewTimer(time.Duration(random.Int64N(int64(time.Second))))
	<-instant.C
	before := r.restarts(name)
	s.awaitFlow(t)
	accepted, last := s.ledger.flow()
	for time.Since(last) > flowWithin { // this process did not get to run for so long
		s.awaitFlow(t)
		accepted, last = s.ledger.flow()
	}
	begun := time.Now()
	if err := r.Process(name).Kill(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if r.restarts(name) == before {
			return fmt.Errorf("%s was not started again", name)
		}
		return nil
	})
	s.awaitFlow(t)
	now, _ := s.ledger.flow()
	t.Logf("%s killed after %d events; started again and events flow after %v (%d events)", name, accepted, time.Since(begun).Round(time.Millisecond), now)
}

// watchReads asks for a busy key all the time. No answer may hold more than was ever sent.
func watchReads(t *testing.T, reader string, l *ledger) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	answers := 0
	go func() {
		defer close(done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			count, ok := askCount(reader, "view", "key-00")
			if !ok {
				continue // somebody is down just now
			}
			answers++
			if most := l.mostOf("view", "key-00"); count > most {
				t.Errorf("an answer holds %d events of a key that %d were sent of (INV-1)", count, most)
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		if answers == 0 {
			t.Error("the reader never answered")
		}
	})
}

func askCount(reader, eventType, key string) (int64, bool) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get(reader + "/v1/stats?" + url.Values{"type": {eventType}, "key": {key}}.Encode())
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	var count struct {
		Value int64 `json:"value"`
	}
	if answer.StatusCode != http.StatusOK || json.NewDecoder(answer.Body).Decode(&count) != nil {
		return 0, false
	}
	return count.Value, true
}

// TestExactlyOnceThroughKills sends a known stream (duplicates, late and disordered events, retries, negative weights, events without
// ids) and kills every role and a primary with kill -9 while it flows. INV-1, INV-2, INV-4.
func TestExactlyOnceThroughKills(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	random := rand.New(rand.NewPCG(seed, 1<<32))
	r := newRig(t, func(c *local.ClusterConfig) { c.Writers = 2 })
	r.supervise(t)
	s := startStream(t, r.url("ingest"), seed, 4)
	watchReads(t, r.url("reader"), s.ledger)
	for range killsOfEach {
		victims := killPlan(random)
		for _, name := range victims {
			r.killInFlow(t, s, random, name)
		}
	}
	s.stop(t)
	s.ledger.verify(t, r.Description())
	provesItself(t, r, s.ledger)
}

// provesItself makes one count wrong by one, which the comparison must find.
func provesItself(t *testing.T, r *rig, l *ledger) {
	t.Helper()
	if _, err := r.Database("s1-a").Root().ExecContext(t.Context(), "UPDATE quipu.minute_counts SET event_count = event_count + 1 LIMIT 1"); err != nil {
		t.Fatal(err)
	}
	if different := differences(l.cells, readPrimaries(t, r.Description())); len(different) != 1 {
		t.Errorf("one count was made wrong and the comparison finds %v", different)
	}
}

// killPlan is each role once, and a primary, in random order.
func killPlan(random *rand.Rand) []string {
	either := func(a, b string) string { return []string{a, b}[random.IntN(2)] }
	plan := []string{
		"ingest", either("writer", "writer-2"), "cluster-proxy", either("shard-proxy-s1", "shard-proxy-s2"), "reader", either("s1-a", "s2-a"),
	}
	if soak {
		plan = append(plan, either("s1-b", "s2-b"), "zookeeper")
	}
	random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}
