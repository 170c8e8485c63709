package failover_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/failover"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// TestLaggingReplicaIsPromoted: a lost primary is replaced by a replica that lags; its checkpoint and its counts agree, so that the log brings back
// what it lacks (INV-4). The old primary, which is ahead, is found out and not used.
func TestLaggingReplicaIsPromoted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	k := r.keeper()
	r.must(r.count("s1-a", 20))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
	r.exec("s1-b", "STOP SLAVE SQL_THREAD")
	r.must(r.count("s1-a", 60))
	r.must(r.servers["s1-a"].Kill())

	plan, err := k.Change(t.Context(), "s1", failover.Request{Reason: "test"})
	r.must(err)
	if plan.To != "s1-b" || plan.Term != 2 || plan.Candidates[0].Behind != 980+999 {
		t.Errorf("the plan was %+v", plan)
	}
	r.must(r.places(map[string]string{"s1-a": "detached", "s1-b": "primary"}))
	if got := r.offset("s1-b"); got != 20 {
		t.Errorf("the new primary is at %d, want 20", got)
	}
	r.must(r.count("s1-b", 80)) // what the writers replay

	r.must(r.servers["s1-a"].Start(t.Context()))
	if err := r.count("s1-a", 61); !errors.Is(err, mysql.ErrUnavailable) {
		t.Errorf("the old primary came back and took a write: %v", err)
	}
	r.tendUntil(k, map[string]string{"s1-a": "diverged", "s1-b": "primary"})
	var configured int
	if err := r.root("s1-a", "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE command LIKE 'Slave%'", &configured); err != nil || configured != 0 {
		t.Errorf("the diverged server replicates: %d threads, %v", configured, err)
	}

	// Rebuilt, it follows, and may become the primary again, of whom the other one is a true replica.
	rebuild := failover.RebuildRequest{
		Shard: "s1", Database: "s1-a", Schemas: []string{"quipu", "analytics"}, Progress: func(string, int64, bool) {},
		Account: failover.Account{User: string(local.AccountRebuild), Password: r.servers["s1-a"].Passwords[local.AccountRebuild]},
	}
	if _, err := k.Rebuild(t.Context(), failover.RebuildRequest{Shard: "s1", Database: "s1-b"}); err == nil {
		t.Error("the primary was rebuilt")
	}
	from, err := k.Rebuild(t.Context(), rebuild)
	if err != nil || from != "s1-b" {
		t.Fatalf("rebuilt from %s, %v; want it from s1-b", from, err)
	}
	r.must(r.places(map[string]string{"s1-a": "replica", "s1-b": "primary"}))
	r.must(r.count("s1-b", 90))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-b", "s1-a") })
	for _, table := range r.tables() {
		var a, b string
		r.must(r.checksum("s1-a", table, &a))
		r.must(r.checksum("s1-b", table, &b))
		if a != b {
			t.Errorf("the table %s differs: checksums %s and %s", table, a, b)
		}
	}
	_, err = k.Change(t.Context(), "s1", failover.Request{Planned: true})
	r.must(err)
	r.must(r.count("s1-a", 100))
	r.tendUntil(k, map[string]string{"s1-a": "primary", "s1-b": "replica"})
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
}

// TestOldPrimaryRejoins: one that holds nothing that the new one lacks becomes its replica, and so does the third server.
func TestOldPrimaryRejoins(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	k := r.keeper()
	r.must(r.count("s1-a", 30))
	for _, replica := range []string{"s1-b", "s1-c"} {
		testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", replica) })
	}
	r.must(r.servers["s1-a"].Kill())
	_, err := k.Change(t.Context(), "s1", failover.Request{To: "s1-c", Reason: "test"})
	r.must(err)
	r.tendUntil(k, map[string]string{"s1-a": "detached", "s1-b": "replica", "s1-c": "primary"})
	r.must(r.count("s1-c", 50))
	r.must(r.servers["s1-a"].Start(t.Context()))
	r.tendUntil(k, map[string]string{"s1-a": "replica", "s1-b": "replica", "s1-c": "primary"})
	r.must(r.count("s1-c", 60))
	for _, replica := range []string{"s1-a", "s1-b"} {
		testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-c", replica) })
		if !r.readOnly(replica) {
			t.Errorf("the replica %s accepts writes", replica)
		}
	}

	// And back again, planned: nothing is left for the log to bring back.
	plan, err := k.Change(t.Context(), "s1", failover.Request{Planned: true, To: "s1-a", Reason: "test"})
	r.must(err)
	if got := r.offset("s1-a"); got != 60 || plan.Term != 3 {
		t.Errorf("after a planned change to s1-a it is at %d in term %d, want 60 in 3", got, plan.Term)
	}
	r.must(r.count("s1-a", 70))
	r.tendUntil(k, map[string]string{"s1-a": "primary", "s1-b": "replica", "s1-c": "replica"})
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-c") })
}

// TestKilledAfterEachStep: whoever takes the shard in hand next goes on, wherever the one before was killed; and one that was not
// killed but only slow changes nothing any more.
func TestKilledAfterEachStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	primary, replica := "s1-a", "s1-b"
	until := uint64(10)
	for _, step := range []cluster.FailoverStep{
		cluster.StepIntended, cluster.StepFenced, cluster.StepCaughtUp, cluster.StepStopped, cluster.StepPromoted, cluster.StepSwitched,
	} {
		r.must(r.count(primary, until))
		ctx, kill := context.WithCancelCause(t.Context())
		first := r.keeper(func(c *failover.Config) {
			c.Progress = func(_, done string) {
				if done == string(step) {
					kill(errors.New("killed"))
				}
			}
		})
		_, err := first.Change(ctx, "s1", failover.Request{Planned: true, Reason: string(step)})
		if err == nil && step != cluster.StepSwitched {
			t.Fatalf("killed after %s, but it went on", step)
		}
		second := r.keeper()
		r.tendUntil(second, map[string]string{primary: "replica", replica: "primary"})
		if got := r.offset(replica); got != until {
			t.Errorf("killed after %s: the new primary is at %d, want %d", step, got, until)
		}
		if r.readOnly(replica) || !r.readOnly(primary) {
			t.Errorf("killed after %s: read-only are: old %v, new %v", step, r.readOnly(primary), r.readOnly(replica))
		}
		primary, replica = replica, primary
		until += 10
	}
	record, version, err := r.store.Failover(t.Context(), "s1")
	if err != nil || len(record.History) != 6 || record.Term != 7 {
		t.Errorf("remembered are %d changes, term %d, %v; want 6 and 7", len(record.History), record.Term, err)
	}
	record.Owner = "slow"
	if _, err := r.store.SetFailover(t.Context(), "s1", record, version-1); err == nil {
		t.Error("a record of an earlier version was written")
	}
}

// TestLostWhileTheKeeperIsKilled: the primary is gone, its replica lags, and whoever replaces it is killed after each step in turn.
func TestLostWhileTheKeeperIsKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.must(r.count("s1-a", 10))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
	r.exec("s1-b", "STOP SLAVE SQL_THREAD")
	r.must(r.count("s1-a", 30))
	r.must(r.servers["s1-a"].Kill())
	for _, step := range []cluster.FailoverStep{
		cluster.StepIntended, cluster.StepFenced, cluster.StepCaughtUp, cluster.StepStopped, cluster.StepPromoted,
	} {
		ctx, kill := context.WithCancel(t.Context())
		k := r.keeper(func(c *failover.Config) {
			c.Progress = func(_, done string) {
				if done == string(step) {
					kill()
				}
			}
		})
		if _, err := k.Change(ctx, "s1", failover.Request{}); err == nil {
			t.Fatalf("killed after %s, but it went on", step)
		}
		record, _, err := r.store.Failover(t.Context(), "s1")
		if err != nil || record.Intent == nil || record.Intent.Step != step {
			t.Fatalf("killed after %s, the record has %+v, %v", step, record.Intent, err)
		}
		if place := r.place("s1-a"); place != "detached" {
			t.Errorf("killed after %s, the old primary is %s", step, place)
		}
	}
	r.must(r.keeper().Tend(t.Context(), "s1"))
	r.must(r.places(map[string]string{"s1-a": "detached", "s1-b": "primary"}))
	if got := r.offset("s1-b"); got != 10 {
		t.Errorf("the new primary is at %d, want 10", got)
	}
	r.must(r.count("s1-b", 40))
}

// TestTwoAtOnce: of two that change the same shard at the same moment one does, and the other finds that it was done.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.must(r.count("s1-a", 10))
	ended := make(chan error, 2)
	for range 2 {
		k := r.keeper(func(c *failover.Config) { c.Store = r.connect() })
		go func() {
			_, err := k.Change(context.WithoutCancel(t.Context()), "s1", failover.Request{Planned: true, To: "s1-b"})
			ended <- err
		}()
	}
	first, second := <-ended, <-ended
	if first != nil {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, failover.ErrRefused) {
		t.Errorf("one ended with %v, the other with %v; want one done and one refused", first, second)
	}
	record, _, err := r.store.Failover(t.Context(), "s1")
	if err != nil || len(record.History) != 1 || record.Term != 2 {
		t.Errorf("remembered are %d changes, term %d, %v; want 1 and 2", len(record.History), record.Term, err)
	}
	r.must(r.places(map[string]string{"s1-a": "detached", "s1-b": "primary"}))
}

// TestRefusals: a change is refused, and nothing is touched, when the log does not reach back, can't tell, or the primary answers.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	k := r.keeper()
	r.must(r.count("s1-a", 10))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
	for name, test := range map[string]struct {
		first   uint64
		err     error
		request failover.Request
		want    failover.RefusalCode
	}{
		"alive":       {1, nil, failover.Request{}, failover.RefusedAlive},
		"trimmed":     {11, nil, failover.Request{Force: true}, failover.RefusedLog},
		"window":      {5, nil, failover.Request{Force: true}, failover.RefusedLog},
		"log away":    {1, errAway, failover.Request{Force: true}, failover.RefusedLogUnknown},
		"automatic":   {1, nil, failover.Request{Automatic: true}, failover.RefusedNoAgreement},
		"nobody else": {1, nil, failover.Request{Force: true, To: "s1-x"}, failover.RefusedNoCandidate},
	} {
		r.log.set(test.first, test.err)
		plan, err := k.Change(t.Context(), "s1", test.request)
		if !errors.Is(err, failover.ErrRefused) || plan.Refusals[0].Code != test.want {
			t.Errorf("%s: %v, %+v; want it refused as %s", name, err, plan.Refusals, test.want)
		}
		r.must(r.places(map[string]string{"s1-a": "primary", "s1-b": "replica"}))
		if r.readOnly("s1-a") {
			t.Errorf("%s: the primary was made read-only", name)
		}
	}

	// What is lost is named, and accepted only if it is asked for.
	r.log.set(11, nil)
	plan, err := k.Plan(t.Context(), "s1", failover.Request{Force: true})
	if err != nil || len(plan.Lost) == 0 || plan.Allowed() {
		t.Errorf("the plan is %+v, %v; want it to name what is lost", plan, err)
	}
	_, err = k.Change(t.Context(), "s1", failover.Request{Force: true, AcceptLoss: true, Reason: "test"})
	r.must(err)
	r.must(r.places(map[string]string{"s1-a": "detached", "s1-b": "primary"}))
	record, _, err := r.store.Failover(t.Context(), "s1")
	if err != nil || len(record.History[0].Lost) < 2 {
		t.Errorf("remembered is %+v, %v; want what was lost", record, err)
	}
}

// TestTakenBack: when the log turns out too short after the role was taken away, the old primary gets it back and writes again.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.must(r.count("s1-a", 10))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
	k := r.keeper(func(c *failover.Config) {
		c.Progress = func(_, step string) {
			if step == string(cluster.StepCaughtUp) {
				r.log.set(11, nil)
			}
		}
	})
	if _, err := k.Change(t.Context(), "s1", failover.Request{Planned: true}); !errors.Is(err, failover.ErrAborted) {
		t.Fatalf("the log was trimmed meanwhile: %v, want ErrAborted", err)
	}
	r.must(r.places(map[string]string{"s1-a": "primary", "s1-b": "replica"}))
	r.must(r.count("s1-a", 20))
	testkit.Eventually(t, patience, func() error { return r.caughtUp("s1-a", "s1-b") })
}

// TestDrainEndsWrites: a planned change while rows are written loses none that was committed, and takes none afterwards.
func TestDrainEndsWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	k := r.keeper()
	ended := make(chan error, 1)
	go func() { ended <- r.count("s1-a", 1<<20) }()
	testkit.Eventually(t, patience, func() error {
		var next int
		r.must(r.root("s1-a", "SELECT next_offset FROM quipu.checkpoints WHERE partition_id = 0", &next))
		if next < 30 {
			return fmt.Errorf("at %d", next)
		}
		return nil
	})
	_, err := k.Change(t.Context(), "s1", failover.Request{Planned: true})
	r.must(err)
	if err := <-ended; err == nil {
		t.Error("the old primary went on taking writes")
	}
	r.must(r.caughtUp("s1-a", "s1-b"))
	r.tendUntil(k, map[string]string{"s1-a": "replica", "s1-b": "primary"})
}
