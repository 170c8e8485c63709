package reader_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

func TestFailuresOfTheProxies(t *testing.T) {
	r := newRig(t, nil)
	cases := []struct {
		fail   error
		status int
		code   wire.Code
		after  string
	}{
		{wire.NewProblem(wire.CodeUnavailable, "10.1.2.3"), 503, wire.CodeUnavailable, "1"},
		{wire.NewProblem(wire.CodeTermChanged, "10.1.2.3"), 503, wire.CodeUnavailable, "1"},
		{wire.NewProblem(wire.CodeMisrouted, "10.1.2.3"), 503, wire.CodeUnavailable, "1"},
		{wire.NewProblem(wire.CodeSchema, "10.1.2.3"), 503, wire.CodeUnavailable, "1"},
		{wire.NewProblem(wire.CodeOverloaded, "10.1.2.3").WithRetryAfter(7 * time.Second), 429, wire.CodeOverloaded, "7"},
		{wire.NewProblem(wire.CodeDeadline, "10.1.2.3"), 504, wire.CodeDeadline, "1"},
		{wire.NewProblem(wire.CodeTooLarge, "too many objects"), 422, wire.CodeUnprocessable, ""},
		{wire.NewProblem(wire.CodeForbidden, "10.1.2.3"), 500, wire.CodeInternal, ""},
		{errors.New("10.1.2.3"), 500, wire.CodeInternal, ""},
	}
	for _, c := range cases {
		for _, target := range []string{"/v1/stats?type=view&key=v1", "/v1/top?type=view", "/v1/keys/view/v1"} {
			t.Run(c.fail.Error()+target, func(t *testing.T) {
				r.set(func(l *ledger) { l.fail = c.fail })
				got := r.get(t, target)
				wantProblem(t, got, c.status, c.code, "", "")
				if after := got.Header.Get("Retry-After"); after != c.after {
					t.Errorf("got Retry-After %q, want %q", after, c.after)
				}
				if strings.Contains(string(got.Body), "10.1.2.3") {
					t.Errorf("problem tells what is behind: %s", got.Body)
				}
			})
		}
	}
}

func TestMissingPartitionIsNoZero(t *testing.T) { // INV-8
	r := newRig(t, nil)
	gone := lost("s2")
	r.set(func(l *ledger) { l.missing = map[string]wire.Code{"s2": wire.CodeUnavailable} })
	for _, query := range []string{"", "&from=2026-01-31T17:00:00Z&step=hour"} {
		wantProblem(t, r.get(t, "/v1/stats?type=view&key="+gone+query), 503, wire.CodeUnavailable, "", "of shard s2")
	}
	if got := r.get(t, "/v1/stats?type=view&key="+lost("s1")); got.Status != 200 {
		t.Errorf("got status %d for a key of the other shard, want 200", got.Status)
	}
}

// What can't be the answer to the question is an error, and no value.
func TestAnswersThatDoNotFitTheQuestion(t *testing.T) {
	hour := now.Unix() / 3600 * 60
	for name, starts := range map[string][]int64{
		"before the range": {hour - 60}, "after the range": {hour + 60}, "not aligned": {hour + 1}, "descending": {hour, hour - 60}, "twice": {hour, hour},
	} {
		t.Run(name, func(t *testing.T) {
			c := cannedStats(0)
			for _, start := range starts {
				c.answer.Keys[0].Points = append(c.answer.Keys[0].Points, wire.Point{Start: start, Count: 1})
			}
			r := rigOf(t, &c.ledger, c, nil, nil)
			wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1&from=2026-01-31T17:00:00Z&step=hour"), 500, wire.CodeInternal, "", "not those of the question")
		})
	}
	c := cannedStats(0)
	r := rigOf(t, &c.ledger, c, nil, nil)
	wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1"), 500, wire.CodeInternal, "", "not those of the question")
}

// stuck never answers.
type stuck struct{ *ledger }

func (s stuck) Stats(ctx context.Context, _ *wire.StatsRequest) (*wire.StatsAnswer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestQuestionsHaveADeadline(t *testing.T) { // INV-9
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		r := rigOf(t, l, stuck{l}, nil, func(c *reader.Config) { c.Limits.Timeout = 3 * time.Second })
		begin := time.Now()
		wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1"), 504, wire.CodeDeadline, "", "in time")
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("got an answer after %v, want 3s", took)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) { // INV-9
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		r := rigOf(t, l, stuck{l}, nil, func(c *reader.Config) { c.Limits.Questions = 2 })
		replies := make(chan reply, 2)
		for range 2 {
			go func() { replies <- r.get(t, "/v1/stats?type=view&key=v1") }()
		}
		synctest.Wait()
		for _, target := range []string{"/v1/stats?type=view&key=v1", "/v1/top?type=view", "/v1/keys/view/v1"} {
			got := r.get(t, target)
			wantProblem(t, got, 429, wire.CodeOverloaded, "", "2 questions are in flight")
		}
		<-replies
		<-replies
		if got := r.get(t, "/v1/top?type=view"); got.Status != 200 {
			t.Errorf("got status %d after the others ended, want 200", got.Status)
		}
	})
}

func TestTokens(t *testing.T) {
	v, err := auth.New([]auth.Token{
		{Name: "reads", Scopes: []auth.Scope{auth.Read}, SHA256: auth.Hash("r")},
		{Name: "writes", Scopes: []auth.Scope{auth.Write}, SHA256: auth.Hash("w")},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{}
	r := rigOf(t, l, l, v, nil)
	request := func(target, token string) reply {
		req := httptest.NewRequest(http.MethodGet, target, nil)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return r.do(t, req)
	}
	for _, target := range []string{"/v1/stats?type=view&key=v1", "/v1/top?type=view", "/v1/keys/view/v1", "/v1/event-types"} {
		wantProblem(t, request(target, ""), 401, wire.CodeUnauthorized, "", "send a token")
		wantProblem(t, request(target, "x"), 401, wire.CodeUnauthorized, "", "unknown token")
		wantProblem(t, request(target, "w"), 403, wire.CodeForbidden, "", "scope")
		if got := request(target, "r"); got.Status != 200 {
			t.Errorf("%s: got status %d with a token that reads, want 200", target, got.Status)
		}
	}
	wantProblem(t, r.post(t, "/v1/stats:batch", `{}`), 401, wire.CodeUnauthorized, "", "send a token")
	for _, open := range []string{"/", "/openapi.json", "/healthz"} {
		if got := request(open, ""); got.Status != 200 {
			t.Errorf("%s: got status %d without a token, want 200", open, got.Status)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	r := newRig(t, nil)
	for _, target := range []string{"/v1/stats?type=view&key=v1", "/v1/top?type=view", "/v1/keys/view/v1", "/v1/event-types", "/openapi.json", "/"} {
		recorder := httptest.NewRecorder()
		r.echo.ServeHTTP(recorder, httptest.NewRequest(http.MethodHead, target, nil))
		if recorder.Code != 200 {
			t.Errorf("HEAD %s: got status %d, want 200", target, recorder.Code)
		}
		wantProblem(t, r.do(t, httptest.NewRequest(http.MethodDelete, target, nil)), 405, wire.CodeMethod, "", "")
	}
	wantProblem(t, r.get(t, "/v1/stats:batch"), 405, wire.CodeMethod, "", "")
	wantProblem(t, r.post(t, "/v1/statsx", "{}"), 404, wire.CodeNotFound, "", "")
	wantProblem(t, r.get(t, "/v2/stats"), 404, wire.CodeNotFound, "", "")
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.add(event.Event{Type: "view", Key: "v1", TimeMs: at(17, 0, 0)})
	r.get(t, "/v1/stats?type=view&key=v1")
	r.get(t, "/v1/stats?type=view")
	r.get(t, "/v1/stats?type=view&key=v1&from=2026-01-31T16:00:00Z&to=2026-01-31T17:00:00Z&step=minute")
	got := string(r.get(t, "/metrics").Body)
	for _, line := range []string{
		`quipu_reader_answers_total{call="stats",code="bad_request"} 1`,
		`quipu_reader_answers_total{call="stats",code="ok"} 2`,
		`quipu_reader_points_total 61`,
		`quipu_reader_keys_total 2`,
		`quipu_reader_questions_in_flight 0`,
		`quipu_reader_answer_age_seconds_count 2`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("metrics lack %q", line)
		}
	}
}
