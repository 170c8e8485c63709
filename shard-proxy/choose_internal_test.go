package shardproxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/wire"
)

// Replicas of the caller's zone come first while they keep up; stale ones never come before fresh ones of other zones, nor before the primary.
func TestCandidatesPreferTheZone(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	p, err := New(Config{
		ShardID: "s1", Zone: "z3", Snapshot: func() *cluster.Snapshot { return nil }, Changed: func() <-chan struct{} { return nil },
		Registerer: prometheus.NewRegistry(), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(lag time.Duration) map[int]int64 { return map[int]int64{0: now.Add(-lag).UnixMilli()} }
	all := &databases{}
	for _, d := range []struct {
		id, zone string
		role     cluster.DatabaseRole
		lag      time.Duration
	}{{"a", "z1", cluster.Primary, 0}, {"b", "z2", cluster.Replica, 0}, {"c", "z1", cluster.Replica, time.Second}, {"d", "z3", cluster.Replica, time.Minute}} {
		pool, err := mysql.Open(mysql.Config{ID: d.id, Address: "127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pool.Close() })
		one := &database{Database: cluster.Database{ID: d.id, Zone: d.zone, Role: d.role}, read: pool}
		one.health.Store(&health{healthy: true, admitted: true, last: &mysql.Health{AsOf: at(d.lag)}, replication: mysql.Replication{Applying: true}})
		all.list = append(all.list, one)
		if d.role == cluster.Primary {
			all.primary = one
		}
	}
	for _, c := range []struct{ zone, want string }{{"z1", "c b a d"}, {"z2", "b c a d"}} {
		for range 3 {
			ctx := wire.WithOrigin(context.Background(), wire.Origin{Member: "reader/r", Zone: c.zone})
			if got := order(p.candidates(all, p.zoneOf(ctx))); got != c.want {
				t.Errorf("for zone %s: %s, want %s", c.zone, got, c.want)
			}
		}
	}
	// Its own zone, for who does not tell; there the only replica is late, so the others take turns.
	seen := map[string]bool{}
	for range 4 {
		seen[order(p.candidates(all, p.zoneOf(context.Background())))] = true
	}
	if !seen["b c a d"] || !seen["c b a d"] || len(seen) != 2 {
		t.Errorf("without a replica of the zone: %v, want b and c in turn", seen)
	}
}

func order(candidates []candidate) string {
	var ids []string
	for _, c := range candidates {
		ids = append(ids, c.ID)
	}
	return strings.Join(ids, " ")
}
