package ingest_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/ingest"
)

// TestManySingleEvents posts single events from many connections at once: all are there, in far fewer batches.
func TestManySingleEvents(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.CommitDelay = 5 * time.Millisecond }})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	const senders, each = 64, 20
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				resp, err := client.Post(r.url+"/v1/events", "application/json", strings.NewReader(view("k"+strconv.Itoa(i), fmt.Sprint(s, "-", i))))
				if err != nil {
					t.Error(err)
					return
				}
				if a := r.read(resp); a.Accepted != 1 {
					t.Errorf("got %+v", a)
				}
			}
		})
	}
	wg.Wait()
	batches := 0
	for p := range testPartitions {
		batches += len(allRecords(t, r.log, p))
	}
	if ids := r.ids(); len(ids) != senders*each || batches >= senders*each/2 {
		t.Errorf("got %d events in %d batches, want %d events in far fewer", len(ids), batches, senders*each)
	}
}

// TestConcurrentBatches mixes bodies of many sizes from many senders, so that pooled memory is reused under load.
func TestConcurrentBatches(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.CommitBytes = 4 << 10 }})
	want := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for s := range 16 {
		wg.Go(func() {
			for i := range 15 {
				var events []string
				mu.Lock()
				for n := range 1 + (s*7+i*13)%200 {
					key, id := fmt.Sprintf("key-%d-%d", s, n%17), fmt.Sprintf("%d-%d-%d", s, i, n)
					events = append(events, view(key, id))
					want["view/"+key+"/"+id]++
				}
				mu.Unlock()
				if a := r.post("[" + strings.Join(events, ",") + "]"); a.Accepted != len(events) {
					t.Errorf("got %+v, want %d accepted", a, len(events))
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, r.ids()); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
}
