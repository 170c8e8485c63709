package reader_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
)

// desk stands for the cluster proxies as people use them.
type desk struct {
	killed string
	err    error
	sql    func(shard string, r *wire.SQLRequest) (io.ReadCloser, error)
}

func (d *desk) SQL(_ context.Context, shard string, r *wire.SQLRequest) (io.ReadCloser, error) {
	return d.sql(shard, r)
}

func (d *desk) Queries(_ context.Context, digests bool) (*wire.QueriesAnswer, error) {
	rows := int64(7)
	out := &wire.QueriesAnswer{
		Queries: []wire.RunningQuery{{
			ID: "s1~p~1", Shard: "s1", Database: "s1-b", Connection: 4, Class: "analyst", Caller: "ann", Began: now, Deadline: now.Add(time.Second),
			Seconds: 0.5, RowsExamined: &rows, Ending: "asked", Digest: "ab", Statement: "SELECT 1",
		}},
		Missing: []wire.MissingMember{{Shard: "s2", Proxy: "q", Code: wire.CodeUnavailable, Detail: "away"}},
	}
	if digests {
		out.Digests = []wire.QueryDigest{{ID: "ab", Shard: "s1", Proxy: "p", Class: "point", Text: "SELECT ?", Count: 2, Last: now}}
	}
	return out, d.err
}

func (d *desk) KillQuery(_ context.Context, id string) (*wire.QueryKilled, error) {
	d.killed = id
	return &wire.QueryKilled{ID: id}, d.err
}

func TestQueriesAreListedAndKilled(t *testing.T) {
	d := &desk{}
	r := newRig(t, func(c *reader.Config) { c.Desk = d })
	for target, digests := range map[string]int{"/v1/queries": 0, "/v1/queries?digests=true": 1} {
		got := r.get(t, target).fields(t)
		list, _ := got["digests"].([]any)
		if len(got["queries"].([]any)) != 1 || len(got["missing"].([]any)) != 1 || len(list) != digests {
			t.Errorf("%s: got %v", target, got)
		}
	}
	const id = "s1~shard-proxy-127.0.0.1:8084~ab-1"
	if got := r.do(t, httptest.NewRequest(http.MethodDelete, "/v1/queries/"+id, nil)); got.Status != http.StatusOK || d.killed != id {
		t.Errorf("got status %d, killed %q", got.Status, d.killed)
	}
	for code, status := range map[wire.Code]int{
		wire.CodeNotFound: 404, wire.CodeConflict: 409, wire.CodeBadRequest: 400, wire.CodeUnavailable: 503, wire.CodeOverloaded: 429, wire.CodeDeadline: 504,
		wire.CodeMisrouted: 503, wire.CodeFenced: 500,
	} {
		d.err = wire.NewProblem(code, "because")
		if got := r.do(t, httptest.NewRequest(http.MethodDelete, "/v1/queries/"+id, nil)); got.Status != status {
			t.Errorf("%s: got status %d, want %d", code, got.Status, status)
		}
	}
}

func TestNoDeskIsTold(t *testing.T) {
	r := newRig(t, nil)
	if got := r.get(t, "/v1/queries"); got.Status != http.StatusServiceUnavailable {
		t.Errorf("got status %d", got.Status)
	}
}
