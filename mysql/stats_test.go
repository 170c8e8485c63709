package mysql_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

const day = 24 * 60

// INV-5, INV-6: late rows reach the hours and days that are complete already, and every way of asking gives the same sums.
func TestEveryResolutionAgreesAcrossTheWatermarks(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	first := minute(0, 0) - 3*day // the watermarks lie at 10:00 and at midnight of the fourth day
	truth := map[int64]event.Aggregate{}
	for round := range uint64(6) {
		var rows []event.Row
		for range 400 {
			row := measured("a", first+random.Int64N(5*day), random.Int64N(5)-1, random.Int64N(100)-50)
			if random.IntN(3) == 0 {
				row = counted("a", row.Minute, random.Int64N(5)-1)
			}
			rows = append(rows, row)
			sum, ok := truth[row.Minute]
			if !ok {
				sum = event.NewAggregate()
			}
			sum.Merge(row.Aggregate)
			truth[row.Minute] = sum
		}
		b.apply(t, request(epoch, round+1, round+2, rows...))
	}
	add := func(from, to int64) event.Aggregate {
		sum := event.NewAggregate()
		for m := from; m < to; m++ {
			if a, ok := truth[m]; ok {
				sum.Merge(a)
			}
		}
		return sum
	}
	for _, step := range []mysql.Step{mysql.StepMinute, mysql.StepHour, mysql.StepDay} {
		for range 10 {
			from := (first + random.Int64N(4*day)) / int64(step) * int64(step)
			to := from + (1+random.Int64N(2*day))/int64(step)*int64(step)
			got := map[int64]event.Aggregate{}
			for _, p := range b.stats(t, "a", from, to, step) {
				got[p.Start] = p.Aggregate
			}
			want := map[int64]event.Aggregate{}
			for start := from; start < to; start += int64(step) {
				for m := start; m < start+int64(step); m++ {
					if _, ok := truth[m]; ok {
						want[start] = add(start, start+int64(step))
						break
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("series by %d over [%d, %d) (-want +got):\n%s", step, from, to, diff)
			}
		}
	}
	for range 40 {
		from := first + random.Int64N(4*day)
		to := from + random.Int64N(3*day)
		got := b.stats(t, "a", from, to, mysql.StepNone)
		if diff := cmp.Diff([]mysql.Point{{Start: from, Aggregate: add(from, to)}}, got); diff != "" {
			t.Errorf("total over [%d, %d) (-want +got):\n%s", from, to, diff)
		}
	}
	if diff := cmp.Diff(add(first, first+5*day), b.stats(t, "a", 0, event.MaxMinute+1, mysql.StepNone)[0].Aggregate); diff != "" {
		t.Errorf("all time (-want +got):\n%s", diff)
	}
}

// The coarse tables hold exactly what lies before their watermark.
func TestCoarseRowsEndAtTheirWatermark(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2,
		counted("a", minute(9, 59), 1), counted("a", minute(10, 0), 2), counted("a", minute(9, 0), 4),
		counted("a", minute(0, 0)-1, 8), counted("a", minute(0, 0), 16), counted("a", minute(0, 0)-day, 32)))
	for table, want := range map[string]int{"minute_counts": 63, "hour_counts": 61, "day_counts": 40} {
		if got := b.count(t, "SELECT SUM(event_count) FROM quipu."+table); got != want {
			t.Errorf("%s: got %d, want %d", table, got, want)
		}
	}
	if got := b.count(t, "SELECT event_count FROM quipu.hour_counts WHERE start = '2025-11-20 09:00:00'"); got != 5 {
		t.Errorf("hour from 09:00: got %d, want 5", got)
	}
}

// A watermark that moves between two reads, or back in a database that lags, changes no answer.
func TestAnswerStaysWhenWatermarksMove(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(9, 30), 1), counted("a", minute(10, 30), 2), counted("a", minute(11, 30), 4), counted("a", minute(0, 0)-30, 8)))
	if got := b.total(t, "a"); got != 15 {
		t.Fatalf("got %d, want 15", got)
	}
	for _, step := range []struct{ name, statement string }{
		{"roll-up of an hour", "INSERT INTO quipu.hour_counts (key_id, event_type_id, start, event_count) SELECT key_id, event_type_id, '2025-11-20 10:00:00', 2 FROM quipu.minute_counts WHERE start = '2025-11-20 10:30:00'"},
		{"watermark forward", "UPDATE quipu.rollup_watermarks SET complete_before = '2025-11-20 11:00:00' WHERE resolution = 'hour'"},
		{"watermark back", "UPDATE quipu.rollup_watermarks SET complete_before = '2025-11-20 10:00:00' WHERE resolution = 'hour'"},
	} {
		b.exec(t, step.statement)
		if got := b.total(t, "a"); got != 15 {
			t.Errorf("after %s: got %d, want 15", step.name, got)
		}
	}
}

func TestStatsOfManyKeys(t *testing.T) {
	b := newBench(t, shared)
	want := map[string]int64{}
	var keys []mysql.StatsKey
	for partition := range 8 {
		epoch := b.claim(t, partition)
		var rows []event.Row
		for k := range 30 {
			key := fmt.Sprintf("p%d-k%d", partition, k)
			rows = append(rows, counted(key, minute(9, k), int64(k+1)), counted(key, minute(11, k), 1))
			want[key] = int64(k + 2)
			keys = append(keys, mysql.StatsKey{Partition: partition, Name: key})
		}
		r := request(epoch, 1, 2, rows...)
		r.Partition, r.AsOf = partition, int64(1000+partition)
		b.apply(t, r)
	}
	keys = append(keys, mysql.StatsKey{Partition: 3, Name: "nobody"}, mysql.StatsKey{Partition: 4, Name: "p3-k1"})
	answer, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: keys, From: minute(0, 0), To: minute(0, 0) + day, MaxPoints: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		got := answer.Keys[i]
		known := k.Name != "nobody" && k != (mysql.StatsKey{Partition: 4, Name: "p3-k1"})
		if got.Known != known || len(got.Points) != 1 || (known && got.Points[0].Count != want[k.Name]) || (!known && got.Points[0].Count != 0) {
			t.Errorf("%+v: got %+v, want count %d", k, got, want[k.Name])
		}
	}
	wantHeader := mysql.Header{Term: 1, AsOf: map[int]int64{0: 1000, 1: 1001, 2: 1002, 3: 1003, 4: 1004, 5: 1005, 6: 1006, 7: 1007}, NextOffset: map[int]uint64{}, Resolution: "minute+hour"}
	for partition := range wantHeader.AsOf {
		wantHeader.NextOffset[partition] = 2
	}
	if diff := cmp.Diff(wantHeader, answer.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	series, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: keys[:2], From: minute(9, 0), To: minute(12, 0), Step: mysql.StepHour, MaxPoints: 4})
	if err != nil {
		t.Fatal(err)
	}
	wantPoints := []mysql.Point{{Start: minute(9, 0), Aggregate: counted("", 0, 2).Aggregate}, {Start: minute(11, 0), Aggregate: counted("", 0, 1).Aggregate}}
	if diff := cmp.Diff(wantPoints, series.Keys[1].Points); diff != "" {
		t.Errorf("series of the second key (-want +got):\n%s", diff)
	}
	for _, n := range []int{1, 2} {
		_, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: keys[:n], From: minute(9, 0), To: minute(12, 0), Step: mysql.StepHour, MaxPoints: 1})
		if !errors.Is(err, mysql.ErrTooManyPoints) {
			t.Errorf("%d keys: got %v, want %v", n, err, mysql.ErrTooManyPoints)
		}
	}
	other, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "never", Keys: keys[:1], To: event.MaxMinute + 1, MaxPoints: 1})
	if err != nil || other.Keys[0].Points[0].Count != 0 {
		t.Errorf("another type: got %+v, %v; want 0", other, err)
	}
}

func TestTopRanksByCountThenKey(t *testing.T) {
	b := newBench(t, shared)
	for partition := range 3 {
		epoch := b.claim(t, partition)
		r := request(epoch, 1, 2,
			counted(fmt.Sprintf("tie-%d", 9-partition), minute(12, 0), 5), measured(fmt.Sprintf("big-%d", partition), minute(12, 1), int64(10+partition), 3),
			counted(fmt.Sprintf("big-%d", partition), minute(12, 2), 1), counted(fmt.Sprintf("small-%d", partition), minute(12, 2), 1),
			counted(fmt.Sprintf("early-%d", partition), minute(11, 59), 100), counted(fmt.Sprintf("late-%d", partition), minute(12, 10), 100))
		r.Partition = partition
		b.apply(t, r)
	}
	top := func(n int) []string {
		t.Helper()
		answer, err := b.read.Top(t.Context(), &mysql.TopRequest{Type: "view", From: minute(12, 0), To: minute(12, 10), N: n})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.AsOf) != 8-b.count(t, "SELECT COUNT(*) FROM quipu.checkpoints WHERE NOT owned") {
			t.Errorf("as-of of %d partitions", len(answer.AsOf))
		}
		var got []string
		for _, e := range answer.Entries {
			got = append(got, fmt.Sprintf("%s %d %d", e.Key, e.Count, e.ValueCount))
		}
		return got
	}
	want := []string{"big-2 13 12", "big-1 12 11", "big-0 11 10", "tie-7 5 0", "tie-8 5 0"}
	if diff := cmp.Diff(want, top(5)); diff != "" {
		t.Errorf("top 5 (-want +got):\n%s", diff)
	}
	// What moved to another shard is no longer this one's to rank.
	b.exec(t, "UPDATE quipu.checkpoints SET owned = FALSE WHERE partition_id = 2")
	want = []string{"big-1 12 11", "big-0 11 10", "tie-8 5 0", "tie-9 5 0", "small-0 1 0"}
	if diff := cmp.Diff(want, top(5)); diff != "" {
		t.Errorf("top 5 without partition 2 (-want +got):\n%s", diff)
	}
	answer, err := b.read.Top(t.Context(), &mysql.TopRequest{Type: "never", From: minute(12, 0), To: minute(12, 10), N: 5})
	if err != nil || len(answer.Entries) != 0 {
		t.Errorf("type without rows: got %+v, %v", answer, err)
	}
}

// A read never sees a part of an Apply: count and as-of of a snapshot fit together.
func TestReadsSeeWholeTransactions(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for next := uint64(2); ; next++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			r := request(epoch, next-1, next, counted("a", minute(12, int(next%60)), 1), counted("b", minute(9, int(next%60)), 1))
			r.AsOf = int64(next - 1)
			if err := b.primary.Apply(t.Context(), r); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 200 {
		for _, keys := range [][]mysql.StatsKey{{{Partition: 3, Name: "a"}}, {{Partition: 3, Name: "a"}, {Partition: 3, Name: "b"}}} {
			answer, err := b.read.Stats(t.Context(), &mysql.StatsRequest{Type: "view", Keys: keys, To: event.MaxMinute + 1, MaxPoints: 2})
			if err != nil {
				t.Fatal(err)
			}
			for i, stats := range answer.Keys {
				if got, want := stats.Points[0].Count, answer.AsOf[3]; got != want {
					t.Fatalf("key %d: got %d as of %d", i, got, want)
				}
			}
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The server ends a read itself: nothing is left running.
func TestReadsHaveADeadlineInTheServer(t *testing.T) {
	b := newBench(t, shared)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(12, 0), 1)))
	blocker, err := b.servers.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	if _, err := blocker.ExecContext(t.Context(), "LOCK TABLES quipu.minute_counts WRITE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextWithin(t, 300*time.Millisecond)
	defer cancel()
	_, err = b.read.Stats(ctx, &mysql.StatsRequest{Type: "view", Keys: []mysql.StatsKey{{Partition: 3, Name: "a"}}, To: event.MaxMinute + 1, MaxPoints: 1})
	if !errors.Is(err, mysql.ErrDeadline) {
		t.Errorf("got %v, want %v", err, mysql.ErrDeadline)
	}
	if ctx.Err() != nil {
		t.Error("the client gave up before the server did")
	}
	testkit.Eventually(t, 5*time.Second, func() error { // far less than the statement would wait for the table
		if n := b.count(t, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'quipu_read' AND command = 'Query'"); n != 0 {
			return fmt.Errorf("%d statements are still running", n)
		}
		return nil
	})
	if _, err := blocker.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	if got := b.total(t, "a"); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
}
