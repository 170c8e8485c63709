package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// counter stands for a cluster: it counts what it is sent, each id once, and tells it when asked.
type counter struct {
	*httptest.Server
	token string // to be shown; "" for none

	mu     sync.Mutex
	seen   map[string]bool
	counts map[string]int64
	sums   map[string]int64
	forget string // a key that is counted as 0
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{seen: map[string]bool{}, counts: map[string]int64{}, sums: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", c.events)
	mux.HandleFunc("POST /v1/stats:batch", c.stats)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.token != "" && r.Header.Get("Authorization") != "Bearer "+c.token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *counter) events(w http.ResponseWriter, r *http.Request) {
	var events []struct {
		Type, Key, ID string
		Value         int64
	}
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		if id := e.Type + e.Key + e.ID; e.ID == "" || !c.seen[id] {
			c.seen[id] = true
			c.counts[e.Type+e.Key]++
			c.sums[e.Type+e.Key] += e.Value
		}
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, len(events))
}

func (c *counter) stats(w http.ResponseWriter, r *http.Request) {
	var batch struct {
		Queries []struct{ Type, Key, Function string }
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	results := []map[string]any{}
	for _, q := range batch.Queries {
		value := c.counts[q.Type+q.Key]
		if q.Function == "sum" {
			value = c.sums[q.Type+q.Key]
		}
		if q.Key == c.forget {
			value = 0
		}
		results = append(results, map[string]any{"key": q.Key, "value": value})
	}
	json.NewEncoder(w).Encode(map[string]any{"results": results, "as_of": time.Now().Add(time.Second), "coverage": map[string]int{"partitions": 1, "answered": 1}})
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(file, []byte("origin,delay\nLAS,5\nPHL,-2\nLAS,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const ndjson = `{"type":"view","key":"v1"}` + "\n" + `{"type":"view","key":"v2","value":3}` + "\n"
	for name, c := range map[string]struct {
		args     []string
		stdin    string
		token    string
		forget   string
		code     int
		out, err string
	}{
		"made up":    {args: []string{"--zipf", "1.1", "--keys", "50", "--count", "2000", "--duplicates", "5", "--verify"}, out: "2000 events acknowledged"},
		"prefix":     {args: []string{"--zipf", "0", "--keys", "50", "--count", "200", "--prefix", "k", "--verify"}, out: "every count is what was acknowledged", err: "asking what the keys have"},
		"csv":        {args: []string{file, "--map", "type=departure,key=origin,value=delay", "--verify"}, out: "verified 2 keys with 3 events"},
		"stdin":      {args: []string{"-", "--verify"}, stdin: ndjson, out: "verified 2 keys with 2 events"},
		"token":      {args: []string{"-", "--verify", "--token-file", secret}, stdin: ndjson, token: "s3cret", out: "verified 2 keys"},
		"no token":   {args: []string{"-"}, stdin: ndjson, token: "s3cret", code: exitFailed, out: "status_401", err: "2 of 2 events were not acknowledged"},
		"difference": {args: []string{"-", "--verify"}, stdin: ndjson, forget: "v2", code: exitFailed, out: `view "v2": counted 0, acknowledged 1`, err: "counts differ"},
		"bad line":   {args: []string{"-"}, stdin: "{}\n", code: exitFailed, err: "standard input line 1: invalid event: type"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newCounter(t)
			server.token, server.forget = c.token, c.forget
			args := append([]string{"load", "--ingest", server.URL, "--reader", server.URL}, c.args...)
			got := quipuIn(t.Context(), nil, c.stdin, args...)
			if got.code != c.code || !strings.Contains(got.out, c.out) || !strings.Contains(got.errors, c.err) {
				t.Errorf("got %d\n%s\n%s\nwant %d, %q and %q", got.code, got.out, got.errors, c.code, c.out, c.err)
			}
		})
	}
}

func TestLoadRefusesBadCommandLines(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":   {nil, "either FILEs or --zipf"},
		"both":      {[]string{"a.csv", "--zipf", "1"}, "either FILEs or --zipf"},
		"format":    {[]string{"a.xml"}, "can't tell the format of a.xml"},
		"mapping":   {[]string{"a.csv", "--map", "colour=red"}, "an event has the fields"},
		"exponent":  {[]string{"--zipf", "-1"}, "exponent -1"},
		"batch":     {[]string{"--zipf", "1", "--batch", "20000"}, "batches of 20000 events"},
		"rate":      {[]string{"--zipf", "1", "--rate", "-5"}, "rate -5 is negative"},
		"addresses": {[]string{"--zipf", "1", "--ingest", "localhost:8080"}, "is not an http or https address"},
		"compress":  {[]string{"--zipf", "1", "--compress", "lzw"}, `compression "lzw"`},
		"flights":   {[]string{"flights", "LAS"}, "unexpected argument"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quipu(t, nil, append([]string{"load"}, c.args...)...); got.code != exitUsage || !strings.Contains(got.errors, c.want) {
				t.Errorf("got %d %q, want %d and %q", got.code, got.errors, exitUsage, c.want)
			}
		})
	}
}
