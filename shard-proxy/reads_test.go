package shardproxy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	shardproxy "github.com/quipudb/quipu/shard-proxy"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// INV-8: an answer says where it is from, as of when, and what it covers.
func TestStatsTellTheirProvenance(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	asOf, now := map[int]int64{}, time.Now().UnixMilli()
	for p := range 4 {
		beat := request(r.claim(p), 1, 1)
		beat.Partition, beat.AsOf = p, now-int64(p)
		r.mustApply(beat)
		asOf[p] = beat.AsOf
	}
	r.servers.AwaitReplica(t)
	want := wire.Provenance{
		AsOf: asOf[2], Coverage: wire.Coverage{Partitions: 2, Answered: 2},
		Sources: []wire.Source{{Shard: "s1", Database: "s1-b", Role: "replica", Resolution: "minute+hour+day", AsOf: asOf[2]}},
	}
	var got *wire.StatsAnswer
	testkit.Eventually(t, patience, func() (err error) { // the replica seems to lag until it is probed again
		if got, err = r.stats(keyOf(0, 0), keyOf(2, 0), keyOf(2, 1), keyOf(0, 0)); err != nil {
			return err
		}
		if diff := cmp.Diff(want, got.Provenance); diff != "" {
			return fmt.Errorf("provenance (-want +got):\n%s", diff)
		}
		return nil
	})
	if len(got.Keys) != 4 || got.Keys[3].Key != keyOf(0, 0) {
		t.Errorf("got keys %+v, want four in the order of the request", got.Keys)
	}
}

func TestBadQuestionsNameTheField(t *testing.T) {
	r := newRig(t, shared)
	key := keyOf(1, 0)
	for name, test := range map[string]struct {
		path  string
		body  any
		code  wire.Code
		field string
	}{
		"no keys":          {wire.PathStats, wire.StatsRequest{Type: "view", To: 1}, wire.CodeBadRequest, "keys"},
		"too many keys":    {wire.PathStats, wire.StatsRequest{Type: "view", Keys: make([]string, wire.MaxKeysPerStats+1), To: 1}, wire.CodeBadRequest, "keys"},
		"empty key":        {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{""}, To: 1}, wire.CodeBadRequest, "keys"},
		"bad type":         {wire.PathStats, wire.StatsRequest{Type: "No", Keys: []string{key}, To: 1}, wire.CodeBadRequest, "type"},
		"empty range":      {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{key}, From: 1, To: 1}, wire.CodeBadRequest, "to_minute"},
		"unknown step":     {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{key}, To: 60, Step: "week"}, wire.CodeBadRequest, "step"},
		"ragged from":      {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{key}, From: 1, To: 60, Step: wire.StepHour}, wire.CodeBadRequest, "from_minute"},
		"ragged to":        {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{key}, To: 60, Step: wire.StepDay}, wire.CodeBadRequest, "to_minute"},
		"key of others":    {wire.PathStats, wire.StatsRequest{Type: "view", Keys: []string{key, keyOf(5, 0)}, To: 1}, wire.CodeMisrouted, ""},
		"top of nothing":   {wire.PathTop, wire.TopRequest{Type: "view", To: 1}, wire.CodeBadRequest, "n"},
		"top of much":      {wire.PathTop, wire.TopRequest{Type: "view", From: event.MinuteOf(created.UnixMilli()), To: event.MaxMinute, N: 1}, wire.CodeUnprocessable, "from_minute"},
		"lookup of no key": {wire.PathKeyInfo, wire.KeyRequest{Type: "view"}, wire.CodeBadRequest, "key"},
	} {
		problem := r.failsWith(test.code, func() error { return r.post(test.path, test.body, new(any)) })
		if problem.Field != test.field {
			t.Errorf("%s: got field %q, want %q", name, problem.Field, test.field)
		}
	}
}

func TestTopCoversTheShardsPartitions(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	for p := range 4 {
		a := request(r.claim(p), 1, 2, counted(keyOf(p, 0), int64(10+p)), counted(keyOf(p, 1), 1))
		a.Partition = p
		r.mustApply(a)
	}
	r.servers.AwaitReplica(t)
	minute := event.MinuteOf(created.UnixMilli())
	top := func() *wire.TopAnswer {
		t.Helper()
		out := &wire.TopAnswer{}
		if err := r.post(wire.PathTop, wire.TopRequest{Type: "view", From: minute - 5, To: minute + 5, N: 3}, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	got := top()
	var entries []string
	for _, e := range got.Entries {
		entries = append(entries, fmt.Sprint(e.Key, " ", e.Count, " ", e.Start == minute-5))
	}
	want := []string{keyOf(3, 0) + " 13 true", keyOf(2, 0) + " 12 true", keyOf(1, 0) + " 11 true"}
	if diff := cmp.Diff(want, entries); diff != "" || !got.Exact {
		t.Errorf("top, exact %t (-want +got):\n%s", got.Exact, diff)
	}
	if diff := cmp.Diff(wire.Coverage{Partitions: 4, Answered: 4}, got.Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	exec(t, r.servers.Primary, "UPDATE quipu.checkpoints SET owned = FALSE WHERE partition_id = 3")
	r.servers.AwaitReplica(t)
	got = top()
	wantCoverage := wire.Coverage{Partitions: 4, Answered: 3, Missing: []wire.Missing{{Shard: "s1", Partitions: []int{3}, Code: wire.CodeMisrouted, Detail: "the shard does not own them"}}}
	if diff := cmp.Diff(wantCoverage, got.Coverage); diff != "" || got.Entries[0].Key != keyOf(2, 0) {
		t.Errorf("top is %s, coverage (-want +got):\n%s", got.Entries[0].Key, diff)
	}
}

func TestReplicaThatLagsIsNotRead(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	stop := r.beats()
	defer stop()
	exec(t, shared.Replica, testkit.Speak("STOP SLAVE SQL_THREAD"))
	r.readsFrom("primary", false)
	exec(t, shared.Replica, testkit.Speak("START SLAVE SQL_THREAD"))
	r.readsFrom("replica", false)
}

// A replica whose server says that it keeps up, but whose counts don't move, lags: a delay that its status does not show.
func TestLagIsMeasuredByTheCheckpoints(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	stop := r.beats()
	defer stop()
	lock, err := shared.Replica.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	r.readsFrom("primary", false)
	if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	r.readsFrom("replica", false)
}

// INV-8: without a primary the replica answers, and says that it is stale as soon as it is older than the bound.
func TestPrimaryAwayReplicaAnswers(t *testing.T) {
	servers := testkit.Shard(t)
	r := newRig(t, servers).bothHealthy()
	stop := r.beats()
	defer stop()
	epoch := r.claim(3)
	a := request(epoch, 1, 2, counted(keyOf(3, 0), 7))
	a.Partition = 3
	r.mustApply(a)
	servers.AwaitReplica(t)
	if err := servers.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	r.readsFrom("replica", true)
	r.failsWith(wire.CodeUnavailable, func() error { return r.apply(request(epoch, 1, 2, counted("a", 1))) })
	got, err := r.stats(keyOf(3, 0))
	if err != nil || got.Keys[0].Points[0].Count != 7 {
		t.Errorf("got %+v, %v; want 7", got, err)
	}
	var checkpoints wire.CheckpointsAnswer
	testkit.Eventually(t, patience, func() error {
		if err := r.client.JSON(t.Context(), http.MethodGet, r.url+wire.PathCheckpoints, nil, &checkpoints); err != nil {
			return err
		}
		if diff := cmp.Diff([]string{"s1-a"}, checkpoints.Missing); diff != "" || len(checkpoints.Checkpoints) != 4 {
			return fmt.Errorf("%d checkpoints, missing (-want +got):\n%s", len(checkpoints.Checkpoints), diff)
		}
		return nil
	})
	if err := servers.Replica.Kill(); err != nil {
		t.Fatal(err)
	}
	problem := r.failsWith(wire.CodeUnavailable, func() error { _, err := r.stats(keyOf(1, 0)); return err })
	if problem.RetryAfter <= 0 {
		t.Error("unavailable without Retry-After")
	}
	testkit.Eventually(t, patience, func() error {
		if r.proxy.Ready(t.Context()) == nil {
			return fmt.Errorf("ready without a database")
		}
		return nil
	})
	for _, db := range []*testkit.Database{servers.Primary, servers.Replica} {
		if err := db.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, patience, func() error {
		got, err := r.stats(keyOf(3, 0))
		if err == nil && (got.Keys[0].Points[0].Count != 7 || got.Stale) {
			err = fmt.Errorf("got %+v", got)
		}
		return err
	})
}

// A database of another shard, or with a schema that this build does not know, is not used.
// A replica that hangs is healthy until it has missed several probes. Reads that would wait for it go to the primary.
func TestSilentReplicaIsNotWaitedFor(t *testing.T) {
	servers := testkit.Shard(t)
	r := newRig(t, servers, func(cfg *shardproxy.Config) {
		cfg.ProbeTimeout, cfg.PointTimeout = 2*patience, patience // nobody finds out by these
	}).bothHealthy()
	if err := servers.Replica.Process().Pause(); err != nil {
		t.Fatal(err)
	}
	defer servers.Replica.Process().Resume()
	for range 2 { // one that is under way, one that comes later
		got, err := r.stats(keyOf(1, 0))
		if err != nil || got.Sources[0].Database != "s1-a" {
			t.Fatalf("got %+v and %v, want the primary's answer", got, err)
		}
	}
}

func TestWrongDatabasesAreNotUsed(t *testing.T) {
	for name, test := range map[string]struct {
		harm, heal string
		code       wire.Code
	}{
		"newer schema":     {"UPDATE quipu.schema_migrations SET version = 9999", "UPDATE quipu.schema_migrations SET version = 4", wire.CodeSchema},
		"half-done schema": {"UPDATE quipu.schema_migrations SET dirty = TRUE", "UPDATE quipu.schema_migrations SET dirty = FALSE", wire.CodeSchema},
		"another shard's":  {"UPDATE quipu.shard_state SET shard_id = 's2'", "UPDATE quipu.shard_state SET shard_id = 's1'", wire.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, shared).bothHealthy()
			epoch := r.claim(1)
			exec(t, shared.Primary, test.harm)
			r.servers.AwaitReplica(t)
			r.failsWith(test.code, func() error { _, err := r.stats(keyOf(1, 0)); return err })
			r.failsWith(test.code, func() error { return r.apply(request(epoch, 1, 2, counted("a", 1))) })
			exec(t, shared.Primary, test.heal)
			testkit.Eventually(t, patience, func() error { return r.apply(request(epoch, 1, 1)) })
			r.readsFrom("replica", false)
		})
	}
}

// After a promotion the replica is written to under the next term, and answers say stale while as-of stands lower than it did.
func TestPromotionIsFollowed(t *testing.T) {
	servers := testkit.Shard(t)
	r := newRig(t, servers).bothHealthy()
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(keyOf(1, 0), 1)))
	servers.AwaitReplica(t)
	exec(t, servers.Replica, testkit.Speak("STOP SLAVE"))
	lost := request(epoch, 2, 3, counted(keyOf(1, 0), 10), counted(keyOf(1, 1), 100))
	r.mustApply(lost)
	seen := r.readsFrom("primary", false)
	if seen.AsOf != lost.AsOf || seen.Keys[0].Points[0].Count != 11 {
		t.Fatalf("before the promotion: got %+v", seen)
	}
	if err := servers.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	exec(t, servers.Replica, testkit.Speak("RESET SLAVE ALL"), "SET GLOBAL read_only = OFF", "UPDATE quipu.shard_state SET term = term + 1")
	s := topology(servers.Primary, servers.Replica)
	s.Topology.Shards[0].Databases = []cluster.Database{{ID: "s1-b", Address: servers.Replica.Address(), Role: cluster.Primary}}
	r.publish(s)
	if got := r.readsFrom("primary", true); got.Sources[0].Database != "s1-b" || got.Keys[0].Points[0].Count != 1 {
		t.Errorf("after the promotion: got %+v", got)
	}
	next := request(epoch, 3, 4, counted(keyOf(1, 0), 1000))
	problem := r.failsWith(wire.CodeOffsetMoved, func() error { return r.apply(next) })
	if problem.Checkpoint.NextOffset != 2 {
		t.Fatalf("got checkpoint %+v, want offset 2", problem.Checkpoint)
	}
	r.mustApply(lost) // the replay
	r.mustApply(next)
	if got := r.readsFrom("primary", false); got.Keys[0].Points[0].Count != 1011 {
		t.Errorf("after the replay: got %+v", got)
	}
}

// A shard that the topology drops by mistake, or a snapshot that is not there, changes nothing (INV-10).
func TestLastKnownDatabasesStay(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	s := topology(shared.Primary, shared.Replica)
	s.Topology.Shards = s.Topology.Shards[1:]
	r.publish(s)
	for range 20 {
		if _, err := r.stats(keyOf(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewRefusesWhatItCannotDo(t *testing.T) {
	if _, err := shardproxy.New(shardproxy.Config{}); err == nil {
		t.Error("a proxy of no shard was made")
	}
}

func TestMetricsTellTheSignals(t *testing.T) {
	r := newRig(t, shared).bothHealthy()
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(keyOf(1, 0), 1), counted(keyOf(1, 1), 1)))
	testkit.Eventually(t, patience, func() error {
		families, err := r.registry.Gather()
		if err != nil {
			return err
		}
		found := map[string]bool{}
		for _, f := range families {
			found[f.GetName()] = true
		}
		for _, name := range []string{
			"quipu_shard_proxy_calls_total", "quipu_shard_proxy_call_seconds", "quipu_shard_proxy_running_count", "quipu_shard_proxy_applied_rows_total",
			"quipu_shard_proxy_reads_total", "quipu_shard_proxy_database_healthy", "quipu_shard_proxy_replica_lag_seconds", "quipu_shard_proxy_as_of_seconds",
			"quipu_shard_proxy_pool_in_use_count", "quipu_mysql_key_cache_misses_total", "quipu_mysql_apply_transaction_seconds",
		} {
			if !found[name] {
				return fmt.Errorf("no %s", name)
			}
		}
		return nil
	})
}
