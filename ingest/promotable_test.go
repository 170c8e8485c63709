package ingest_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/wire"
)

// replicas are marked as a topology marks them.
type replicas struct {
	mu         sync.Mutex
	promotable map[string]bool
	fail       error
}

func (r *replicas) Promotable() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.promotable)
}

func (r *replicas) SetPromotable(_ context.Context, database string, promotable bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		r.promotable[database] = promotable
	}
	return r.fail
}

func (r *replicas) set(fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
}

// TestCrowdedLogIsNotKeptForReplicasThatLag fills a log while a replica is away, and later while it lags: events are refused only as long as the
// replica could still be promoted, and once it has caught up the log is kept for it again.
func TestCrowdedLogIsNotKeptForReplicasThatLag(t *testing.T) {
	c, marks := &checkpoints{}, &replicas{promotable: map[string]bool{"s1-b": true, "s1-c": true}, fail: errors.New("ZooKeeper is away")}
	r := start(t, options{
		log: embedded.Config{MaxBytes: 400 << 10, SegmentBytes: 8 << 10},
		config: func(cfg *ingest.Config) {
			cfg.Checkpoints, cfg.Replicas, cfg.TrimInterval, cfg.Retention = c, marks, time.Millisecond, -1
		},
	})
	at := func(database string, from uint64) (all []wire.Checkpoint) {
		for p := range testPartitions {
			all = append(all, wire.Checkpoint{Partition: p, Database: database, WindowFrom: from, NextOffset: from, Incarnation: r.log.Incarnation()})
		}
		return all
	}
	const end = 1 << 40
	body := strings.Repeat(view(keyIn(0)+strings.Repeat("k", 200), "a")+"\n", 20)
	post := func() int { return r.post(body).Accepted }
	state := func() map[string]bool { return marks.Promotable() }

	c.set(wire.CheckpointsAnswer{Checkpoints: append(at("s1-a", end), at("s1-c", end)...), Missing: []string{"s1-b"}}, nil)
	eventually(t, func() bool { return post() == 0 }) // full: the mark can't be made, so nothing is dropped
	if diff := cmp.Diff(map[string]bool{"s1-b": true, "s1-c": true}, state()); diff != "" {
		t.Fatalf("marks (-want +got):\n%s", diff)
	}
	if first := r.firsts()[0]; first != 1 {
		t.Fatalf("trimmed up to %d for a replica that may be promoted (design: what a promotion needs is never trimmed)", first)
	}
	marks.set(nil)
	eventually(t, func() bool { return post() == 20 })
	if diff := cmp.Diff(map[string]bool{"s1-b": false, "s1-c": true}, state()); diff != "" {
		t.Fatalf("marks with a replica away (-want +got):\n%s", diff)
	}

	// Back, but the log no longer has what it lacks.
	c.set(wire.CheckpointsAnswer{Checkpoints: append(append(at("s1-a", end), at("s1-c", end)...), at("s1-b", 1)...)}, nil)
	for range 200 {
		if post() != 20 {
			eventually(t, func() bool { return post() == 20 })
		}
	}
	if state()["s1-b"] {
		t.Error("a replica may be promoted that lacks what the log has dropped")
	}
	// It has caught up; another one lags.
	behind := r.firsts()[0] + 1
	c.set(wire.CheckpointsAnswer{Checkpoints: append(append(at("s1-a", end), at("s1-b", end)...), at("s1-c", behind)...)}, nil)
	eventually(t, func() bool { return state()["s1-b"] })
	eventually(t, func() bool { post(); return !state()["s1-c"] })
	eventually(t, func() bool { return post() == 20 })
	if !state()["s1-b"] {
		t.Error("the replica that has counted all is given up")
	}

	// Without its primary nothing is dropped.
	c.set(wire.CheckpointsAnswer{Checkpoints: append(at("s1-b", end), at("s1-c", end)...), Missing: []string{"s1-a"}}, nil)
	eventually(t, func() bool { return post() == 0 })
	if !state()["s1-b"] {
		t.Error("a replica is given up for its primary")
	}
}
