package scenario_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// TestLostPrimaryIsReplaced loses a primary while its replica lags behind it, and does nothing about it: the cluster makes the replica the primary while
// events flow, the log is replayed from its older checkpoints, and nothing is lost or counted twice (INV-1, INV-4). The old primary, which is ahead, is
// not used when it comes back, until it was rebuilt.
func TestLostPrimaryIsReplaced(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) {
		c.Shards, c.Replicas = 1, 1
		c.Settings = append(c.Settings, automatic)
	})
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	reads := watchAnswers(t, d.URLs["reader"], s.ledger)
	r.root(t, "s1-b", "STOP SLAVE SQL_THREAD")
	hold := time.NewTimer(heldBack)
	for begun := time.Now(); time.Since(begun) < heldBack; { // so much is counted that the replica will not have
		s.awaitFlow(t)
		awaitCounted(t, d.URLs["reader"])
	}
	<-hold.C
	primary, behind := r.offsets(t, "s1-a"), r.offsets(t, "s1-b")
	if behind >= primary {
		t.Fatalf("the replica is at %d batches, the primary at %d: it does not lag", behind, primary)
	}
	killed := time.Now()
	must(t, r.Process("s1-a").Kill())
	testkit.Eventually(t, patience, func() error {
		if now := r.offsets(t, "s1-b"); now <= behind {
			return fmt.Errorf("nothing was counted on s1-b beyond batch %d", behind)
		}
		return nil
	})
	t.Logf("counting went on %.1f s after kill -9 of the primary, %d batches behind it", time.Since(killed).Seconds(), primary-behind)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])

	// The old one comes back with what nobody else has.
	must(t, r.StartAgain(t.Context(), "s1-a"))
	r.awaitPlace(t, "s1-a", "diverged")
	s.awaitFlow(t)
	t.Logf("%s", r.quipu(t, "replica", "rebuild", "--shard", "s1", "--database", "s1-a"))
	r.awaitPlace(t, "s1-a", "replica")
	s.awaitFlow(t)
	s.stop(t)
	reads.report(t, 0)
	s.ledger.verify(t, r.Description())
	testkit.Eventually(t, patience, func() error {
		if a, b := r.offsets(t, "s1-a"), r.offsets(t, "s1-b"); a != b {
			return fmt.Errorf("the rebuilt replica is at %d batches, the primary at %d", a, b)
		}
		return nil
	})
	for _, database := range []string{"s1-a", "s1-b"} {
		cells := map[cell]*total{}
		readCells(t, open(t, d, database, local.AccountRead, local.SchemaCounts), cells)
		compare(t, database, s.ledger.cells, cells)
	}
}

// TestPlannedChangeAndBack changes primaries on purpose while events flow: nothing is replayed, and both databases go on.
func TestPlannedChangeAndBack(t *testing.T) {
	t.Parallel()
	seed := drawSeed(t)
	r := newRig(t, func(c *local.ClusterConfig) { c.Shards, c.Replicas = 2, 1 })
	d := r.Description()
	s := startStream(t, d.URLs["ingest"], seed, 2)
	s.awaitFlow(t)
	awaitCounted(t, d.URLs["reader"])
	reads := watchAnswers(t, d.URLs["reader"], s.ledger)
	for _, to := range []string{"s1-b", "s2-b", "s1-a"} {
		t.Logf("%s", r.quipu(t, "failover", "run", "--shard", to[:2], "--planned", "--to", to))
		r.awaitPlace(t, to, "primary")
		r.awaitPlace(t, map[string]string{"s1-a": "s1-b", "s1-b": "s1-a", "s2-b": "s2-a"}[to], "replica")
		s.awaitFlow(t)
		awaitCounted(t, d.URLs["reader"])
	}
	t.Logf("%s", r.quipu(t, "failover", "status"))
	s.stop(t)
	reads.report(t, 0)
	s.ledger.verify(t, r.Description())

	// The next start finds the roles as they are now.
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	must(t, r.Stop(ctx))
	must(t, r.Start(ctx))
	r.awaitPlace(t, "s2-b", "primary")
	r.awaitPlace(t, "s2-a", "replica")
	again := startStream(t, d.URLs["ingest"], seed+1, 1)
	again.awaitFlow(t)
	again.stop(t)
	awaitCounted(t, r.Description().URLs["reader"])
}

func (r *rig) root(t *testing.T, database string, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := r.Database(database).Root().ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %s: %v", database, statement, err)
		}
	}
}

// offsets is how many batches a database has counted.
func (r *rig) offsets(t *testing.T, database string) (sum int) {
	t.Helper()
	must(t, r.Database(database).Root().QueryRowContext(t.Context(), "SELECT SUM(next_offset) FROM quipu.checkpoints").Scan(&sum))
	return sum
}

// awaitPlace waits until a database is "primary", "replica", "detached" or "diverged".
func (r *rig) awaitPlace(t *testing.T, database, place string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if is := r.placeOf(t, database); is != place {
			return fmt.Errorf("%s is %s, want %s", database, is, place)
		}
		return nil
	})
}

func (r *rig) placeOf(t *testing.T, database string) string {
	t.Helper()
	var found struct {
		Topology struct {
			Shards []struct {
				Databases []struct{ ID, Role, State string }
			}
		}
	}
	must(t, json.Unmarshal(r.quipu(t, "cluster", "show", "--json"), &found))
	for _, shard := range found.Topology.Shards {
		for _, d := range shard.Databases {
			if d.ID == database {
				return cmp.Or(d.State, d.Role)
			}
		}
	}
	t.Fatalf("the topology has no database %s", database)
	return ""
}

// answers counts the questions of somebody who asks all the time.
type answers struct {
	asked, answered, longest atomic.Int64
	stop                     func() // and waits
}

// watchAnswers is watchReads that also counts how many questions were answered.
func watchAnswers(t *testing.T, reader string, l *ledger) *answers {
	t.Helper()
	a := &answers{}
	stop, done := make(chan struct{}), make(chan struct{})
	a.stop = sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	go func() {
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			a.asked.Add(1)
			count, err := askOnce(reader, "view", "key-00")
			if err != nil {
				t.Logf("%s: a question was not answered: %v", time.Now().Format("15:04:05.000"), err)
				continue
			}
			a.answered.Add(1)
			if gap := time.Since(last); gap > time.Second {
				t.Logf("%s: no answer for %v", time.Now().Format("15:04:05.000"), gap.Round(time.Millisecond))
			}
			a.longest.Store(max(a.longest.Load(), int64(time.Since(last))))
			last = time.Now()
			if most := l.mostOf("view", "key-00"); count > most {
				t.Errorf("an answer holds %d events of a key that %d were sent of (INV-1)", count, most)
				return
			}
		}
	}()
	t.Cleanup(a.stop)
	return a
}

func askOnce(reader, eventType, key string) (int64, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get(reader + "/v1/stats?" + url.Values{"type": {eventType}, "key": {key}}.Encode())
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	if err != nil {
		return 0, err
	}
	var count struct {
		Value int64 `json:"value"`
	}
	return count.Value, json.Unmarshal(text, &count)
}

// report ends the questions and tells how they were answered: all but one in a thousand, and those that were being asked when something froze.
func (a *answers) report(t *testing.T, frozen int64) {
	t.Helper()
	a.stop()
	asked, answered := a.asked.Load(), a.answered.Load()
	t.Logf("%d of %d questions answered, longest gap %v", answered, asked, time.Duration(a.longest.Load()).Round(time.Millisecond))
	if missed := asked - answered; answered == 0 || missed > max(1, asked/1000)+frozen {
		t.Errorf("%d of %d questions were answered", answered, asked)
	}
}
