package clusterproxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/quipudb/quipu/cluster"
	clusterproxy "github.com/quipudb/quipu/cluster-proxy"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/httpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// shardProxy is a server that stands for a shard proxy. A test sets how it behaves.
type shardProxy struct {
	shard  string
	server *httptest.Server
	calls  atomic.Int32

	mu     sync.Mutex
	answer func(path string, body []byte) (any, error) // by default its fleet's
	hang   chan struct{}                               // if not nil, requests wait until it is closed or their caller goes
	left   []time.Duration                             // deadlines that requests brought
	from   []wire.Origin                               // on whose behalf they came
}

func (s *shardProxy) set(change func(*shardProxy)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// fails makes every answer a problem.
func (s *shardProxy) fails(code wire.Code) {
	s.set(func(s *shardProxy) {
		s.answer = func(string, []byte) (any, error) {
			return nil, wire.NewProblem(code, "as told").WithRetryAfter(7 * time.Second)
		}
	})
}

// hangs makes requests wait until the returned function is called.
func (s *shardProxy) hangs() (release func()) {
	gate := make(chan struct{})
	s.set(func(s *shardProxy) { s.hang = gate })
	return sync.OnceFunc(func() {
		s.set(func(s *shardProxy) { s.hang = nil })
		close(gate)
	})
}

// dies refuses further connections and cuts those there are.
func (s *shardProxy) dies() {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *shardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	answer, hang := s.answer, s.hang
	if ms, err := time.ParseDuration(r.Header.Get(wire.HeaderDeadline) + "ms"); err == nil {
		s.left = append(s.left, ms)
	}
	s.from = append(s.from, wire.OriginOfHeader(r.Header))
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	out, err := answer(r.URL.Path, body)
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		w.Header().Set("Content-Type", wire.ProblemType)
		if p.RetryAfter > 0 {
			w.Header().Set("Retry-After", "7")
		}
		w.WriteHeader(p.Status)
		json.NewEncoder(w).Encode(p)
		return
	}
	if lines, ok := out.([]byte); ok {
		w.Header().Set("Content-Type", wire.LinesType)
		_, _ = w.Write(lines)
		return
	}
	w.Header().Set("Content-Type", wire.JSONType)
	json.NewEncoder(w).Encode(out)
}

// fleet is a cluster proxy before two shards of two shard proxies each, all over HTTP.
type fleet struct {
	t        testing.TB
	snapshot atomic.Pointer[cluster.Snapshot]
	proxies  map[string]*shardProxy // "s1-1" …
	client   *wire.Client
	url      string
	registry *prometheus.Registry
	asOf     map[string]int64 // by shard

	mu      sync.Mutex
	applied []applied
}

type applied struct {
	shard string
	body  string
}

const partitions = 8

// newFleet has partitions 0–3 on s1 and 4–7 on s2.
func newFleet(t testing.TB, change ...func(*clusterproxy.Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, proxies: map[string]*shardProxy{}, asOf: map[string]int64{"s1": 1000, "s2": 2000}, registry: prometheus.NewRegistry()}
	s := &cluster.Snapshot{
		Settings: cluster.Settings{ClusterID: "c", Partitions: partitions},
		Topology: cluster.Topology{Partitions: []string{"s1", "s1", "s1", "s1", "s2", "s2", "s2", "s2"}},
		Members:  map[cluster.Role][]cluster.Member{}, Version: 1,
	}
	for _, shard := range []string{"s1", "s2"} {
		s.Topology.Shards = append(s.Topology.Shards, cluster.Shard{ID: shard, Databases: []cluster.Database{
			{ID: shard + "-a", Address: "x:1", Role: cluster.Primary}, {ID: shard + "-b", Address: "x:2", Role: cluster.Replica},
		}})
		for _, id := range []string{shard + "-1", shard + "-2"} {
			p := f.startShardProxy(shard)
			f.proxies[id] = p
			s.Members[cluster.RoleShardProxy] = append(s.Members[cluster.RoleShardProxy],
				cluster.Member{ID: id, Role: cluster.RoleShardProxy, URL: p.server.URL, Shard: shard})
		}
	}
	f.snapshot.Store(s)
	f.serve(change...)
	return f
}

func (f *fleet) startShardProxy(shard string) *shardProxy {
	p := &shardProxy{shard: shard}
	p.answer = func(path string, body []byte) (any, error) { return f.answer(shard, path, body) }
	p.server = httptest.NewServer(p)
	f.t.Cleanup(p.server.Close)
	return p
}

// serve starts the cluster proxy in its real server.
func (f *fleet) serve(change ...func(*clusterproxy.Config)) {
	f.t.Helper()
	toShards := wire.NewClient(wire.ClientConfig{Timeout: patience})
	cfg := clusterproxy.Config{Snapshot: f.snapshot.Load, Client: toShards, Registerer: f.registry}
	for _, c := range change {
		c(&cfg)
	}
	server, err := httpserver.New(httpserver.Config{Role: "cluster_proxy", Address: "127.0.0.1:0", MaxBody: wire.MaxApplyBytes})
	if err != nil {
		f.t.Fatal(err)
	}
	clusterproxy.New(cfg).Register(server.Echo(), nil)
	front := httptest.NewServer(server.Echo())
	f.client, f.url = wire.NewClient(wire.ClientConfig{Timeout: patience}), front.URL
	f.t.Cleanup(func() {
		f.client.Close()
		front.Close()
		toShards.Close()
	})
}

// only keeps the given shard proxies alive.
func (f *fleet) only(ids ...string) {
	s := *f.snapshot.Load()
	var live []cluster.Member
	for _, m := range s.Members[cluster.RoleShardProxy] {
		if strings.Contains(strings.Join(ids, " "), m.ID) {
			live = append(live, m)
		}
	}
	s.Members = map[cluster.Role][]cluster.Member{cluster.RoleShardProxy: live}
	s.Version++
	f.snapshot.Store(&s)
}

// move gives a partition to another shard.
func (f *fleet) move(partition int, shard string) {
	s := *f.snapshot.Load()
	s.Topology.Partitions = append([]string{}, s.Topology.Partitions...)
	s.Topology.Partitions[partition] = shard
	s.Version++
	f.snapshot.Store(&s)
}

// keyOn returns the i-th key of type view whose partition is the given one.
func keyOn(partition, i int) string {
	for n := 0; ; n++ {
		key := "video-" + string(rune('a'+n%26)) + "-" + time.Duration(n).String()
		if cluster.Partition("view", key, partitions) != partition {
			continue
		}
		if i == 0 {
			return key
		}
		i--
	}
}

// countOf is what the fleet has counted of a key.
func countOf(key string) int64 { return int64(cluster.KeyHash("count", key) % 1000) }

// answer is what a shard says: every key exists, with a count made from its name.
func (f *fleet) answer(shard, path string, body []byte) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch path {
	case wire.PathApply:
		f.applied = append(f.applied, applied{shard, string(body)})
		return wire.ApplyAnswer{NextOffset: 7, Rows: 3}, nil
	case wire.PathClaim:
		r := read[wire.ClaimRequest](body)
		return wire.Checkpoint{Partition: r.Partition, Epoch: 5, Owner: r.Owner, Incarnation: shard}, nil
	case wire.PathStats:
		return f.stats(shard, read[wire.StatsRequest](body)), nil
	case wire.PathKept:
		return f.kept(shard, body), nil
	case wire.PathTop:
		return f.top(shard, read[wire.TopRequest](body)), nil
	case wire.PathKeyInfo:
		return wire.KeyInfo{Known: true, Title: "on " + shard, Provenance: f.provenance(shard, 1)}, nil
	case wire.PathKeysImport:
		return wire.KeysImported{Created: len(read[wire.KeysImport](body).Keys), Updated: 100}, nil
	case wire.PathCheckpoints:
		return f.checkpoints(shard), nil
	}
	return nil, wire.NewProblem(wire.CodeNotFound, "no such path %s", path)
}

func read[T any](body []byte) T {
	var out T
	if err := json.Unmarshal(body, &out); err != nil {
		panic(err)
	}
	return out
}

func (f *fleet) provenance(shard string, partitions int) wire.Provenance {
	return wire.Provenance{
		AsOf: f.asOf[shard], Stale: shard == "s2", Coverage: wire.Coverage{Partitions: partitions, Answered: partitions},
		Sources: []wire.Source{{Shard: shard, Database: shard + "-b", Role: "replica", Resolution: "minute", AsOf: f.asOf[shard]}},
	}
}

func (f *fleet) stats(shard string, r wire.StatsRequest) *wire.StatsAnswer {
	out := &wire.StatsAnswer{Provenance: f.provenance(shard, len(r.Keys))}
	for i, key := range r.Keys {
		stats := wire.KeyStats{Key: key, Known: true, Validator: "of " + key}
		if i < len(r.Validators) && r.Validators[i] == stats.Validator {
			stats.Unchanged = true
		} else {
			stats.Points = []wire.Point{{Start: r.From, Count: countOf(key)}}
		}
		out.Keys = append(out.Keys, stats)
	}
	return out
}

// kept answers every other question.
func (f *fleet) kept(shard string, body []byte) []byte {
	var out []byte
	for i, line := range bytes.Split(bytes.TrimSpace(body), []byte("\n")) {
		answer := []byte("null")
		if i%2 == 0 {
			answer, _ = json.Marshal(f.stats(shard, read[wire.StatsRequest](line)))
		}
		out = append(append(out, answer...), '\n')
	}
	return out
}

func (f *fleet) top(shard string, r wire.TopRequest) *wire.TopAnswer {
	s := f.snapshot.Load()
	out := &wire.TopAnswer{Exact: true, Provenance: f.provenance(shard, len(s.Topology.PartitionsOf(shard)))}
	for _, partition := range s.Topology.PartitionsOf(shard) {
		for i := range 3 {
			key := keyOn(partition, i)
			out.Entries = append(out.Entries, wire.TopEntry{Key: key, Point: wire.Point{Start: r.From, Count: countOf(key)}})
		}
	}
	return out
}

func (f *fleet) checkpoints(shard string) *wire.CheckpointsAnswer {
	out := &wire.CheckpointsAnswer{}
	for _, partition := range f.snapshot.Load().Topology.PartitionsOf(shard) {
		for _, database := range []string{shard + "-a", shard + "-b"} {
			out.Checkpoints = append(out.Checkpoints, wire.Checkpoint{Partition: partition, NextOffset: 9, Database: database})
		}
	}
	return out
}

// callsOf is how often each of the given shard proxies was called.
func (f *fleet) callsOf(ids ...string) []int {
	var out []int
	for _, id := range ids {
		out = append(out, int(f.proxies[id].calls.Load()))
	}
	return out
}

func (f *fleet) post(ctx context.Context, path string, in, out any) error {
	return f.client.JSON(ctx, http.MethodPost, f.url+path, in, out)
}

func (f *fleet) statsOf(keys ...string) (*wire.StatsAnswer, error) {
	return f.statsWithin(patience, keys...)
}

func (f *fleet) statsWithin(d time.Duration, keys ...string) (*wire.StatsAnswer, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	out := &wire.StatsAnswer{}
	return out, f.post(ctx, wire.PathStats, wire.StatsRequest{Type: "view", Keys: keys, From: 0, To: 60}, out)
}

func (f *fleet) apply(partition string, body []byte) (*wire.Reply, error) {
	return f.client.Bytes(f.t.Context(), http.MethodPost, f.url+wire.PathApply+"?partition="+partition, wire.ApplyType, body)
}

// problem returns the problem in an error.
func problem(t testing.TB, err error) *wire.Problem {
	t.Helper()
	p, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		t.Fatalf("got error %v, want a problem", err)
	}
	return p
}

func newServer(t testing.TB, h http.Handler) (url string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
