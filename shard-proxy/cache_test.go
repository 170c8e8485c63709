package shardproxy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/quipudb/quipu/event"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// caching is a rig whose proxy keeps answers.
func caching(t *testing.T, servers *testkit.ShardServers, change ...func(*shardproxy.Config)) *rig {
	t.Helper()
	keep := func(cfg *shardproxy.Config) { cfg.Cache = shardproxy.CacheConfig{} }
	r := newRig(t, servers, append([]func(*shardproxy.Config){keep}, change...)...)
	r.onlyFrom(servers.Primary)
	return r
}

// sibling is another proxy of the same shard, with its own view of where databases are.
func (r *rig) sibling() *rig {
	r.t.Helper()
	other := &rig{t: r.t, servers: r.servers, registry: prometheus.NewRegistry(), changed: make(chan struct{})}
	other.snapshot.Store(r.snapshot.Load())
	cfg := r.cfg
	cfg.Registerer, cfg.Snapshot, cfg.Changed = other.registry, other.snapshot.Load, other.changes
	other.serve(cfg)
	return other
}

// onlyFrom has reads come from the primary, or from the replica if that lags little enough, and waits until they can.
func (r *rig) onlyFrom(db *testkit.Database) {
	r.t.Helper()
	s := topology(r.servers.Primary, r.servers.Replica)
	if db == r.servers.Primary {
		s.Topology.Shards[0].Databases = s.Topology.Shards[0].Databases[:1]
	}
	r.publish(s)
	testkit.Eventually(r.t, patience, func() error {
		answer, err := r.ask(&wire.StatsRequest{Type: "view", Keys: []string{keyOf(2, 0)}, To: event.MaxMinute + 1, Explain: true}) // never kept
		if err != nil {
			return err
		}
		if got := answer.Sources[0].Role; (got == "primary") != (db == r.servers.Primary) {
			return fmt.Errorf("reads come from the %s", got)
		}
		return nil
	})
}

func (r *rig) ask(request *wire.StatsRequest) (*wire.StatsAnswer, error) {
	out := &wire.StatsAnswer{}
	return out, r.post(wire.PathStats, request, out)
}

var countedAt = event.MinuteOf(created.UnixMilli())

// closed asks for an hour that ended long before.
func closed(keys ...string) *wire.StatsRequest {
	return &wire.StatsRequest{Type: "view", Keys: keys, From: countedAt - 10, To: countedAt + 10}
}

// gives asks and compares the count of the first key, and whether it was kept.
func (r *rig) gives(request *wire.StatsRequest, count int64, kept bool) *wire.StatsAnswer {
	r.t.Helper()
	answer, err := r.ask(request)
	if err != nil {
		r.t.Fatal(err)
	}
	if got := answer.Keys[0].Points[0].Count; got != count || (answer.Sources[0].Role == wire.RoleCache) != kept {
		r.t.Fatalf("got %d from %+v, want %d, kept: %t", got, answer.Sources, count, kept)
	}
	return answer
}

// warm asks until the answer is kept for good: the first ones may have come before the proxy followed late changes.
func (r *rig) warm(request *wire.StatsRequest) *wire.StatsAnswer {
	r.t.Helper()
	var answer *wire.StatsAnswer
	testkit.Eventually(r.t, patience, func() (err error) {
		if answer, err = r.ask(request); err != nil {
			return err
		}
		for _, k := range answer.Keys {
			if k.Validator == "" || answer.Sources[0].Role != wire.RoleCache {
				return fmt.Errorf("%s is not kept: %+v", k.Key, answer)
			}
		}
		return nil
	})
	return answer
}

func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != "quipu_shard_proxy_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if has(m, labels) {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

func has(m *dto.Metric, values []string) bool {
	for _, want := range values {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetValue() == want
		}
		if !found {
			return false
		}
	}
	return true
}

// A late event that another proxy of the shard applies touches its key and its minute, and nothing else.
func TestLateEventTouchesWhatIsKept(t *testing.T) {
	r := caching(t, shared)
	other := r.sibling()
	touched, same := keyOf(1, 0), keyOf(1, 1)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(touched, 1), counted(same, 5)))
	before := closed(touched)
	before.From, before.To = countedAt-10, countedAt
	r.warm(closed(touched, same))
	r.warm(before)
	first := time.Now()
	other.mustApply(request(epoch, 2, 3, counted(touched, 10)))
	testkit.Eventually(t, patience, func() error {
		answer, err := r.ask(closed(touched))
		if err == nil && answer.Keys[0].Points[0].Count != 11 {
			return fmt.Errorf("still %d, as of %d", answer.Keys[0].Points[0].Count, answer.AsOf)
		}
		return err
	})
	r.gives(closed(touched), 11, true)
	if got := r.gives(closed(same), 5, true); got.AsOf < first.UnixMilli() {
		t.Errorf("what nothing touched is as of %d, before %d", got.AsOf, first.UnixMilli())
	}
	r.gives(before, 0, true)
}

// What a client has is told to be unchanged until a late event touches it, even where the proxy itself keeps nothing.
func TestValidators(t *testing.T) {
	r := caching(t, shared)
	other := r.sibling()
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 1), counted(keyOf(1, 1), 1)))
	other.warm(closed(keyOf(1, 1))) // it follows the changes now
	has := r.warm(closed(key)).Keys[0].Validator
	ask := closed(key)
	ask.Validators = []string{has}
	for _, proxy := range []*rig{r, other} {
		answer, err := proxy.ask(ask)
		if err != nil {
			t.Fatal(err)
		}
		if k := answer.Keys[0]; !k.Unchanged || k.Validator == "" || len(k.Points) != 0 || answer.Coverage.Answered != 1 || answer.Stale {
			t.Errorf("got %+v", answer)
		}
	}
	r.mustApply(request(epoch, 2, 3, counted(key, 1)))
	testkit.Eventually(t, patience, func() error {
		answer, err := other.ask(ask)
		if err == nil && (answer.Keys[0].Unchanged || answer.Keys[0].Points[0].Count != 2) {
			return fmt.Errorf("got %+v", answer.Keys[0])
		}
		return err
	})
	for _, foreign := range []string{"x", "s2/1/1/3", "s1/9/1/3", "s1/1/2/3", "s1/1/1/99999999999999999999"} {
		ask.Validators = []string{foreign}
		if answer, err := r.ask(ask); err != nil || answer.Keys[0].Unchanged {
			t.Errorf("validator %s: %+v, %v", foreign, answer, err)
		}
	}
	for _, open := range []string{key, keyOf(1, 7)} { // a range that ends later, a key that was never counted
		q := closed(open)
		if open == key {
			q.To = event.MaxMinute
		}
		if answer, err := r.ask(q); err != nil || answer.Keys[0].Validator != "" {
			t.Errorf("%s may be kept: %+v, %v", open, answer, err)
		}
	}
}

// §11.14: a replica that lags behind what a late event has touched gives its older answer as such, and does not bring it back.
func TestLaggingReplicaRefillsNothing(t *testing.T) {
	r := caching(t, shared, func(cfg *shardproxy.Config) { cfg.MaxLag = time.Hour })
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 1)))
	r.warm(closed(key))
	shared.AwaitReplica(t)
	defer frozen(t, shared.Replica)()
	late := request(epoch, 2, 3, counted(key, 10))
	r.mustApply(late)
	testkit.Eventually(t, patience, func() error {
		answer, err := r.ask(closed(key))
		if err == nil && answer.Keys[0].Points[0].Count != 11 {
			return fmt.Errorf("got %+v", answer)
		}
		return err
	})
	r.onlyFrom(shared.Replica)
	wider := closed(key)
	wider.To++
	if got := r.gives(wider, 1, false); got.AsOf >= late.AsOf {
		t.Fatalf("the replica's answer is as of %d", got.AsOf)
	}
	r.gives(closed(key), 11, true)
	r.onlyFrom(shared.Primary)
	if got := r.gives(wider, 11, false); got.AsOf < late.AsOf {
		t.Errorf("the primary's answer is as of %d", got.AsOf)
	}
}

// A promotion may take back what was counted last: nothing that was read before is given again.
func TestPromotionDropsWhatIsKept(t *testing.T) {
	r := caching(t, shared)
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 7)))
	has := r.warm(closed(key)).Keys[0].Validator
	exec(t, shared.Primary, "DELETE FROM quipu.minute_counts", "DELETE FROM quipu.hour_counts", "DELETE FROM quipu.day_counts",
		"UPDATE quipu.shard_state SET term = term + 1")
	testkit.Eventually(t, patience, func() error {
		answer, err := r.ask(closed(key))
		if err == nil && answer.Keys[0].Points[0].Count != 0 {
			return fmt.Errorf("still %d", answer.Keys[0].Points[0].Count)
		}
		return err
	})
	ask := closed(key)
	ask.Validators = []string{has}
	if answer, err := r.ask(ask); err != nil || answer.Keys[0].Unchanged {
		t.Errorf("got %+v, %v", answer, err)
	}
}

// frozen keeps a replica from applying anything, which its server does not notice, until the returned function is called.
func frozen(t *testing.T, db *testkit.Database) (thaw func()) {
	t.Helper()
	conn, err := db.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(statement string) {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	do("FLUSH TABLES WITH READ LOCK")
	return func() { do("UNLOCK TABLES"); _ = conn.Close() }
}

// held keeps every read of counts waiting until the returned function is called.
func held(t *testing.T, db *testkit.Database) (release func()) {
	t.Helper()
	conn, err := db.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(statement string) {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	do("LOCK TABLES quipu.minute_counts WRITE")
	release = sync.OnceFunc(func() { do("UNLOCK TABLES"); _ = conn.Close() })
	t.Cleanup(release)
	return release
}

// asked counts the statements that speak of a key.
func asked(t *testing.T, db *testkit.Database, key string) (count func() int) {
	t.Helper()
	exec(t, db, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
	t.Cleanup(func() { exec(t, db, "SET GLOBAL general_log = OFF", "TRUNCATE mysql.general_log") })
	return func() (n int) {
		query := "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%minute_counts%' AND argument LIKE ? AND argument NOT LIKE '%general_log%'"
		if err := db.Root().QueryRow(query, "%'"+key+"'%").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func TestIdenticalQueriesRunOnce(t *testing.T) {
	const callers = 1000
	r := caching(t, shared)
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 7)))
	r.gives(closed(keyOf(1, 1)), 0, false) // the database's placement is known
	statements := asked(t, shared.Primary, key)
	release := held(t, shared.Primary)
	outcomes := make(chan error, callers)
	for range callers {
		go func() {
			answer, err := r.ask(closed(key))
			if err == nil && answer.Keys[0].Points[0].Count != 7 {
				err = fmt.Errorf("got %+v", answer)
			}
			outcomes <- err
		}()
	}
	testkit.Eventually(t, patience, func() error {
		if n := r.metric("cache_waiting_count"); n != callers-1 {
			return fmt.Errorf("%v wait", n)
		}
		return nil
	})
	release()
	for range callers {
		if err := <-outcomes; err != nil {
			t.Fatal(err)
		}
	}
	if got := statements(); got != 1 {
		t.Errorf("%d statements for %d identical queries", got, callers)
	}
	if got := r.metric("cache_waiting_count"); got != 0 {
		t.Errorf("%v still wait", got)
	}
}

// INV-9: who waits for the query of another is counted, and refused beyond the bound.
func TestWaitersAreBounded(t *testing.T) {
	r := caching(t, shared, func(cfg *shardproxy.Config) { cfg.Cache.Waiters = 5 })
	key := keyOf(1, 0)
	release := held(t, shared.Primary)
	outcomes := make(chan error, 20)
	for range cap(outcomes) {
		go func() {
			_, err := r.ask(closed(key))
			outcomes <- err
		}()
	}
	refused := 0
	for range cap(outcomes) - 6 {
		if err := <-outcomes; wire.CodeOf(err) != wire.CodeOverloaded {
			t.Fatalf("got %v, want overloaded", err)
		}
		refused++
	}
	release()
	for range 6 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
	if got := r.metric("cache_refused_waiters_total"); got != float64(refused) {
		t.Errorf("%v refused in metrics, want %d", got, refused)
	}
}

// Whoever waits for a query that another began gets it, also when the other goes away.
func TestQueryOutlivesWhoBeganIt(t *testing.T) {
	r := caching(t, shared)
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 7)))
	release := held(t, shared.Primary)
	first, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- r.client.JSON(first, "POST", r.url+wire.PathStats, closed(key), nil) }()
	running := func(waiting float64) {
		testkit.Eventually(t, patience, func() error {
			if now, n := r.metric("running_count", "point"), r.metric("cache_waiting_count"); now != 1 || n != waiting {
				return fmt.Errorf("%v running, %v waiting", now, n)
			}
			return nil
		})
	}
	running(0)
	second := make(chan *wire.StatsAnswer, 1)
	go func() {
		answer, _ := r.ask(closed(key))
		second <- answer
	}()
	running(1)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	release()
	if answer := <-second; answer == nil || len(answer.Keys) != 1 || answer.Keys[0].Points[0].Count != 7 {
		t.Errorf("got %+v", answer)
	}
}

// Minutes that are still counted into are answered again for about a second, then once more while they are asked anew.
func TestOpenRangesAreKeptForAMoment(t *testing.T) {
	r := caching(t, shared, func(cfg *shardproxy.Config) { cfg.Cache.OpenFor, cfg.Cache.Revalidate = 50*time.Millisecond, time.Hour })
	key := keyOf(1, 0)
	epoch := r.claim(1)
	row := counted(key, 1)
	row.Minute = event.MinuteOf(time.Now().UnixMilli())
	r.mustApply(request(epoch, 1, 2, row))
	open := &wire.StatsRequest{Type: "view", Keys: []string{key}, To: event.MaxMinute + 1}
	first := r.gives(open, 1, false)
	row.AddEvent(9, 0, false)
	r.mustApply(request(epoch, 2, 3, row))
	testkit.Eventually(t, patience, func() error {
		answer, err := r.ask(open)
		if err != nil {
			return err
		}
		if answer.Sources[0].Role != wire.RoleCache {
			t.Fatalf("the answer comes from %+v", answer.Sources)
		}
		if answer.Keys[0].Points[0].Count != 11 || answer.AsOf <= first.AsOf {
			return fmt.Errorf("got %+v", answer)
		}
		return nil
	})
	wanted := request(epoch, 3, 4, row)
	r.mustApply(wanted)
	open.MinAsOf = wanted.AsOf
	if answer, err := r.ask(open); err != nil || answer.AsOf < wanted.AsOf || answer.Keys[0].Points[0].Count != 21 {
		t.Errorf("got %+v, %v; wanted as of %d", answer, err, wanted.AsOf)
	}
}

// INV-8: with no database left, what is kept is answered, and says how old it is.
func TestStaleRatherThanNothing(t *testing.T) {
	servers := testkit.Shard(t)
	r := caching(t, servers, func(cfg *shardproxy.Config) {
		cfg.Cache.OpenFor, cfg.Cache.Revalidate = time.Millisecond, time.Millisecond
	})
	key := keyOf(1, 0)
	epoch := r.claim(1)
	r.mustApply(request(epoch, 1, 2, counted(key, 7)))
	open := &wire.StatsRequest{Type: "view", Keys: []string{key}, To: event.MaxMinute + 1}
	top := &wire.TopRequest{Type: "view", From: countedAt, To: countedAt + 2, N: 3}
	ranking := &wire.TopAnswer{}
	if err := r.post(wire.PathTop, top, ranking); err != nil || len(ranking.Entries) != 1 {
		t.Fatalf("got %+v, %v", ranking, err)
	}
	asOf := r.gives(open, 7, false).AsOf
	r.warm(closed(key))
	for _, db := range []*testkit.Database{servers.Primary, servers.Replica} {
		if err := db.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, patience, func() error {
		for _, request := range []*wire.StatsRequest{closed(key), open} {
			answer, err := r.ask(request)
			if err != nil {
				return err
			}
			if !answer.Stale || answer.Sources[0].Role != wire.RoleCache || answer.Keys[0].Points[0].Count != 7 || answer.AsOf < asOf || answer.AsOf > time.Now().UnixMilli() {
				return fmt.Errorf("got %+v", answer)
			}
		}
		*ranking = wire.TopAnswer{}
		if err := r.post(wire.PathTop, top, ranking); err != nil {
			return err
		}
		if !ranking.Stale || len(ranking.Entries) != 1 || ranking.Sources[0].Role != wire.RoleCache {
			return fmt.Errorf("got %+v", ranking)
		}
		return nil
	})
	if _, err := r.ask(closed(keyOf(1, 1))); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("what nobody has asked before: %v", err)
	}
}
