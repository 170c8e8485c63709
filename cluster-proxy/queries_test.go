package clusterproxy_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/wire"
)

// Every shard proxy is asked for itself; those that can't be are told, and so are shards without any.
func TestQueriesOfAllShardProxies(t *testing.T) {
	f := newFleet(t)
	for id, p := range f.proxies {
		p.set(func(p *shardProxy) {
			p.answer = func(path string, _ []byte) (any, error) {
				return wire.QueriesAnswer{Queries: []wire.RunningQuery{{ID: p.shard + "~" + id + "~1", Shard: p.shard, Began: time.UnixMilli(int64(len(path)))}}}, nil
			}
		})
	}
	f.proxies["s2-1"].fails(wire.CodeUnavailable)
	s := *f.snapshot.Load()
	s.Topology.Shards = append(s.Topology.Shards, s.Topology.Shards[0])
	s.Topology.Shards[2].ID = "s3"
	f.snapshot.Store(&s)
	var got wire.QueriesAnswer
	if err := f.client.JSON(t.Context(), http.MethodGet, f.url+wire.PathQueries, nil, &got); err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, q := range got.Queries {
		ids = append(ids, q.ID)
	}
	if diff := cmp.Diff([]string{"s1~s1-1~1", "s1~s1-2~1", "s2~s2-2~1"}, ids); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
	want := []wire.MissingMember{
		{Shard: "s2", Proxy: "s2-1", Code: wire.CodeUnavailable, Detail: "as told"}, {Shard: "s3", Code: wire.CodeUnavailable, Detail: "no shard proxy is registered"},
	}
	if diff := cmp.Diff(want, got.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// A kill goes to the proxy that the id names, and to no other.
func TestKillGoesToItsProxy(t *testing.T) {
	f := newFleet(t)
	for _, p := range f.proxies {
		p.set(func(p *shardProxy) {
			p.answer = func(path string, _ []byte) (any, error) {
				return wire.QueryKilled{ID: strings.TrimPrefix(path, wire.PathQueries+"/")}, nil
			}
		})
	}
	kill := func(id string) error {
		return f.client.JSON(t.Context(), http.MethodDelete, f.url+wire.PathQueries+"/"+id, nil, nil)
	}
	if err := kill("s2~s2-1~abc-1"); err != nil {
		t.Error(err)
	}
	for id, p := range f.proxies {
		if got := p.calls.Load(); got != 0 && id != "s2-1" || got != 1 && id == "s2-1" {
			t.Errorf("%s was called %d times", id, got)
		}
	}
	for id, want := range map[string]wire.Code{"s1~s2-1~1": wire.CodeNotFound, "s9~x~1": wire.CodeNotFound, "x": wire.CodeBadRequest} {
		if err := kill(id); wire.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %s", id, err, want)
		}
	}
	f.proxies["s1-1"].fails(wire.CodeConflict)
	if err := kill("s1~s1-1~1"); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("got %v, want %s", err, wire.CodeConflict)
	}
}

// An answer to SQL comes through as it comes into being, from another proxy if the first fails, and only before it has begun.
func TestSQLIsPassedOn(t *testing.T) {
	f := newFleet(t)
	for _, p := range f.proxies {
		p.set(func(p *shardProxy) {
			p.answer = func(_ string, body []byte) (any, error) {
				return map[string]string{"asked": string(body), "of": p.shard}, nil
			}
		})
	}
	ask := func(shard string) (string, error) {
		body, _, err := f.client.Stream(t.Context(), http.MethodPost, f.url+wire.PathSQL+"?shard="+shard, wire.SQLRequest{SQL: "SELECT ?", Params: []any{1.5}, MaxRows: 3, MaxBytes: 4})
		if err != nil {
			return "", err
		}
		defer body.Close()
		out, err := io.ReadAll(body)
		return string(out), err
	}
	want := `{"asked":"{\"sql\":\"SELECT ?\",\"params\":[1.5],\"max_rows\":3,\"max_bytes\":4}","of":"s2"}` + "\n"
	if got, err := ask("s2"); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	f.proxies["s1-1"].fails(wire.CodeUnavailable)
	for range 4 {
		if got, err := ask("s1"); err != nil || !strings.Contains(got, `"of":"s1"`) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	f.proxies["s2-1"].fails(wire.CodeBadRequest)
	f.proxies["s2-2"].fails(wire.CodeBadRequest)
	if _, err := ask("s2"); wire.CodeOf(err) != wire.CodeBadRequest {
		t.Errorf("got %v", err)
	}
	if _, err := ask("s9"); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("got %v", err)
	}
}

// A statement that took too long, or was killed, is not run again elsewhere.
func TestSQLThatRanIsNotRunAgain(t *testing.T) {
	f := newFleet(t)
	f.proxies["s1-1"].fails(wire.CodeDeadline)
	f.proxies["s1-2"].fails(wire.CodeDeadline)
	_, _, err := f.client.Stream(t.Context(), http.MethodPost, f.url+wire.PathSQL+"?shard=s1", wire.SQLRequest{SQL: "SELECT 1"})
	if wire.CodeOf(err) != wire.CodeDeadline || !strings.Contains(err.Error(), "shard s1: as told") {
		t.Errorf("got %v", err)
	}
	if got := f.proxies["s1-1"].calls.Load() + f.proxies["s1-2"].calls.Load(); got != 1 {
		t.Errorf("it ran %d times", got)
	}
}

// Who goes away takes the call to the shard proxy along.
func TestSQLIsCancelled(t *testing.T) {
	f := newFleet(t)
	for _, p := range f.proxies {
		defer p.hangs()()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := f.client.Stream(ctx, http.MethodPost, f.url+wire.PathSQL+"?shard=s1", wire.SQLRequest{SQL: "SELECT 1"})
		ended <- err
	}()
	deadline := time.Now().Add(patience)
	for f.proxies["s1-1"].calls.Load()+f.proxies["s1-2"].calls.Load() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no shard proxy was called")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a cancelled call ended well")
	}
}
