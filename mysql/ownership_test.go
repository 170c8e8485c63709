package mysql_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/mysql"
)

func TestEnsureOwnershipNeverResetsNorInvents(t *testing.T) {
	b := newBench(t, shared)
	owner := pool(t, shared.Primary, local.AccountMigrate, nil)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 5, counted("a", minute(12, 0), 2)))
	before, err := b.read.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := ownership()
	later.CreatedAt = created.Add(48 * time.Hour) // changes nothing any more
	if err := mysql.EnsureOwnership(t.Context(), owner, later); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*mysql.Ownership)
		want   error
	}{
		"a partition more":  {func(o *mysql.Ownership) { o.Partitions = append(o.Partitions, 8) }, mysql.ErrMisrouted},
		"a partition less":  {func(o *mysql.Ownership) { o.Partitions = o.Partitions[1:] }, mysql.ErrMisrouted},
		"another shard":     {func(o *mysql.Ownership) { o.ShardID = "s2" }, mysql.ErrForeign},
		"another cluster":   {func(o *mysql.Ownership) { o.ClusterID = "c2" }, mysql.ErrForeign},
		"known, and intact": {func(o *mysql.Ownership) { o.Established = true }, nil},
	} {
		o := ownership()
		test.change(&o)
		if err := mysql.EnsureOwnership(t.Context(), owner, o); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	after, err := b.read.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("checkpoints (-before +after):\n%s", diff)
	}
	marks := []string{"day|2025-11-20 00:00:00", "hour|2025-11-20 10:00:00"}
	if diff := cmp.Diff(marks, table(t, shared.Primary.Root(), "SELECT resolution, CAST(complete_before AS CHAR) FROM quipu.rollup_watermarks ORDER BY 1")); diff != "" {
		t.Errorf("watermarks (-want +got):\n%s", diff)
	}
}

// An empty database in the place of one that has counted is a lost database, not a new one.
func TestEmptyDatabaseOfAnEstablishedShardIsRefused(t *testing.T) {
	b := newBench(t, shared)
	for _, table := range []string{"shard_state", "rollup_watermarks", "checkpoints"} {
		b.exec(t, "DELETE FROM quipu."+table)
	}
	lost := ownership()
	lost.Established = true
	owner := pool(t, shared.Primary, local.AccountMigrate, nil)
	if err := mysql.EnsureOwnership(t.Context(), owner, lost); !errors.Is(err, mysql.ErrForeign) {
		t.Errorf("got %v, want %v", err, mysql.ErrForeign)
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.checkpoints"); n != 0 {
		t.Errorf("got %d checkpoints, want none", n)
	}
	if _, err := b.read.Probe(t.Context()); !errors.Is(err, mysql.ErrSchema) {
		t.Errorf("probe: got %v, want %v", err, mysql.ErrSchema)
	}
}
