package mysql_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// asOf is a request that moves the offset by one, with an as-of.
func asOf(epoch, expected uint64, then time.Time, rows ...event.Row) *mysql.ApplyRequest {
	r := request(epoch, expected, expected+1, rows...)
	r.AsOf = then.UnixMilli()
	return r
}

func (b *bench) changes(t testing.TB, after map[int]uint64) *mysql.Changes {
	t.Helper()
	changes, err := b.read.Changes(t.Context(), after, 100)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestLateRowsAreTold(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	now := created.Add(time.Hour)
	nowMinute := now.Unix() / 60
	b.apply(t, asOf(epoch, 1, now, counted("v1", nowMinute-2, 1), counted("v1", nowMinute, 1)))
	if got := b.changes(t, map[int]uint64{3: 0}); len(got.List) != 0 {
		t.Fatalf("rows of open minutes were told: %+v", got.List)
	}
	b.apply(t, asOf(epoch, 2, now, counted("v1", nowMinute-3, 1), counted("v2", nowMinute, 1)))
	b.apply(t, asOf(epoch, 3, now.Add(-time.Hour), counted("v2", nowMinute-4, 1))) // as-of never steps back, and neither does what is closed
	b.apply(t, asOf(epoch, 4, now.Add(time.Second)))
	got := b.changes(t, map[int]uint64{3: 0, 4: 0})
	told := func(offset uint64, key string, minute int64) mysql.Change {
		return mysql.Change{Partition: 3, NextOffset: offset, Touched: []mysql.TouchedType{
			{Type: "view", From: minute, To: minute + 1, Keys: []mysql.TouchedKey{{Hash: cluster.KeyHash("view", key), From: minute, To: minute + 1}}},
		}}
	}
	if diff := cmp.Diff([]mysql.Change{told(3, "v1", nowMinute-3), told(4, "v2", nowMinute-4)}, got.List); diff != "" {
		t.Error(diff)
	}
	if want := (mysql.Position{NextOffset: 5, AsOf: now.Add(time.Second).UnixMilli()}); got.Positions[3] != want || len(got.Positions) != 8 || got.Term == 0 {
		t.Errorf("term %d, positions %v, want %v of partition 3", got.Term, got.Positions, want)
	}
	if got := b.changes(t, map[int]uint64{3: 3}); len(got.List) != 1 || got.List[0].NextOffset != 4 {
		t.Errorf("after offset 3 there are %+v", got.List)
	}
	if got, err := b.read.Changes(t.Context(), map[int]uint64{3: 0}, 1); err != nil || !got.Cut || len(got.List) != 1 {
		t.Errorf("one of two changes: %+v, %v", got, err)
	}
	answer, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: []mysql.StatsKey{{Partition: 3, Name: "v1"}}, To: nowMinute, MaxPoints: 1})
	if err != nil {
		t.Fatal(err)
	}
	if answer.NextOffset[3] != 5 || answer.Term != got.Term {
		t.Errorf("the answer is of offset %d, term %d", answer.NextOffset[3], answer.Term)
	}
}

func TestRefusedLateRowsAreNotTold(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	late := asOf(epoch, 1, created.Add(time.Hour), counted("v1", minute(9, 0), 1))
	b.apply(t, late)
	if err := b.primary.Apply(t.Context(), late); !errors.Is(err, mysql.ErrOffsetMoved) {
		t.Fatal(err)
	}
	if got := b.changes(t, map[int]uint64{3: 0}); len(got.List) != 1 {
		t.Errorf("told: %+v", got.List)
	}
}

func TestOldChangesAreForgotten(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	now := created.Add(time.Hour)
	late := counted("v1", minute(9, 0), 1)
	for i := range uint64(3) {
		b.apply(t, asOf(epoch, 1+i, now.Add(time.Duration(i)*time.Second), late))
	}
	b.apply(t, asOf(epoch, 4, now.Add(mysql.ChangesKept+time.Second), late))
	var offsets []uint64
	for _, c := range b.changes(t, map[int]uint64{3: 0}).List {
		offsets = append(offsets, c.NextOffset)
	}
	if diff := cmp.Diff([]uint64{3, 4, 5}, offsets); diff != "" {
		t.Error(diff)
	}
}

func TestManyLateKeysAreToldAsAll(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	var rows []event.Row
	for i := range 1000 {
		rows = append(rows, counted(fmt.Sprint("v", i), minute(9, i%60), 1))
	}
	b.apply(t, asOf(epoch, 1, created.Add(time.Hour), rows...))
	got := b.changes(t, map[int]uint64{3: 0}).List
	want := []mysql.Change{{Partition: 3, NextOffset: 2, Touched: []mysql.TouchedType{{Type: "view", From: minute(9, 0), To: minute(10, 0)}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOlderSchemaTellsNoChanges(t *testing.T) {
	b := newBench(t, shared)
	migrateTo(t, shared.Primary, 7)
	epoch := b.claim(t, 3)
	b.apply(t, asOf(epoch, 1, created.Add(time.Hour), counted("v1", minute(9, 0), 1)))
	if _, err := b.read.Changes(t.Context(), map[int]uint64{3: 0}, 10); !errors.Is(err, mysql.ErrNoChanges) {
		t.Errorf("got %v", err)
	}
	if got := b.total(t, "v1"); got != 1 {
		t.Errorf("counted %d", got)
	}
	migrateTo(t, shared.Primary, 8)
	b.apply(t, asOf(epoch, 2, created.Add(time.Hour), counted("v1", minute(9, 0), 1)))
	if got := b.changes(t, map[int]uint64{3: 0}).List; len(got) != 1 {
		t.Errorf("told: %+v", got)
	}
}
