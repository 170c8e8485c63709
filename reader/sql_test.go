package reader_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// shardAnswer is what a shard says: its columns, rows of it, and an end unless it breaks off.
func shardAnswer(shard string, rows []string, last string) string {
	out := `{"columns":[{"name":"k","type":"VARCHAR"},{"name":"n","type":"BIGINT"}]}` + "\n"
	for _, row := range rows {
		out += `{"row":` + row + "}\n"
	}
	if last == "" {
		last = `{"end":{"rows":1,"bytes":1,"seconds":0.1,"sources":[{"shard":"` + shard + `","database":"` + shard + `-b","role":"replica","as_of_ms":1700000000000,"stale":false}]}}`
	}
	return out + last + "\n"
}

// sqlRig is a reader before two shards that answer with what is given by shard.
func sqlRig(t *testing.T, answers map[string]string) (*rig, *[]wire.SQLRequest) {
	t.Helper()
	asked := &[]wire.SQLRequest{}
	d := &desk{sql: func(shard string, r *wire.SQLRequest) (io.ReadCloser, error) {
		*asked = append(*asked, *r)
		answer, ok := answers[shard]
		if !ok {
			return nil, wire.NewProblem(wire.CodeNotFound, "there is no shard %q", shard)
		}
		if code, failed := strings.CutPrefix(answer, "!"); failed {
			return nil, wire.NewProblem(wire.Code(code), "because").WithField("sql")
		}
		return io.NopCloser(strings.NewReader(answer)), nil
	}}
	return newRig(t, func(c *reader.Config) { c.Desk, c.Shards = d, func() []string { return []string{"s1", "s2"} } }), asked
}

func TestSQLInEveryFormat(t *testing.T) {
	r, asked := sqlRig(t, map[string]string{
		"s1": shardAnswer("s1", []string{`["a,b",1]`, `[null,12345678901234567890]`}, ""), "s2": shardAnswer("s2", []string{`["c\nd",-3]`}, ""),
	})
	for name, test := range map[string]struct{ body, mediaType, want string }{
		"one shard": {`{"sql":"SELECT 1","params":["x",1.50,null],"shard":"s2","max_rows":7}`, "application/x-ndjson", `{"columns":[{"name":"k","type":"VARCHAR"},{"name":"n","type":"BIGINT"}]}
{"row":["c\nd",-3]}
{"end":{"rows":1,"bytes":20,"truncated":null,"seconds":0,"sources":[{"shard":"s2","database":"s2-b","role":"replica","as_of":"2023-11-14T22:13:20.000Z","stale":false}]}}
`},
		"each shard": {`{"sql":"SELECT 1"}`, "application/x-ndjson", `{"columns":[{"name":"shard","type":"VARCHAR"},{"name":"k","type":"VARCHAR"},{"name":"n","type":"BIGINT"}]}
{"row":["s1","a,b",1]}
{"row":["s1",null,12345678901234567890]}
{"row":["s2","c\nd",-3]}
{"end":{"rows":3,"bytes":89,"truncated":null,"seconds":0,"sources":[{"shard":"s1","database":"s1-b","role":"replica","as_of":"2023-11-14T22:13:20.000Z","stale":false},{"shard":"s2","database":"s2-b","role":"replica","as_of":"2023-11-14T22:13:20.000Z","stale":false}]}}
`},
		"CSV":           {`{"sql":"SELECT 1","format":"csv"}`, "text/csv; charset=utf-8", "shard,k,n\ns1,\"a,b\",1\ns1,,12345678901234567890\ns2,\"c\nd\",-3\n"},
		"CSV, cut":      {`{"sql":"SELECT 1","format":"csv","max_rows":1}`, "text/csv; charset=utf-8", "shard,k,n\ns1,\"a,b\",1\n# truncated: rows\n"},
		"CSV, by bytes": {`{"sql":"SELECT 1","format":"csv","max_bytes":40,"shard":"s1"}`, "text/csv; charset=utf-8", "k,n\n\"a,b\",1\n# truncated: bytes\n"},
		"table": {`{"sql":"SELECT 1","format":"table","shard":"s1"}`, "text/plain; charset=utf-8", `k                        n
----  --------------------
a,b                      1
NULL  12345678901234567890
(2 rows, 0.000 s; s1: s1-b as of 2023-11-14T22:13:20.000Z)
`},
		"table, cut at the end of a shard": {`{"sql":"SELECT 1","format":"table","max_rows":2}`, "text/plain; charset=utf-8", `shard  k                        n
-----  ----  --------------------
s1     a,b                      1
s1     NULL  12345678901234567890
(2 rows, 0.000 s; s1: s1-b as of 2023-11-14T22:13:20.000Z)
(truncated: there is more, but the bound of rows was reached)
`},
	} {
		got := r.post(t, "/v1/sql", test.body)
		if got.Status != http.StatusOK || got.Header.Get("Content-Type") != test.mediaType {
			t.Errorf("%s: got status %d, %s: %s", name, got.Status, got.Header.Get("Content-Type"), got.Body)
		}
		if diff := cmp.Diff(test.want, timeless(string(got.Body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, request := range *asked {
		if len(request.Params) == 3 && (request.Params[1] != json.Number("1.50") || request.MaxRows != 7) {
			t.Errorf("asked for %+v", request)
		}
	}
}

// timeless takes the durations out of an answer.
func timeless(body string) string {
	out := ""
	for line := range strings.Lines(body) {
		if before, rest, ok := strings.Cut(line, `"seconds":`); ok {
			_, after, _ := strings.Cut(rest, ",")
			line = before + `"seconds":0,` + after
		}
		if before, rest, ok := strings.Cut(line, " rows, "); ok && strings.HasPrefix(line, "(") {
			_, after, _ := strings.Cut(rest, " s")
			line = before + " rows, 0.000 s" + after
		}
		out += line
	}
	return out
}

// Every record is as the document describes it, and one that is cut off is told: by a record of error, or in the other formats by a connection that breaks off.
func TestSQLThatFailsOnTheWay(t *testing.T) {
	problem := `{"error":{"type":"https://quipu.dev/problems/deadline","title":"Gateway Timeout","status":504,"code":"deadline","detail":"took too long"}}`
	answers := map[string]string{"s1": shardAnswer("s1", []string{`["a",1]`}, "")}
	r, _ := sqlRig(t, answers)
	server := httptest.NewServer(r.echo)
	defer server.Close()
	for name, second := range map[string]string{
		"error": shardAnswer("s2", []string{`["b",2]`}, problem), "cut off": shardAnswer("s2", []string{`["b",2]`}, `{"row":["c"`), "refused": "!unavailable",
		"other columns": `{"columns":[{"name":"x","type":"INT"}]}` + "\n", "no JSON": "nonsense\n", "nothing": "",
	} {
		answers["s2"] = second
		got := r.post(t, "/v1/sql", `{"sql":"SELECT 1"}`)
		lines := strings.Split(strings.TrimSpace(string(got.Body)), "\n")
		var last wire.SQLRecord
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Error == nil || last.Error.Detail == "" || got.Status != http.StatusOK {
			t.Errorf("%s: got status %d, last record %s (%v)", name, got.Status, lines[len(lines)-1], err)
		}
		for _, line := range lines {
			checkRecord(t, r.document, line)
		}
		for _, format := range []string{"csv", "table"} {
			resp, err := http.Post(server.URL+"/v1/sql", "application/json", strings.NewReader(`{"sql":"SELECT 1","format":"`+format+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(string(body), "failed: ") {
				t.Errorf("%s, %s: the answer ended with %v: %q", name, format, err, body)
			}
		}
	}
}

func checkRecord(t *testing.T, document *openapi3.T, line string) {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(line), &value); err != nil {
		t.Fatal(err)
	}
	if err := document.Components.Schemas["SQLRecord"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("the document does not describe %s: %v", line, err)
	}
}

// A database tells columns long before rows: what fails in between is a problem as well.
func TestSQLThatFailsBeforeItsFirstRow(t *testing.T) {
	r, _ := sqlRig(t, map[string]string{"s1": shardAnswer("s1", nil, `{"error":{"status":504,"code":"deadline","detail":"somebody killed it"}}`)})
	got := r.post(t, "/v1/sql", `{"sql":"SELECT 1","shard":"s1","format":"table"}`)
	if got.Status != http.StatusGatewayTimeout || !strings.Contains(string(got.Body), "somebody killed it") {
		t.Errorf("got status %d: %s", got.Status, got.Body)
	}
}

// What fails before the answer began is a problem with its status.
func TestSQLThatIsRefused(t *testing.T) {
	r, _ := sqlRig(t, map[string]string{"s1": "!bad_request", "s2": "!overloaded"})
	for body, want := range map[string]struct {
		status int
		field  string
	}{
		`{"sql":"SELECT","shard":"s1"}`:             {400, "sql"},
		`{"sql":"SELECT 1","shard":"s2"}`:           {429, ""},
		`{"sql":"SELECT 1","shard":"s9"}`:           {404, ""},
		`{"sql":" "}`:                               {400, "sql"},
		`{}`:                                        {400, "sql"},
		`{"sql":"SELECT 1","format":"xml"}`:         {400, "format"},
		`{"sql":"SELECT 1","max_rows":-1}`:          {400, "max_rows"},
		`{"sql":"SELECT 1","max_rows":1000001}`:     {400, "max_rows"},
		`{"sql":"SELECT 1","max_bytes":1000000000}`: {400, "max_bytes"},
		`{"sql":"SELECT 1","timeout":"1 day"}`:      {400, "timeout"},
		`{"sql":"SELECT 1","timeout":"1h"}`:         {400, "timeout"},
		`{"sql":"SELECT 1","limit":5}`:              {400, ""},
		`{"sql":"SELECT 1"} {"sql":"SELECT 2"}`:     {400, ""},
		`SELECT 1`:                                  {400, ""},
	} {
		got := r.post(t, "/v1/sql", body)
		var problem wire.Problem
		if err := json.Unmarshal(got.Body, &problem); err != nil || got.Status != want.status || problem.Field != want.field {
			t.Errorf("%s: got status %d, %s", body, got.Status, got.Body)
		}
	}
	if got := newRig(t, nil).post(t, "/v1/sql", `{"sql":"SELECT 1"}`); got.Status != http.StatusServiceUnavailable {
		t.Errorf("without a desk: got status %d", got.Status)
	}
}

// SQL wants its own scope, and looking into the databases that of administrators.
func TestScopesOfPeople(t *testing.T) {
	tokens := map[auth.Scope]string{}
	var configured []auth.Token
	for _, scope := range []auth.Scope{auth.Read, auth.SQL, auth.Admin} {
		token, hash := auth.Generate()
		tokens[scope] = token
		configured = append(configured, auth.Token{Name: string(scope), Scopes: []auth.Scope{scope}, SHA256: hash})
	}
	v, err := auth.New(configured)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{sql: func(shard string, _ *wire.SQLRequest) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(shardAnswer(shard, nil, ""))), nil
	}}
	l := &ledger{asOf: now.UnixMilli()}
	r := rigOf(t, l, l, v, func(c *reader.Config) { c.Desk, c.Shards = d, func() []string { return []string{"s1"} } })
	for _, test := range []struct {
		scope               auth.Scope
		sql, queries, stats int
	}{{auth.Read, 403, 403, 200}, {auth.SQL, 200, 403, 403}, {auth.Admin, 200, 200, 200}} {
		for target, want := range map[string]int{"/v1/sql": test.sql, "/v1/queries": test.queries, "/v1/stats?type=view&key=v1": test.stats} {
			req := httptest.NewRequest(http.MethodGet, target, nil)
			if target == "/v1/sql" {
				req = httptest.NewRequest(http.MethodPost, target, strings.NewReader(`{"sql":"SELECT 1"}`))
			}
			req.Header.Set("Authorization", "Bearer "+tokens[test.scope])
			if got := r.do(t, req); got.Status != want {
				t.Errorf("%s with the scope %s: got status %d, want %d", target, test.scope, got.Status, want)
			}
		}
	}
}
