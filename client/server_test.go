package client_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// cluster stands for a cluster's ingest: it counts each id once and answers as the script says.
type cluster struct {
	*httptest.Server

	mu       sync.Mutex
	script   []step // what to do with the next requests; then accept
	requests int
	seen     map[string]int // how often each id was accepted
	events   map[string]sentEvent
	headers  []http.Header
}

type sentEvent struct {
	Type, Key, ID string
	Time          int64
	Value         *int64
	Weight        *int64
}

// step serves one request; accept counts the events and answers.
type step func(c *cluster, w http.ResponseWriter, events []sentEvent)

func newCluster(t *testing.T, script ...step) *cluster {
	t.Helper()
	c := &cluster{script: script, seen: map[string]int{}, events: map[string]sentEvent{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	events, err := decodeRequest(r)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/events" {
		http.Error(w, fmt.Sprint("test: ", err), http.StatusTeapot)
		return
	}
	c.mu.Lock()
	do := accept
	if c.requests < len(c.script) {
		do = c.script[c.requests]
	}
	c.requests++
	c.headers = append(c.headers, r.Header.Clone())
	c.mu.Unlock()
	do(c, w, events)
}

func decodeRequest(r *http.Request) ([]sentEvent, error) {
	var body io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "gzip":
		plain, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = plain
	case "zstd":
		plain, err := zstd.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		body = plain
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var events []sentEvent
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return events, decoder.Decode(&events)
}

func (c *cluster) count(events []sentEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.seen[e.ID]++
		c.events[e.ID] = e
	}
}

func (c *cluster) requestCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// distinct returns the number of different ids that were accepted.
func (c *cluster) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

func accept(c *cluster, w http.ResponseWriter, events []sentEvent) {
	c.count(events)
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, len(events))
}

// dropAfterAccepting counts the events and closes the connection instead of answering.
func dropAfterAccepting(c *cluster, w http.ResponseWriter, events []sentEvent) {
	c.count(events)
	drop(c, w, events)
}

func drop(_ *cluster, w http.ResponseWriter, _ []sentEvent) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.Close()
}

func answer(status int, body string, header ...string) step {
	return func(_ *cluster, w http.ResponseWriter, _ []sentEvent) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// refuse accepts all events but those at the given places, which it rejects with the code.
func refuse(code string, retryable bool, places ...int) step {
	return func(c *cluster, w http.ResponseWriter, events []sentEvent) {
		bad := map[int]bool{}
		rejected := []map[string]any{}
		for _, i := range places {
			bad[i] = true
			rejected = append(rejected, map[string]any{"index": i, "code": code, "message": "no", "retryable": retryable})
		}
		var good []sentEvent
		for i, e := range events {
			if !bad[i] {
				good = append(good, e)
			}
		}
		c.count(good)
		w.WriteHeader(http.StatusAccepted)
		json.NewEncoder(w).Encode(map[string]any{"accepted": len(good), "rejected": rejected})
	}
}
