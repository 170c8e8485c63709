package load_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quipudb/quipu/client"
	"github.com/quipudb/quipu/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster stands for a whole cluster in memory: it takes events, counts each id once, and answers for counts.
type cluster struct {
	*httptest.Server

	mu       sync.Mutex
	fault    func(request int) string // "", "drop", "drop after", "reject", "refuse 429", "refuse for good"
	lag      time.Duration            // of as_of
	tamper   map[string]int64         // added to the counts told of keys
	requests int
	seen     map[string]bool
	counts   map[string]*event.Aggregate
	events   []sent
	asks     int
	failAsks int // questions to be answered 503 first
}

type sent struct {
	Type, Key, ID string
	Time          int64
	Value         *int64
	Weight        *int64
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		fault: func(int) string { return "" }, tamper: map[string]int64{}, seen: map[string]bool{}, counts: map[string]*event.Aggregate{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", c.takeEvents)
	mux.HandleFunc("POST /v1/stats:batch", c.answerBatch)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// set changes how the cluster behaves.
func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *cluster) sender() client.SenderConfig {
	return client.SenderConfig{
		URLs: []string{c.URL}, BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond, DeliveryTimeout: 20 * time.Second, BreakerPause: time.Millisecond,
	}
}

func (c *cluster) takeEvents(w http.ResponseWriter, r *http.Request) {
	var events []sent
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	key := r.Header.Get("Idempotency-Key")
	switch c.fault(c.requests) {
	case "drop":
		hangUp(w)
	case "drop after":
		c.countLocked(events, key)
		hangUp(w)
	case "reject":
		c.countLocked(events[1:], key)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"accepted":%d,"rejected":[{"index":0,"code":"unavailable","message":"m","retryable":true}]}`, len(events)-1)
	case "refuse 429":
		w.WriteHeader(http.StatusTooManyRequests)
	case "refuse for good":
		c.countLocked(events[1:], key)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"accepted":%d,"rejected":[{"index":0,"code":"too_old","message":"m"}]}`, len(events)-1)
	default:
		c.countLocked(events, key)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"accepted":%d,"rejected":[]}`, len(events))
	}
}

func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.Close()
}

func (c *cluster) countLocked(events []sent, key string) {
	for i, e := range events {
		c.events = append(c.events, e)
		id := e.Type + "/" + e.Key + "/" + e.ID
		if e.ID == "" {
			id = fmt.Sprint(key, "/", i)
		}
		if c.seen[id] {
			continue
		}
		c.seen[id] = true
		cell := c.counts[e.Type+"/"+e.Key]
		if cell == nil {
			none := event.NewAggregate()
			cell = &none
			c.counts[e.Type+"/"+e.Key] = cell
		}
		weight := int64(1)
		if e.Weight != nil {
			weight = *e.Weight
		}
		if e.Value == nil {
			cell.AddEvent(weight, 0, false)
		} else {
			cell.AddEvent(weight, *e.Value, true)
		}
	}
}

func (c *cluster) answerBatch(w http.ResponseWriter, r *http.Request) {
	var batch struct {
		Queries []struct{ Type, Key, Function string }
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil || len(batch.Queries) > 1000 {
		http.Error(w, "bad batch", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asks++; c.asks <= c.failAsks {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	results := []map[string]any{}
	for _, q := range batch.Queries {
		value := json.Number("0")
		if cell := c.counts[q.Type+"/"+q.Key]; cell != nil && q.Function == "count" {
			value = json.Number(fmt.Sprint(cell.Count + c.tamper[q.Key]))
		} else if cell != nil {
			value = json.Number(cell.Sum.String())
		}
		results = append(results, map[string]any{"type": q.Type, "key": q.Key, "function": q.Function, "value": value})
	}
	json.NewEncoder(w).Encode(map[string]any{
		"results": results, "as_of": time.Now().Add(-c.lag).UTC().Format("2006-01-02T15:04:05.000Z"), "stale": false,
		"coverage": map[string]any{"partitions": 16, "answered": 16, "missing": []int{}}, "sources": []int{},
	})
}

// total returns the sum of all counts.
func (c *cluster) total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int64(0)
	for _, cell := range c.counts {
		n += cell.Count
	}
	return n
}
