package clusterproxy_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	clusterproxy "github.com/quipudb/quipu/cluster-proxy"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/wire"
)

// as makes calls on behalf of a process.
func as(ctx context.Context, caller, zone string) context.Context {
	return wire.WithOrigin(ctx, wire.Origin{Member: caller, Zone: zone})
}

func (f *fleet) statsAs(caller, zone string, keys ...string) error {
	ctx, cancel := context.WithTimeout(as(f.t.Context(), caller, zone), patience)
	defer cancel()
	return f.post(ctx, wire.PathStats, wire.StatsRequest{Type: "view", Keys: keys, From: 0, To: 60}, &wire.StatsAnswer{})
}

func (f *fleet) applyAs(caller, partition string) error {
	_, err := f.client.Bytes(as(f.t.Context(), caller, ""), http.MethodPost, f.url+wire.PathApply+"?partition="+partition, wire.ApplyType, []byte("body"))
	return err
}

// A question that takes longer than 95 of 100 do is put to the shard's other proxy, whose answer counts: one proxy that hangs costs
// no question its time.
func TestSlowQuestionsAreHedged(t *testing.T) {
	f := newFleet(t, func(c *clusterproxy.Config) { c.HedgePercent = 10 })
	key := keyOn(0, 0)
	for range 100 {
		if _, err := f.statsOf(key); err != nil {
			t.Fatal(err)
		}
	}
	release := f.proxies["s1-1"].hangs()
	defer release()
	for range 5 {
		begin := time.Now()
		got, err := f.statsOf(key)
		if err != nil || got.Keys[0].Points[0].Count != countOf(key) {
			t.Fatalf("got %v, %v", got, err)
		}
		if took := time.Since(begin); took > patience/4 { // a retry alone would wait for half of the time
			t.Errorf("a question took %s", took)
		}
	}
	won := f.metrics()[`quipu_cluster_proxy_hedges_total{call="stats",won="true"}`]
	if won < 1 {
		t.Errorf("%v hedges won, want at least one", won)
	}
}

// A flush is never sent twice at a time: the second waits until the first one's outcome is known.
func TestFlushesAreNotHedged(t *testing.T) {
	f := newFleet(t, func(c *clusterproxy.Config) { c.HedgePercent = 10 })
	for range 60 {
		if err := f.applyAs("w", "0"); err != nil {
			t.Fatal(err)
		}
	}
	before := f.callsOf("s1-1", "s1-2")
	release, releaseOther := f.proxies["s1-1"].hangs(), f.proxies["s1-2"].hangs()
	defer release()
	defer releaseOther()
	ended := make(chan error, 1)
	go func() { ended <- f.applyAs("w", "0") }()
	time.AfterFunc(100*time.Millisecond, func() { release(); releaseOther() })
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	after := f.callsOf("s1-1", "s1-2")
	if got := after[0] + after[1] - before[0] - before[1]; got != 1 {
		t.Errorf("the flush was sent %d times, want once", got)
	}
}

// A shard proxy that answers, but only ever with failures that the other does not have, is left alone.
func TestOutlierIsLeftAlone(t *testing.T) {
	f := newFleet(t)
	f.proxies["s1-1"].fails(wire.CodeUnavailable)
	for range 40 {
		if _, err := f.statsOf(keyOn(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.callsOf("s1-1")[0]; got > 6 {
		t.Errorf("the failing proxy got %d of 40 calls, want a few", got)
	}
	url := f.proxies["s1-1"].server.URL
	if got := f.metrics()[`quipu_cluster_proxy_ejected{proxy="`+url+`"}`]; got != 1 {
		t.Errorf("the gauge of the failing proxy is %v, want 1", got)
	}
}

// With all of a shard's proxies failing nobody is an outlier: only what needs the shard degrades, and coverage says so.
func TestDeadShardDegradesOnlyItsPart(t *testing.T) {
	f := newFleet(t)
	f.proxies["s1-1"].dies()
	f.proxies["s1-2"].fails(wire.CodeUnavailable)
	for range 20 {
		got, err := f.statsOf(keyOn(0, 0), keyOn(4, 0))
		if err != nil {
			t.Fatal(err)
		}
		want := []int{0}
		if len(got.Keys) != 1 || got.Keys[0].Key != keyOn(4, 0) || len(got.Coverage.Missing) != 1 || !slices.Equal(got.Coverage.Missing[0].Partitions, want) {
			t.Fatalf("got %+v, want the key of the living shard and partition 0 missing", got)
		}
	}
}

// Who calls, and from which zone, travels with a call; proxies of the own zone come first.
func TestOriginTravelsAndZonesArePreferred(t *testing.T) {
	f := newFleet(t, func(c *clusterproxy.Config) { c.Zone = "z2" })
	s := *f.snapshot.Load()
	members := slices.Clone(s.Members[cluster.RoleShardProxy])
	for i := range members {
		members[i].Zone = map[string]string{"s1-1": "z1", "s1-2": "z2", "s2-1": "z1", "s2-2": "z1"}[members[i].ID]
	}
	s.Members = map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: members}
	f.snapshot.Store(&s)
	for range 10 {
		if err := f.statsAs("reader/r1", "z9", keyOn(0, 0), keyOn(4, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int{0, 10, 5, 5}, f.callsOf("s1-1", "s1-2", "s2-1", "s2-2")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	p := f.proxies["s1-2"]
	p.mu.Lock()
	defer p.mu.Unlock()
	if want := (wire.Origin{Member: "reader/r1", Zone: "z9"}); p.from[0] != want {
		t.Errorf("the shard proxy was called on behalf of %+v, want %+v", p.from[0], want)
	}
}

// INV-9: one caller gets its share and no more, questions leave room for writers.
func TestCallersAreBounded(t *testing.T) {
	f := newFleet(t, func(c *clusterproxy.Config) { c.MaxInFlight, c.CallerShare = 8, 50 })
	var releases []func()
	for _, id := range []string{"s1-1", "s1-2"} {
		releases = append(releases, f.proxies[id].hangs())
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer func() {
		for _, release := range releases {
			release()
		}
	}()
	occupy := func(n int, caller string, call func(caller string) error) {
		t.Helper()
		before := f.callsOf("s1-1", "s1-2")
		for range n {
			all.Go(func() {
				if err := call(caller); err != nil {
					t.Errorf("%s: got %v within the bounds", caller, err)
				}
			})
		}
		eventually(t, func() error {
			if got := f.callsOf("s1-1", "s1-2"); got[0]+got[1] < before[0]+before[1]+n {
				return fmt.Errorf("got %v calls at the shard", got)
			}
			return nil
		})
	}
	refused := func(bound string, err error) {
		t.Helper()
		p := problem(t, err)
		if p.Code != wire.CodeOverloaded || p.RetryAfter <= 0 || !bytes.Contains([]byte(p.Detail), []byte(bound)) {
			t.Errorf("got %v, want a refusal for the bound of %s", err, bound)
		}
	}
	ask := func(caller string) error { return f.statsAs(caller, "", keyOn(0, 0)) }
	apply := func(caller string) error { return f.applyAs(caller, "0") }

	occupy(4, "reader/runaway", ask)
	refused("caller", ask("reader/runaway"))
	occupy(2, "reader/other", ask)
	refused("questions", ask("reader/third"))
	occupy(2, "writer/w1", apply)
	refused("all", apply("writer/w2"))

	m := f.metrics()
	for series, want := range map[string]float64{
		`quipu_cluster_proxy_in_flight_count{class="question"}`:              6,
		`quipu_cluster_proxy_in_flight_count{class="write"}`:                 2,
		`quipu_cluster_proxy_in_flight_limit{class="all"}`:                   8,
		`quipu_cluster_proxy_refused_total{bound="caller",role="reader"}`:    1,
		`quipu_cluster_proxy_refused_total{bound="questions",role="reader"}`: 1,
		`quipu_cluster_proxy_refused_total{bound="all",role="writer"}`:       1,
	} {
		if m[series] != want {
			t.Errorf("%s is %v, want %v", series, m[series], want)
		}
	}
}
