package mysql_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// refusedAs checks that an error is a refusal by the stored checkpoint for a reason, and returns what is stored.
func refusedAs(t *testing.T, err, reason error) mysql.Checkpoint {
	t.Helper()
	var refused *mysql.CheckpointError
	if !errors.As(err, &refused) || !errors.Is(err, reason) {
		t.Fatalf("got %v, want a refusal: %v", err, reason)
	}
	return refused.Stored
}

// INV-4: rows and checkpoint commit together, and once.
func TestApplyMovesTheCheckpointWithTheRows(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	first := request(epoch, 1, 5, counted("a", minute(12, 0), 2), counted("b", minute(12, 0), 1))
	b.apply(t, first)
	b.apply(t, request(epoch, 5, 6, counted("a", minute(12, 0), 3), counted("a", minute(12, 1), 4)))
	for key, want := range map[string]int64{"a": 9, "b": 1, "c": 0} {
		if got := b.total(t, key); got != want {
			t.Errorf("key %s: got %d, want %d", key, got, want)
		}
	}
	want := mysql.Checkpoint{Partition: 3, Owned: true, Epoch: epoch, NextOffset: 6, WindowFrom: 1, AsOf: 6000, Incarnation: "log-1", Checksum: 42, Owner: "w1"}
	if diff := cmp.Diff(want, b.checkpoint(t, 3)); diff != "" {
		t.Errorf("checkpoint (-want +got):\n%s", diff)
	}
	untouched := mysql.Checkpoint{Partition: 4, Owned: true, NextOffset: 1, WindowFrom: 1}
	if diff := cmp.Diff(untouched, b.checkpoint(t, 4)); diff != "" {
		t.Errorf("checkpoint of another partition (-want +got):\n%s", diff)
	}
}

// INV-1, INV-4: the same request again changes nothing and shows that it was committed.
func TestRepeatedApplyIsRefusedAndTellsThatItWasCommitted(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	r := request(epoch, 1, 5, counted("a", minute(12, 0), 2))
	b.apply(t, r)
	stored := refusedAs(t, b.primary.Apply(t.Context(), r), mysql.ErrOffsetMoved)
	if stored.NextOffset != r.Next || stored.Epoch != r.Epoch || stored.Checksum != r.Checksum || stored.Incarnation != r.Incarnation {
		t.Errorf("stored %+v does not show that %+v was committed", stored, r)
	}
	if got := b.total(t, "a"); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}

// INV-4: a writer whose partition was claimed by another is refused inside the transaction.
func TestZombieIsFenced(t *testing.T) {
	b := newBench(t, shared)
	old := b.claim(t, 3)
	b.apply(t, request(old, 1, 5, counted("a", minute(12, 0), 2)))
	taken, err := b.primary.Claim(t.Context(), 3, "w2", 0)
	if err != nil {
		t.Fatal(err)
	}
	if taken.Epoch != old+1 || taken.NextOffset != 5 {
		t.Errorf("got %+v, want epoch %d and offset 5", taken, old+1)
	}
	for name, r := range map[string]*mysql.ApplyRequest{
		"rows":      request(old, 5, 6, counted("a", minute(12, 0), 2)),
		"heartbeat": request(old, 5, 6),
	} {
		stored := refusedAs(t, b.primary.Apply(t.Context(), r), mysql.ErrFenced)
		if stored.Owner != "w2" || stored.Epoch != taken.Epoch {
			t.Errorf("%s: got stored %+v, want w2 with epoch %d", name, stored, taken.Epoch)
		}
	}
	if got := b.total(t, "a"); got != 2 {
		t.Errorf("got %d, want 2", got)
	}
}

func TestClaimNeverLowersTheEpoch(t *testing.T) {
	b := newBench(t, shared)
	for _, step := range []struct{ min, want uint64 }{{0, 1}, {10, 10}, {3, 11}, {11, 12}} {
		got, err := b.primary.Claim(t.Context(), 3, "w", step.min)
		if err != nil || got.Epoch != step.want {
			t.Errorf("claim with at least %d: got epoch %d, %v; want %d", step.min, got.Epoch, err, step.want)
		}
	}
}

func TestConcurrentClaimsGetDifferentEpochs(t *testing.T) {
	b := newBench(t, shared)
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[uint64]bool{}
	for i := range 12 {
		wg.Go(func() {
			c, err := b.primary.Claim(t.Context(), 3, fmt.Sprint("w", i), 0)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if seen[c.Epoch] {
				t.Errorf("epoch %d was given twice", c.Epoch)
			}
			seen[c.Epoch] = true
		})
	}
	wg.Wait()
}

func TestHeartbeatMovesAsOfAndNeverBack(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	beat := request(epoch, 1, 1)
	beat.AsOf = 5000
	b.apply(t, beat)
	b.apply(t, beat) // the same values still match
	beat.AsOf = 4000
	b.apply(t, beat)
	if got := b.checkpoint(t, 3); got.AsOf != 5000 || got.NextOffset != 1 || got.Incarnation != "log-1" {
		t.Errorf("got %+v, want as-of 5000 at offset 1 of log-1", got)
	}
	late := request(epoch, 1, 2, counted("a", minute(12, 0), 1))
	late.AsOf = 10
	b.apply(t, late)
	if got := b.checkpoint(t, 3); got.AsOf != 5000 {
		t.Errorf("got as-of %d, want 5000", got.AsOf)
	}
}

// A log that was made anew under the same name must not continue the old one's counts.
func TestAnotherIncarnationIsRefused(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 5, counted("a", minute(12, 0), 2)))
	other := request(epoch, 5, 6, counted("a", minute(12, 0), 2))
	other.Incarnation = "log-2"
	if stored := refusedAs(t, b.primary.Apply(t.Context(), other), mysql.ErrOffsetMoved); stored.Incarnation != "log-1" {
		t.Errorf("got stored %+v, want log-1", stored)
	}
}

func TestPartitionsOfOthersAreMisrouted(t *testing.T) {
	b := newBench(t, shared)
	b.exec(t, "UPDATE quipu.checkpoints SET owned = FALSE WHERE partition_id = 7")
	for _, partition := range []int{7, 8} {
		r := request(1, 1, 2, counted("a", minute(12, 0), 1))
		r.Partition = partition
		refusedAs(t, b.primary.Apply(t.Context(), r), mysql.ErrMisrouted)
		r.Rows = nil
		refusedAs(t, b.primary.Apply(t.Context(), r), mysql.ErrMisrouted)
		_, err := b.primary.Claim(t.Context(), partition, "w", 0)
		refusedAs(t, err, mysql.ErrMisrouted)
		_, err = b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: []mysql.StatsKey{{Partition: partition, Name: "a"}}, To: 100, MaxPoints: 1})
		refusedAs(t, err, mysql.ErrMisrouted)
		_, err = b.read.LookupKey(t.Context(), partition, "a")
		refusedAs(t, err, mysql.ErrMisrouted)
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.checkpoints"); n != 8 {
		t.Errorf("got %d checkpoints, want 8: none is created on the way", n)
	}
}

// After a promotion the same id may mean another key: ids learnt before are dropped, and the request can be sent again.
func TestTermChangeDropsKeyIDs(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 5, counted("a", minute(12, 0), 2), counted("b", minute(12, 0), 5)))
	if got := b.primary.CachedKeys(); got != 2 {
		t.Errorf("got %d cached keys, want 2", got)
	}
	// What a promoted database could hold: the ids the other way round, under the next term.
	b.exec(t, "UPDATE quipu.counted_keys SET name = CASE name WHEN 'a' THEN 'x' WHEN 'b' THEN 'a' END")
	b.exec(t, "UPDATE quipu.counted_keys SET name = 'b' WHERE name = 'x'")
	b.exec(t, "UPDATE quipu.shard_state SET term = term + 1")
	r := request(epoch, 5, 6, counted("a", minute(12, 0), 10))
	if err := b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrTermChanged) {
		t.Fatalf("got %v, want %v", err, mysql.ErrTermChanged)
	}
	if got := b.checkpoint(t, 3).NextOffset; got != 5 {
		t.Errorf("got offset %d, want 5: nothing was applied", got)
	}
	b.apply(t, r)
	if got := b.total(t, "a"); got != 15 {
		t.Errorf("got %d, want 15: 5 under the new name and 10", got)
	}
}

func TestForeignDatabaseIsRefused(t *testing.T) {
	b := newBench(t, shared)
	b.exec(t, "UPDATE quipu.shard_state SET shard_id = 's9'")
	if err := b.primary.Apply(t.Context(), request(0, 1, 2, counted("a", minute(12, 0), 1))); !errors.Is(err, mysql.ErrForeign) {
		t.Errorf("got %v, want %v", err, mysql.ErrForeign)
	}
}

func TestUnapplicableRowsChangeNothing(t *testing.T) {
	huge := event.NewAggregate()
	huge.HasValues, huge.ValueCount = true, 1
	huge.Sum = event.Sum{Hi: math.MaxInt64, Lo: math.MaxUint64} // 1.7 × 10³⁸ does not fit DECIMAL(38,0)
	row := func(change func(*event.Row)) []event.Row {
		good, bad := counted("good", minute(12, 0), 1), counted("bad", minute(12, 0), 1)
		change(&bad)
		return []event.Row{good, bad}
	}
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("full", minute(12, 0), math.MaxInt64)))
	for name, rows := range map[string][]event.Row{
		"sum too large":       row(func(r *event.Row) { r.Aggregate = huge }),
		"count overflows":     row(func(r *event.Row) { r.Key = "full" }),
		"empty key":           row(func(r *event.Row) { r.Key = "" }),
		"key too long":        row(func(r *event.Row) { r.Key = fmt.Sprintf("%0256d", 1) }),
		"key is no UTF-8":     row(func(r *event.Row) { r.Key = "a\xff" }),
		"invalid type":        row(func(r *event.Row) { r.Type = "No Type" }),
		"minute before 1970":  row(func(r *event.Row) { r.Minute = -1 }),
		"minute beyond limit": row(func(r *event.Row) { r.Minute = event.MaxMinute + 1 }),
	} {
		if err := b.primary.Apply(t.Context(), request(epoch, 2, 3, rows...)); !errors.Is(err, mysql.ErrUnapplicable) {
			t.Errorf("%s: got %v, want %v", name, err, mysql.ErrUnapplicable)
		}
	}
	for name, r := range map[string]*mysql.ApplyRequest{
		"rows without progress": request(epoch, 2, 2, counted("good", minute(12, 0), 1)),
		"offset goes back":      request(epoch, 2, 1),
	} {
		if err := b.primary.Apply(t.Context(), r); !errors.Is(err, mysql.ErrUnapplicable) {
			t.Errorf("%s: got %v, want %v", name, err, mysql.ErrUnapplicable)
		}
	}
	if got := b.total(t, "good"); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
	if got := b.checkpoint(t, 3).NextOffset; got != 2 {
		t.Errorf("got offset %d, want 2", got)
	}
}

func TestValuesAddUpExactly(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	at := minute(12, 0)
	// Near the end of DECIMAL(38,0): 9.9 × 10³⁷ twice stays inside.
	large := event.Row{Type: "view", Key: "large", Minute: at, Aggregate: event.NewAggregate()}
	large.HasValues, large.ValueCount, large.Count, large.Min, large.Max = true, 1, 1, event.MaxValue, event.MaxValue
	var err error
	if large.Sum, err = event.ParseSum("49999999999999999999999999999999999999"); err != nil {
		t.Fatal(err)
	}
	b.apply(t, request(epoch, 1, 2,
		measured("values", at, 2, 50), counted("mixed", at, 7), measured("undone", at, 3, -20), large, counted("none", at, 1)))
	b.apply(t, request(epoch, 2, 3,
		measured("values", at, 1, -7), measured("mixed", at, 1, 4), measured("undone", at, -3, -20), large, counted("none", at, -1)))
	b.apply(t, request(epoch, 3, 4, counted("values", at, 10), counted("mixed", at, 1)))
	twice := large.Sum.Add(large.Sum)
	for key, want := range map[string]event.Aggregate{
		"values": {Count: 13, ValueCount: 3, Sum: event.SumOf(93), Min: -7, Max: 50, HasValues: true},
		"mixed":  {Count: 9, ValueCount: 1, Sum: event.SumOf(4), Min: 4, Max: 4, HasValues: true},
		"undone": {Count: 0, ValueCount: 0, Sum: event.Sum{}, Min: -20, Max: -20, HasValues: true},
		"large":  {Count: 2, ValueCount: 2, Sum: twice, Min: event.MaxValue, Max: event.MaxValue, HasValues: true},
		"none":   {Count: 0, Min: event.NoMin, Max: event.NoMax},
	} {
		for _, step := range []mysql.Step{mysql.StepNone, mysql.StepMinute, mysql.StepHour, mysql.StepDay} {
			from := minute(0, 0)
			points := b.stats(t, key, from, from+24*60, step)
			if len(points) != 1 {
				t.Errorf("%s by %d: got %d points, want 1", key, step, len(points))
				continue
			}
			if diff := cmp.Diff(want, points[0].Aggregate); diff != "" {
				t.Errorf("%s by %d (-want +got):\n%s", key, step, diff)
			}
		}
	}
}

// Keys are bytes: neither case nor trailing blanks nor what looks alike is the same key.
func TestKeysAreDistinctBytes(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	keys := []string{"a", "A", "a ", " a", "á", "a\u0301", "\x00", "'", `\`, "%", "日本", "😀", "😁", "ß", "ss"}
	var rows []event.Row
	for i, key := range keys {
		rows = append(rows, counted(key, minute(12, 0), int64(i+1)))
	}
	b.apply(t, request(epoch, 1, 2, rows...))
	again := newBenchOn(t, b) // without a cache
	again.apply(t, request(epoch, 2, 3, rows...))
	for i, key := range keys {
		if got, want := b.total(t, key), int64(2*(i+1)); got != want {
			t.Errorf("key %q: got %d, want %d", key, got, want)
		}
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.counted_keys"); n != len(keys) {
		t.Errorf("got %d keys, want %d", n, len(keys))
	}
}

// newBenchOn is another process on the same data.
func newBenchOn(t *testing.T, b *bench) *bench {
	return &bench{servers: b.servers, read: b.read, primary: primaryOf(t, b.servers.Primary, nil)}
}

func TestConcurrentAppliesNeitherDeadlockNorLose(t *testing.T) {
	b := newBench(t, shared)
	const rounds, keys = 12, 300
	var wg sync.WaitGroup
	for partition := range 8 {
		epoch := b.claim(t, partition)
		wg.Go(func() {
			for round := range uint64(rounds) {
				var rows []event.Row
				for k := range keys { // in an order of its own; late ones too
					key := (k*7 + partition*31 + int(round)) % keys
					rows = append(rows, counted(fmt.Sprint("k", key), minute(12, key%60), 1), measured(fmt.Sprint("k", key), minute(3, key%60), 2, 5))
				}
				r := request(epoch, round+1, round+2, rows...)
				r.Partition = partition
				if err := b.primary.Apply(t.Context(), r); err != nil {
					t.Errorf("partition %d: %v", partition, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for partition := range 8 {
		var asked []mysql.StatsKey
		for k := range keys {
			asked = append(asked, mysql.StatsKey{Partition: partition, Name: fmt.Sprint("k", k)})
		}
		answer, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: asked, To: event.MaxMinute + 1, MaxPoints: keys})
		if err != nil {
			t.Fatal(err)
		}
		for k, stats := range answer.Keys {
			if got := stats.Points[0]; got.Count != 3*rounds || got.Sum != event.SumOf(10*rounds) {
				t.Errorf("partition %d, key %d: got %+v, want count %d and sum %d", partition, k, got, 3*rounds, 10*rounds)
			}
		}
	}
}
