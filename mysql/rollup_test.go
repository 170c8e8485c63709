package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// rollupBench is a bench in whose time everything that is rolled up has ended.
func rollupBench(t testing.TB) *bench {
	t.Helper()
	b := newBench(t, shared)
	b.primary = b.lateBy(t, 100*24*time.Hour)
	return b
}

// lateBy is the shard's primary some time after the cluster was created.
func (b *bench) lateBy(t testing.TB, d time.Duration) *mysql.Primary {
	t.Helper()
	p, err := mysql.NewPrimary(mysql.PrimaryConfig{
		DB: pool(t, b.servers.Primary, local.AccountApply, nil), ClusterID: "c1", ShardID: "s1", Now: func() time.Time { return created.Add(d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) lead(t testing.TB, owner string) *mysql.RollupRequest {
	t.Helper()
	epoch, err := b.primary.ClaimRollup(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return &mysql.RollupRequest{Epoch: epoch, Owner: owner, ChunkRows: 2}
}

// stepRollup does the next step. One whose outcome is not known, because the machine was too busy, is followed by another.
func stepRollup(ctx context.Context, p *mysql.Primary, r *mysql.RollupRequest) (done mysql.RollupStep, err error) {
	for range 20 {
		done, err = p.StepRollup(ctx, r)
		if !errors.Is(err, mysql.ErrUnavailable) && !errors.Is(err, mysql.ErrUnknownOutcome) {
			break
		}
	}
	return done, err
}

func (b *bench) step(t testing.TB, r *mysql.RollupRequest) mysql.RollupStep {
	t.Helper()
	done, err := stepRollup(t.Context(), b.primary, r)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (b *bench) rollUp(t testing.TB, r *mysql.RollupRequest) (steps []mysql.RollupStep) {
	t.Helper()
	for {
		done := b.step(t, r)
		if done.Action == mysql.RollupIdle {
			return steps
		}
		steps = append(steps, done)
	}
}

func (b *bench) marks(t testing.TB) (hour, day mysql.RollupMark) {
	t.Helper()
	state, err := b.read.Rollup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state.Marks[0], state.Marks[1]
}

func TestRollupGoesThroughHoursAndDays(t *testing.T) {
	b := rollupBench(t)
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 1, 2, counted("a", minute(10, 5), 1), measured("a", minute(10, 6), 2, 7), counted("b", minute(10, 5), 4),
		counted("c", minute(10, 5), 1), counted("c", minute(10, 7), -1), counted("a", minute(13, 0), 8)))
	lead := b.lead(t, "r1")
	lead.Until = minute(12, 59)
	hour := func(action mysql.RollupAction, h int, rows int64) mysql.RollupStep {
		return mysql.RollupStep{Action: action, Resolution: "hour", Start: minute(h, 0), Rows: rows}
	}
	want := []mysql.RollupStep{
		hour(mysql.RollupAnnounced, 10, 0), hour(mysql.RollupComputed, 10, 1), hour(mysql.RollupComputed, 10, 1), hour(mysql.RollupComputed, 10, 1), hour(mysql.RollupAdvanced, 10, 0),
		hour(mysql.RollupAnnounced, 11, 0), hour(mysql.RollupComputed, 11, 0), hour(mysql.RollupAdvanced, 11, 0),
	}
	if diff := cmp.Diff(want, b.rollUp(t, lead)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	lead.Until = minute(48, 0)
	steps := b.rollUp(t, lead)
	if last := steps[len(steps)-1]; last.Resolution != "day" || last.Start != minute(24, 0) || last.Action != mysql.RollupAdvanced {
		t.Errorf("got %+v, want the advance over the second day", last)
	}
	rows := table(t, b.servers.Primary.Root(), `SELECT k.name, CAST(d.start AS CHAR), d.event_count, COALESCE(CONCAT_WS(' ', d.value_count, d.value_sum, d.value_min, d.value_max), '')
FROM quipu.day_counts d JOIN quipu.counted_keys k ON k.id = d.key_id ORDER BY 1`)
	if diff := cmp.Diff([]string{"a|2025-11-20 00:00:00|11|2 14 7 7", "b|2025-11-20 00:00:00|4|", "c|2025-11-20 00:00:00|0|"}, rows); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
	if got := b.total(t, "a"); got != 11 {
		t.Errorf("got %d, want 11", got)
	}
}

// Applies that leave no gap delay an announcement, and can't keep it away: after some tries it waits in the queue, and then comes first.
func TestAnnouncementQueuesWhereThereIsNoGap(t *testing.T) {
	b := rollupBench(t)
	lead := b.lead(t, "r1")
	lead.Until = minute(12, 0)
	root := b.servers.Primary.Root()
	tx, err := root.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "SELECT * FROM quipu.rollup_watermarks LOCK IN SHARE MODE"); err != nil { // as Apply does
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		done, err := stepRollup(context.WithoutCancel(t.Context()), b.primary, lead)
		if err == nil && done.Action != mysql.RollupAnnounced {
			err = fmt.Errorf("got %+v, want an announcement", done)
		}
		ended <- err
	}()
	testkit.Eventually(t, patience, func() error {
		var waiting int
		err := root.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'UPDATE rollup_watermarks%'").Scan(&waiting)
		if err == nil && waiting == 0 {
			err = errors.New("the announcement does not wait")
		}
		return err
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What has not ended is not computed, whatever is asked for.
func TestRollupStopsAtNow(t *testing.T) {
	b := newBench(t, shared) // an hour after its creation, at 11:17
	lead := b.lead(t, "r1")
	lead.Until = minute(48, 0)
	b.rollUp(t, lead)
	if hour, day := b.marks(t); hour.CompleteBefore != minute(11, 0) || day.CompleteBefore != minute(0, 0) {
		t.Errorf("got %+v and %+v, want 11:00 and midnight", hour, day)
	}
}

// INV-6: at each point of an hour's way, late events for keys before and after the progress count once at every resolution.
func TestLateRowsAtEveryPointOfAnAdvance(t *testing.T) {
	b := rollupBench(t)
	epoch, offset := b.claim(t, 3), uint64(1)
	want := map[string]int64{}
	late := func() {
		var rows []event.Row
		for i := range 6 {
			key := fmt.Sprint("k", i)
			rows = append(rows, counted(key, minute(10, i), int64(i+1)))
			want[key] += int64(i + 1)
		}
		// One that the shard meets now: its id is above the progress.
		fresh := fmt.Sprint("new", offset)
		rows, want[fresh] = append(rows, counted(fresh, minute(10, 30), 1)), 1
		b.apply(t, request(epoch, offset, offset+1, rows...))
		offset++
	}
	late()
	lead := b.lead(t, "r1")
	lead.Until = minute(24, 0)
	for {
		done := b.step(t, lead)
		late()
		for key, n := range want {
			for _, step := range []mysql.Step{mysql.StepHour, mysql.StepDay} {
				if got := b.stats(t, key, minute(0, 0), minute(24, 0), step); len(got) != 1 || got[0].Count != n {
					t.Fatalf("after %+v: key %s by step %d: got %+v, want %d", done, key, step, got, n)
				}
			}
		}
		if done.Action == mysql.RollupIdle {
			break
		}
	}
	if _, day := b.marks(t); day.CompleteBefore != minute(24, 0) {
		t.Errorf("got the day's watermark %d, want %d", day.CompleteBefore, minute(24, 0))
	}
}

// A zombie's step changes nothing, wherever it is.
func TestRollupZombieIsFenced(t *testing.T) {
	b := rollupBench(t)
	b.apply(t, request(b.claim(t, 3), 1, 2, counted("a", minute(10, 5), 1), counted("b", minute(10, 5), 4), counted("c", minute(10, 5), 4)))
	old := b.lead(t, "r1")
	old.Until = minute(11, 0)
	for {
		lead := b.lead(t, "r2")
		lead.Until = old.Until
		before, _ := b.read.Rollup(t.Context())
		if _, err := b.primary.StepRollup(t.Context(), old); !errors.Is(err, mysql.ErrFenced) {
			t.Fatalf("got %v, want %v", err, mysql.ErrFenced)
		}
		if after, _ := b.read.Rollup(t.Context()); !cmp.Equal(before, after) {
			t.Errorf("the zombie changed %+v into %+v", before, after)
		}
		if b.step(t, lead).Action == mysql.RollupIdle {
			break
		}
		old = lead
	}
	if hour, _ := b.marks(t); hour.CompleteBefore != minute(11, 0) {
		t.Errorf("got %+v, want 11:00", hour)
	}
}

// Ten at once, each believing that it leads, end where one does.
func TestManyLeadersEndWhereOneDoes(t *testing.T) {
	b := rollupBench(t)
	var rows []event.Row
	for i := range 40 {
		rows = append(rows, counted(fmt.Sprint("k", i), minute(10+i%3, i), int64(i)))
	}
	b.apply(t, request(b.claim(t, 3), 1, 2, rows...))
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for {
				lead := b.lead(t, fmt.Sprint("r", i))
				lead.Until = minute(13, 0)
				for {
					done, err := b.primary.StepRollup(t.Context(), lead)
					if errors.Is(err, mysql.ErrFenced) || errors.Is(err, mysql.ErrUnavailable) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					if done.Action == mysql.RollupIdle {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range 40 {
		if got := b.total(t, fmt.Sprint("k", i)); got != int64(i) {
			t.Errorf("key %d: got %d", i, got)
		}
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.hour_counts"); n != 40 {
		t.Errorf("got %d hour rows, want 40", n)
	}
}

// New roles come before the migration: they count in a schema without a roll-up, and say that they can't roll up.
func TestSchemaWithoutRollup(t *testing.T) {
	b := rollupBench(t)
	b.exec(t, "ALTER TABLE quipu.rollup_watermarks DROP COLUMN computing_before")
	b.exec(t, "DROP TABLE quipu.rollup_progress")
	b.exec(t, "DROP TABLE quipu.rollup_leader")
	b.apply(t, request(b.claim(t, 3), 1, 2, counted("a", minute(9, 0), 1), counted("a", minute(11, 0), 2)))
	if got := b.total(t, "a"); got != 3 {
		t.Errorf("got %d, want 3", got)
	}
	if _, err := b.primary.ClaimRollup(t.Context(), "r1"); !errors.Is(err, mysql.ErrSchema) {
		t.Errorf("got %v, want %v", err, mysql.ErrSchema)
	}
	if _, err := b.read.Rollup(t.Context()); !errors.Is(err, mysql.ErrSchema) {
		t.Errorf("got %v, want %v", err, mysql.ErrSchema)
	}
}
