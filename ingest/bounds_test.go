package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

// TestBodiesThatStillWaitStayInFlight: a caller that went away, or was sent away, leaves its events waiting for the log; as long as they do
// their bytes count, or a log that hangs would gather them without a bound (INV-9).
func TestBodiesThatStillWaitStayInFlight(t *testing.T) {
	log := newStuckLog()
	r := start(t, options{
		faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log },
		config: func(c *ingest.Config) { c.AppendTimeout, c.MaxInFlight = 10*time.Millisecond, 6000 },
	})
	release := sync.OnceFunc(func() { close(log.release) })
	t.Cleanup(release)
	body := "[" + strings.Repeat(view("a", "1")+",", 40) + view("a", "1") + "]" // 1,5 KB
	r.post(body).wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	r.post(body).wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	r.post(body).wantProblem(t, http.StatusTooManyRequests, wire.CodeOverloaded)
	release()
	eventually(t, func() bool { return len(r.events()) == 82 })
	eventually(t, func() bool { return r.inFlight() == 0 })
	eventually(t, func() bool { return r.post(body).status == http.StatusAccepted })
}

// inFlight returns the metric.
func (r *rig) inFlight() float64 {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "quipu_ingest_in_flight_bytes" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Fatal("there is no such metric")
	return 0
}

// TestBatchesFitAnApply: however much gathers while the log is slow, each batch adds up to what one Apply may carry, even if every event is a row
// of its own. A larger one could never be counted.
func TestBatchesFitAnApply(t *testing.T) {
	log := newStuckLog()
	r := start(t, options{
		faulty: func(l ingest.Log) ingest.Log { log.Log = l; return log },
		config: func(c *ingest.Config) { c.AppendTimeout, c.MaxEvents = 10*time.Millisecond, 100_000 },
	})
	release := sync.OnceFunc(func() { close(log.release) })
	t.Cleanup(release)
	key := keyIn(1)
	begin := time.Now().Add(-7 * 24 * time.Hour).UnixMilli()
	var text strings.Builder
	for i := range 80_000 {
		fmt.Fprintf(&text, "{\"type\":\"view\",\"key\":%q,\"time\":%d}\n", key, begin+60_000+int64(i)%10_000*60_000)
	}
	// Each is sent away after a moment and leaves its events behind.
	const posts = 4
	r.post(view(key, "first")).wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	for range posts {
		r.post(text.String()).wantProblem(t, http.StatusGatewayTimeout, wire.CodeDeadline)
	}
	release()
	eventually(t, func() bool { return eventsOf(t, r, 1) == posts*80_000+1 })
	for _, record := range allRecords(t, r.log, 1) {
		var b event.Batch
		if err := b.Decode(record.Data); err != nil {
			t.Fatal(err)
		}
		if b.Len() > wire.MaxApplyRows {
			t.Errorf("batch %d has %d events, an Apply carries %d rows", record.Offset, b.Len(), wire.MaxApplyRows)
		}
	}
}

// eventsOf counts the events of a partition.
func eventsOf(t *testing.T, r *rig, partition int) int {
	t.Helper()
	n := 0
	for _, record := range allRecords(t, r.log, partition) {
		fingerprints, err := event.DecodeFingerprints(nil, record.Data)
		if err != nil {
			t.Fatal(err)
		}
		n += len(fingerprints)
	}
	return n
}

// TestLargeBodiesFitTheLog: with bodies allowed that are larger than a batch may be, each still gets in.
func TestLargeBodiesFitTheLog(t *testing.T) {
	r := start(t, options{config: func(c *ingest.Config) { c.MaxBody, c.MaxEvents = 64<<20, 100_000 }})
	var text strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&text, `{"type":"view","key":%q,"id":"%0128d"}`+"\n", keyIn(2), i)
	}
	var keys []string
	for i := 0; len(keys) < 50_000; i++ {
		if key := fmt.Sprintf("%0255d", i); partitionOf("view", key) == 2 {
			keys = append(keys, key)
		}
	}
	for i, key := range keys {
		fmt.Fprintf(&text, `{"type":"view","key":%q,"id":"other%0123d"}`+"\n", key, i)
	}
	a := r.send(t.Context(), compress(t, "gzip", []byte(text.String())), "Content-Encoding", "gzip", "Content-Type", "application/x-ndjson")
	if a.Accepted != 100_000 {
		t.Fatalf("got %d: %+v, want all accepted", a.status, a.problem)
	}
	for _, record := range allRecords(t, r.log, 2) {
		if len(record.Data) > eventlog.MaxBatchBytes {
			t.Errorf("batch %d has %d bytes", record.Offset, len(record.Data))
		}
	}
	if got := len(r.ids()); got != 100_000 {
		t.Errorf("got %d identities in the log, want 100000", got)
	}
}
