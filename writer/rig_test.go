package writer_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/writer"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is everything around writers.
type rig struct {
	partitions int
	log        *memLog
	shard      *memShard
	leases     *memLeases
	view       *view
	dir        string
	cfg        writer.Config // what every writer starts from
	output     io.Writer
}

func newRig(t *testing.T, partitions int, writers ...string) *rig {
	r := &rig{
		partitions: partitions, log: newMemLog(), shard: newMemShard(partitions), leases: &memLeases{holders: map[int]string{}},
		view: newView(partitions, writers...), dir: filepath.Join(t.TempDir(), "dead"), output: io.Discard,
	}
	if os.Getenv("QUIPU_TEST_LOG") != "" {
		r.output = os.Stderr
	}
	return r
}

// running is a writer that runs.
type running struct {
	stop     func() // ends it in order and waits
	kill     func() // ends it without anything reaching the shard or the leases any more
	registry *prometheus.Registry
}

// start runs a writer.
func (r *rig) start(t *testing.T, id string) running {
	t.Helper()
	cfg, registry, proxy := r.cfg, prometheus.NewRegistry(), &cutProxy{memShard: r.shard}
	cfg.ID, cfg.Log, cfg.Proxy, cfg.Leases, cfg.Cluster, cfg.Changed = id, r.log, proxy, r.leases.of(id), r.view.Cluster, r.view.Changed
	cfg.DeadLetterDir, cfg.Registry = r.dir, registry
	cfg.Logger = slog.New(slog.NewTextHandler(r.output, nil)).With("writer", id)
	w, err := writer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run writer %s: %v", id, err)
		}
	})
	return running{registry: registry, stop: stop, kill: func() {
		proxy.cut.Store(true)
		stop()
		r.leases.expire(id)
	}}
}

// cutProxy is the way of one writer to the shard.
type cutProxy struct {
	*memShard
	cut atomic.Bool
}

func (p *cutProxy) Apply(ctx context.Context, r *wire.ApplyRequest) (*wire.ApplyAnswer, error) {
	if p.cut.Load() {
		return nil, wire.NewProblem(wire.CodeUnavailable, "cut off")
	}
	return p.memShard.Apply(ctx, r)
}

func (p *cutProxy) Claim(ctx context.Context, r wire.ClaimRequest) (*wire.Checkpoint, error) {
	if p.cut.Load() {
		return nil, wire.NewProblem(wire.CodeUnavailable, "cut off")
	}
	return p.memShard.Claim(ctx, r)
}

// metric returns a figure of a writer, summed over the series with all these labels (name, value, …).
func (w running) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "quipu_writer_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if matches(m, labels) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func matches(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		})
		if !found {
			return false
		}
	}
	return true
}

// batch encodes events of one partition. Each has the fingerprint that its id gives.
func batch(events ...event.Event) []byte {
	fingerprinter, err := event.NewFingerprinter(strings.Repeat("5a", 16))
	if err != nil {
		panic(err)
	}
	var b event.BatchBuilder
	for i := range events {
		e := &events[i]
		f := uint64(0)
		if e.ID != "" {
			f = fingerprinter.Fingerprint(e.Type, e.Key, e.ID)
		}
		b.Add(e, cluster.KeyHash(e.Type, e.Key), f)
	}
	return b.AppendTo(nil)
}

// viewOf returns one event of weight 1.
func viewOf(key, id string) event.Event {
	return event.Event{Type: "view", Key: key, ID: id, TimeMs: 90_000, Weight: 1}
}

// keyIn returns the n-th of some keys of type view that belong to a partition.
func (r *rig) keyIn(partition, n int) string {
	for i := 0; ; i++ {
		key := fmt.Sprintf("k%d", i)
		if cluster.Partition("view", key, r.partitions) == partition {
			if n == 0 {
				return key
			}
			n--
		}
	}
}

// expected is what a partition of the log adds up to.
func (r *rig) expected(p int, aside map[uint64]bool) counts { return recount(r.log.all(p), aside) }

// recount adds up the batches of a partition by the definition: a duplicate is an event whose id was seen earlier in the partition,
// counted or not, within the window in ticks. Batches at offsets in aside add nothing, but their ids are seen.
func recount(records []eventlog.Record, aside map[uint64]bool) counts {
	const quantum, span = 1000, 600 // ten minutes
	total, last := counts{}, map[string]int64{}
	for _, record := range records {
		var b event.Batch
		if b.Decode(record.Data) != nil {
			continue
		}
		tick := record.AppendTime / quantum
		for i := range b.Len() {
			e := b.Event(i)
			id := e.Type + "\x00" + e.Key + "\x00" + e.ID
			seen, known := last[id]
			if e.ID != "" {
				last[id] = tick
			}
			if aside[record.Offset] || e.ID != "" && known && tick-seen <= span {
				continue
			}
			a := event.NewAggregate()
			a.AddEvent(e.Weight, e.Value, e.HasValue)
			total.add(cellName{e.Type, e.Key, event.MinuteOf(e.TimeMs)}, a)
		}
	}
	return total
}

// settled waits until every batch is committed and returns how the counts differ from what the log adds up to.
func (r *rig) settled(timeout time.Duration, aside map[uint64]bool) string {
	deadline := time.Now().Add(timeout)
	for p := range r.partitions {
		_, next := r.bounds(p)
		for r.shard.state(p).checkpoint.NextOffset != next {
			if time.Now().After(deadline) {
				return fmt.Sprintf("partition %d: checkpoint is at %d after %s, want %d", p, r.shard.state(p).checkpoint.NextOffset, timeout, next)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if diff := cmp.Diff(r.expected(p, aside), r.shard.state(p).counts); diff != "" {
			return fmt.Sprintf("partition %d (-want +got):\n%s", p, diff)
		}
	}
	return ""
}

func (r *rig) bounds(p int) (first, next uint64) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return r.log.boundsLocked(p)
}
