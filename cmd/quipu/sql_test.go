package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/quipudb/quipu/testkit"
)

// sqlServer stands for a reader: it answers statements with themselves.
type sqlServer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // shard, format, statement
	gone  chan struct{}
}

func newSQLServer(t *testing.T) *sqlServer {
	t.Helper()
	s := &sqlServer{gone: make(chan struct{}, 1)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *sqlServer) serve(w http.ResponseWriter, r *http.Request) {
	var q struct {
		SQL, Shard, Format string
		MaxRows            int `json:"max_rows"`
	}
	_ = json.NewDecoder(r.Body).Decode(&q)
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%s|%s|%d|%s|%s", q.Shard, q.Format, q.MaxRows, q.SQL, r.Header.Get("Authorization")))
	s.mu.Unlock()
	switch {
	case strings.Contains(q.SQL, "bad"):
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":400,"code":"bad_request","detail":"line 1, column 1: no"}`)
	case strings.Contains(q.SQL, "broken"):
		fmt.Fprint(w, "half of")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case strings.Contains(q.SQL, "endless"):
		fmt.Fprint(w, "begun\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		s.gone <- struct{}{}
	case q.Format == "ndjson" && strings.Contains(q.SQL, "late"):
		fmt.Fprint(w, "{\"columns\":[]}\n{\"error\":{\"code\":\"deadline\"}}\n")
	case q.Format == "ndjson":
		fmt.Fprint(w, "{\"columns\":[]}\n{\"end\":{}}\n")
	default:
		fmt.Fprintf(w, "<%s>\n", q.SQL)
	}
}

func (s *sqlServer) statements() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

func TestSQLOfOneStatement(t *testing.T) {
	s := newSQLServer(t)
	for name, test := range map[string]struct {
		args   []string
		code   int
		asked  string
		out    string
		errors string
	}{
		"table":    {[]string{"-e", "SELECT 1;"}, exitDone, "|table|10000|SELECT 1|Bearer secret", "<SELECT 1>\n", ""},
		"shard":    {[]string{"-e", "SELECT 1", "--shard", "s1", "--format", "csv", "--max-rows", "5"}, exitDone, "s1|csv|5|SELECT 1|Bearer secret", "<SELECT 1>\n", ""},
		"ndjson":   {[]string{"-e", "SELECT 1", "--format", "ndjson"}, exitDone, "|ndjson|10000|SELECT 1|Bearer secret", "{\"columns\":[]}\n{\"end\":{}}\n", ""},
		"cut off":  {[]string{"-e", "broken"}, exitFailed, "|table|10000|broken|Bearer secret", "half of", "the answer is not whole"},
		"an error": {[]string{"-e", "late", "--format", "ndjson"}, exitFailed, "|ndjson|10000|late|Bearer secret", "{\"columns\":[]}\n{\"error\":{\"code\":\"deadline\"}}\n", "the answer is not whole"},
		"refused":  {[]string{"-e", "bad"}, exitFailed, "|table|10000|bad|Bearer secret", "", "line 1, column 1: no"},
		"format":   {[]string{"-e", "SELECT 1", "--format", "xml"}, exitUsage, "", "", "must be table, csv, ndjson"},
	} {
		got := quipu(t, []string{"QUIPU_READER=" + s.URL, "QUIPU_TOKEN=secret"}, append([]string{"sql"}, test.args...)...)
		if got.code != test.code || got.out != test.out || !strings.Contains(got.errors, test.errors) {
			t.Errorf("%s: got %+v", name, got)
		}
		if asked := strings.Join(s.statements(), "\n"); asked != test.asked {
			t.Errorf("%s: asked %q, want %q", name, asked, test.asked)
		}
	}
}

// Without a terminal, statements come from the standard input, and the first that fails ends it.
func TestSQLFromStandardInput(t *testing.T) {
	s := newSQLServer(t)
	run := func(input string) outcome {
		return quipuIn(t.Context(), []string{"QUIPU_READER=" + s.URL}, input, "sql", "--shard", "s1")
	}
	got := run("SELECT\n  1;\n\n\\s s2\nSELECT 2 ;\n\\f csv\n\\d\n\\d it's\nSELECT 3")
	want := []string{
		"s1|table|10000|SELECT\n  1|", "s2|table|10000|SELECT 2 |",
		"s2|csv|10000|SELECT table_name AS view FROM information_schema.tables WHERE table_schema = 'analytics' ORDER BY table_name|",
		"s2|csv|10000|SELECT column_name AS name, column_type AS type, is_nullable AS nullable FROM information_schema.columns WHERE table_schema = 'analytics' AND table_name = 'it''s' ORDER BY ordinal_position|",
		"s2|csv|10000|SELECT 3|",
	}
	if diff := cmp.Diff(want, s.statements()); diff != "" || got.code != exitDone {
		t.Errorf("got %+v, asked (-want +got):\n%s", got, diff)
	}
	if got := run("SELECT 1; \nbad;\nSELECT 2;"); got.code != exitFailed || len(s.statements()) != 2 {
		t.Errorf("got %+v", got)
	}
	if got := run("\\x"); got.code != exitFailed || !strings.Contains(got.errors, `there are \d`) {
		t.Errorf("got %+v", got)
	}
	if got := run("\\q\nSELECT 1;"); got.code != exitDone || len(s.statements()) != 0 {
		t.Errorf("got %+v", got)
	}
}

// screenOf gathers what a terminal shows.
type screenOf struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screenOf) read(from io.Reader) {
	buffer := make([]byte, 1024)
	for {
		n, err := from.Read(buffer)
		s.mu.Lock()
		s.text.Write(buffer[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screenOf) await(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !strings.Contains(s.text.String(), text) {
			return fmt.Errorf("the terminal shows %q, not %q", s.text.String(), text)
		}
		s.text.Reset()
		return nil
	})
}

// openTerminal returns both sides of a pseudo-terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close(); person.Close() })
	return person, program
}

// At a terminal lines can be edited and called back, errors end nothing, and Ctrl-C ends the statement that runs.
func TestSQLAtATerminal(t *testing.T) {
	s := newSQLServer(t)
	person, program := openTerminal(t)
	screen := &screenOf{}
	go screen.read(person)
	ended := make(chan int, 1)
	go func() {
		ended <- execute(context.Background(), &process{
			args: []string{"sql", "--reader", s.URL, "--shard", "s1"}, stdin: program, stdout: program, stderr: program,
		})
	}()
	enter := func(text string) {
		if _, err := person.WriteString(text); err != nil {
			t.Error(err)
		}
	}
	screen.await(t, "quipu s1> ")
	enter("SELECT 1\r")
	screen.await(t, "    -> ")
	enter(", 2;\r")
	screen.await(t, "<SELECT 1\r\n, 2>")
	enter("bad;\r")
	screen.await(t, "line 1, column 1: no")
	enter("SELECT 4\x7f5;\r") // corrected
	screen.await(t, "<SELECT 5>")
	enter("\x1b[A\r") // the line before
	screen.await(t, "<SELECT 5>")
	enter("endless;\r")
	screen.await(t, "begun")
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	screen.await(t, "the answer is not whole")
	select {
	case <-s.gone:
	case <-time.After(20 * time.Second):
		t.Error("the statement goes on")
	}
	enter("\\s\r")
	screen.await(t, "quipu> ")
	enter("\x04")
	if code := <-ended; code != exitDone {
		t.Errorf("got exit code %d", code)
	}
}

// quipu queries shows what a reader tells, and kills by id.
func TestQueriesCommand(t *testing.T) {
	var killed string
	reader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			killed = strings.TrimPrefix(r.URL.Path, "/v1/queries/")
			fmt.Fprint(w, `{"id":"x"}`)
		case r.URL.Query().Get("digests") == "true":
			fmt.Fprint(w, `{"queries":[],"digests":[{"id":"ab","shard":"s1","class":"point","count":3,"killed":1,"errors":1,"total_seconds":2,"p50_seconds":0.001,"p99_seconds":0.002,"max_seconds":0.5,"text":"SELECT ?"}],"missing":[]}`)
		default:
			fmt.Fprint(w, `{"queries":[{"id":"s1~p~1","database":"s1-b","class":"analyst","caller":"ann","began":"2026-01-31T17:00:00Z","deadline":"2026-01-31T17:00:30Z","seconds":4.5,"rows_examined":7,"ending":"asked","statement":"SELECT\n  1"}],"missing":[{"shard":"s2","proxy":"q","code":"unavailable","detail":"away"}]}`)
		}
	}))
	defer reader.Close()
	environ := []string{"QUIPU_READER=" + reader.URL}
	got := quipu(t, environ, "queries")
	want := "ID       DATABASE  CLASS    CALLER  SECONDS  OF    ROWS  STATEMENT\ns1~p~1   s1-b      analyst  ann     4.5      30.0  7     (dies: asked) SELECT 1\n"
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(got.out)); diff != "" || !strings.Contains(got.errors, "missing: shard s2 q: unavailable: away") {
		t.Errorf("got %+v (-want +got):\n%s", got, diff)
	}
	if got := quipu(t, environ, "queries", "--digests"); got.code != exitDone || !strings.Contains(got.out, "SELECT ?") || !strings.Contains(got.out, "500.00") {
		t.Errorf("got %+v", got)
	}
	if got := quipu(t, environ, "queries", "kill", "s1~p~1"); got.code != exitDone || killed != "s1~p~1" {
		t.Errorf("got %+v, killed %q", got, killed)
	}
}
