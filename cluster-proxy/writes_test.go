package clusterproxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	clusterproxy "github.com/quipudb/quipu/cluster-proxy"
	"github.com/quipudb/quipu/wire"
)

func TestApplyIsForwardedAsItCame(t *testing.T) {
	f := newFleet(t)
	for _, c := range []struct{ partition, shard string }{{"0", "s1"}, {"3", "s1"}, {"4", "s2"}, {"7", "s2"}} {
		body := []byte("\x00not even a request of partition " + c.partition)
		reply, err := f.apply(c.partition, body)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.TrimSpace(string(reply.Body)), `{"next_offset":7,"rows":3}`; got != want {
			t.Errorf("got answer %s, want the shard's %s", got, want)
		}
		last := f.applied[len(f.applied)-1]
		if last != (applied{c.shard, string(body)}) {
			t.Errorf("partition %s: got %v, want the body at %s", c.partition, last, c.shard)
		}
	}
}

func TestApplyRefusesBadRequests(t *testing.T) {
	f := newFleet(t)
	for _, c := range []struct {
		name, partition, contentType string
		size                         int
		want                         wire.Code
		field                        string
	}{
		{"no partition", "", wire.ApplyType, 10, wire.CodeBadRequest, "partition"},
		{"no number", "x", wire.ApplyType, 10, wire.CodeBadRequest, "partition"},
		{"negative", "-1", wire.ApplyType, 10, wire.CodeBadRequest, "partition"},
		{"beyond the last", "8", wire.ApplyType, 10, wire.CodeBadRequest, "partition"},
		{"another type", "1", wire.JSONType, 10, wire.CodeMediaType, ""},
		{"too long", "1", wire.ApplyType, wire.MaxApplyBytes + 1, wire.CodeTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.client.Bytes(t.Context(), http.MethodPost, f.url+wire.PathApply+"?partition="+c.partition, c.contentType, make([]byte, c.size))
			if p := problem(t, err); p.Code != c.want || p.Field != c.field {
				t.Errorf("got %s at %q, want %s at %q", p.Code, p.Field, c.want, c.field)
			}
		})
	}
	if len(f.applied) > 0 {
		t.Errorf("%d refused bodies reached a shard", len(f.applied))
	}
}

// What a shard refuses is told as it is, with the stored checkpoint, and not tried again.
func TestApplyPassesRefusalsOn(t *testing.T) {
	for _, code := range []wire.Code{wire.CodeFenced, wire.CodeOffsetMoved, wire.CodeUnapplicable, wire.CodeMisrouted, wire.CodeBadRequest, wire.CodeInternal} {
		t.Run(string(code), func(t *testing.T) {
			f := newFleet(t)
			stored := wire.Checkpoint{Partition: 1, Epoch: 9, NextOffset: 12}
			for _, id := range []string{"s1-1", "s1-2"} {
				f.proxies[id].set(func(s *shardProxy) {
					s.answer = func(string, []byte) (any, error) { return nil, wire.NewProblem(code, "no").WithCheckpoint(stored) }
				})
			}
			_, err := f.apply("1", []byte("body"))
			p := problem(t, err)
			if p.Code != code || p.Status != wire.NewProblem(code, "").Status {
				t.Errorf("got %s, status %d, want %s", p.Code, p.Status, code)
			}
			if d := cmp.Diff(&stored, p.Checkpoint); d != "" {
				t.Errorf("checkpoint differs (-want +got):\n%s", d)
			}
			if got := f.callsOf("s1-1", "s1-2"); got[0]+got[1] != 1 {
				t.Errorf("got %v calls, want one", got)
			}
		})
	}
}

func TestApplyGoesToAnotherProxy(t *testing.T) {
	for name, fail := range map[string]func(*shardProxy){
		"that is alive":           (*shardProxy).dies,
		"that is not overloaded":  func(s *shardProxy) { s.fails(wire.CodeOverloaded) },
		"that has a database":     func(s *shardProxy) { s.fails(wire.CodeUnavailable) },
		"that knows the new term": func(s *shardProxy) { s.fails(wire.CodeTermChanged) },
		"that knows the schema":   func(s *shardProxy) { s.fails(wire.CodeSchema) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t)
			fail(f.proxies["s1-1"])
			for range 4 {
				if _, err := f.apply("2", []byte("body")); err != nil {
					t.Fatalf("got %v, want the answer of the other proxy", err)
				}
			}
			if len(f.applied) != 4 {
				t.Errorf("got %d bodies applied, want 4", len(f.applied))
			}
		})
	}
}

func TestApplyFollowsTheTopology(t *testing.T) {
	f := newFleet(t)
	for _, id := range []string{"s1-1", "s1-2"} {
		f.proxies[id].set(func(s *shardProxy) {
			s.answer = func(string, []byte) (any, error) {
				f.move(1, "s2") // the news arrives while the request is under way
				return nil, wire.NewProblem(wire.CodeMisrouted, "not mine")
			}
		})
	}
	if _, err := f.apply("1", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if len(f.applied) != 1 || f.applied[0].shard != "s2" {
		t.Errorf("got %v, want the body at s2", f.applied)
	}
}

func TestClaim(t *testing.T) {
	f := newFleet(t)
	out := &wire.Checkpoint{}
	if err := f.post(t.Context(), wire.PathClaim, wire.ClaimRequest{Partition: 5, Owner: "w1", MinEpoch: 2}, out); err != nil {
		t.Fatal(err)
	}
	if out.Partition != 5 || out.Owner != "w1" || out.Epoch != 5 || out.Incarnation != "s2" {
		t.Errorf("got %+v, want s2's checkpoint of partition 5 for w1", out)
	}
	if p := problem(t, f.post(t.Context(), wire.PathClaim, map[string]any{"owner": "w1"}, out)); p.Field != "partition" {
		t.Errorf("got %v for a claim without partition, want its field named", p)
	}
}

func TestUnknownCluster(t *testing.T) {
	f := newFleet(t)
	f.snapshot.Store(nil)
	_, err := f.apply("1", []byte("body"))
	if p := problem(t, err); p.Code != wire.CodeUnavailable || p.RetryAfter <= 0 {
		t.Errorf("got %v, want unavailable with a time to retry", p)
	}
}

func TestNoProxyOfAShardLives(t *testing.T) {
	f := newFleet(t)
	f.only("s2-1", "s2-2")
	_, err := f.apply("1", []byte("body"))
	if p := problem(t, err); p.Code != wire.CodeUnavailable || !strings.Contains(p.Detail, "s1") || p.RetryAfter <= 0 {
		t.Errorf("got %v, want unavailable that names s1", p)
	}
	if _, err := f.apply("4", []byte("body")); err != nil {
		t.Errorf("got %v for the other shard, want its answer", err)
	}
}

// INV-9: beyond its bounds the proxy refuses and says when to come back.
func TestOverload(t *testing.T) {
	for name, bound := range map[string]func(*clusterproxy.Config){
		"requests": func(c *clusterproxy.Config) { c.MaxInFlight, c.CallerShare = 2, 100 },
		"bytes":    func(c *clusterproxy.Config) { c.MaxApplyBytes = wire.MaxApplyBytes },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, bound)
			release := f.proxies["s1-1"].hangs()
			defer release()
			releaseOther := f.proxies["s1-2"].hangs()
			defer releaseOther()
			body := bytes.Repeat([]byte{1}, wire.MaxApplyBytes/2)
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() {
					if _, err := f.apply("1", body); err != nil {
						t.Errorf("got %v for a request within the bound", err)
					}
				})
			}
			eventually(t, func() error {
				if got := f.callsOf("s1-1", "s1-2"); got[0]+got[1] != 2 {
					return fmt.Errorf("got %v calls at the shard", got)
				}
				return nil
			})
			_, err := f.apply("5", []byte("one more"))
			p := problem(t, err)
			if p.Code != wire.CodeOverloaded || p.Status != http.StatusTooManyRequests || p.RetryAfter <= 0 {
				t.Errorf("got %v with retry after %v, want overloaded", p, p.RetryAfter)
			}
			release()
			releaseOther()
			all.Wait()
			if _, err := f.apply("5", []byte("one more")); err != nil {
				t.Errorf("got %v once there was room", err)
			}
		})
	}
}

func eventually(t testing.TB, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A proxy that is busy gets no more while another is free.
func TestLeastBusyProxyFirst(t *testing.T) {
	f := newFleet(t)
	release := f.proxies["s1-1"].hangs()
	defer release()
	var all sync.WaitGroup
	defer all.Wait()
	eventually(t, func() error { // until one hangs at s1-1
		if f.callsOf("s1-1")[0] > 0 {
			return nil
		}
		all.Go(func() { _, _ = f.apply("1", []byte("slow")) })
		return fmt.Errorf("no call has reached s1-1")
	})
	for range 10 {
		if _, err := f.apply("1", []byte("quick")); err != nil {
			t.Error(err)
		}
	}
	if got := f.callsOf("s1-1")[0]; got != 1 {
		t.Errorf("the busy proxy got %d calls, want 1", got)
	}
	release()
}

func TestBreakerLeavesADeadProxyAlone(t *testing.T) {
	f := newFleet(t)
	f.proxies["s1-1"].dies()
	for range 20 {
		if _, err := f.apply("1", []byte("body")); err != nil {
			t.Fatal(err)
		}
	}
	metrics := f.metrics()
	if got := metrics[`quipu_cluster_proxy_breaker_state{proxy="`+f.proxies["s1-1"].server.URL+`"}`]; got != 2 {
		t.Errorf("the dead proxy's breaker is in state %v, want 2 (open)", got)
	}
	if got := metrics[`quipu_cluster_proxy_retries_total{code="unavailable"}`]; got != 3 {
		t.Errorf("got %v retries of 20 calls, want 3 until the breaker opened", got)
	}
	if got := metrics[`quipu_cluster_proxy_calls_total{call="apply",code="ok"}`]; got != 20 {
		t.Errorf("got %v calls counted, want 20", got)
	}
}

func (f *fleet) metrics() map[string]float64 {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			out[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

func TestDeadlineTravels(t *testing.T) {
	f := newFleet(t)
	f.only("s1-1", "s2-1")
	if _, err := f.statsWithin(4*time.Second, keyOn(0, 0)); err != nil {
		t.Fatal(err)
	}
	p := f.proxies["s1-1"]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.left) != 1 || p.left[0] <= 2*time.Second || p.left[0] > 4*time.Second {
		t.Errorf("the shard proxy was told %v to go, want what is left of 4s", p.left)
	}
}
