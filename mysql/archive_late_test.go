package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// turnCold archives all rows of a resolution before an instant and returns the commit.
func (b *bench) turnCold(t testing.TB, l mysql.Leader, resolution string, to int64) *mysql.ArchiveCommit {
	t.Helper()
	c := b.written(t, l, resolution, "g1", 0, to)
	if _, err := b.primary.CommitFrozen(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// sealedDay seals, exports the late rows of a day, announces the objects and returns their commit.
func (b *bench) sealedDay(t testing.TB, l mysql.Leader, resolution, generation string, from int64) *mysql.ArchiveCommit {
	t.Helper()
	if _, err := b.primary.SealArchive(t.Context(), l, resolution); err != nil {
		t.Fatal(err)
	}
	rows := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: resolution, From: from, To: from + day, Late: true, Rows: 2})
	c := &mysql.ArchiveCommit{Leader: l, Resolution: resolution, From: from, To: from + day, Objects: objectsOf(resolution, generation, rows)}
	b.intend(t, l, c.Objects)
	return c
}

// cold sums up the events of what the manifest has stored of a day.
func (b *bench) cold(t testing.TB, resolution string, from int64) (events int64) {
	t.Helper()
	page, _, err := b.read.Manifest(t.Context(), &mysql.ManifestRequest{Resolution: resolution, From: from, To: from + day})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		if n, ok := r.EventCount.Int64(); ok && r.State == "stored" {
			events += n
		}
	}
	return events
}

// INV-6: late rows of sealed rounds move into objects, those of the current round stay.
func TestCommitLate(t *testing.T) {
	b, l := archiveBench(t)
	b.turnCold(t, l, "minute", dayAt(-1))
	before := b.cold(t, "minute", dayAt(-2))
	epoch := b.claim(t, 3)
	b.apply(t, request(epoch, 2, 3, counted("k0", dayAt(-2)+5, 7), measured("new", dayAt(-2)+5, 1, 9), counted("k0", dayAt(-3), 1)))
	if state := b.archiveState(t); !slices.Contains(state.Late, mysql.LateRows{Resolution: "minute", Day: dayAt(-2), Rows: 2}) {
		t.Errorf("got %+v, want 2 late rows, none sealed", state.Late)
	}
	if rows := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: "minute", From: dayAt(-3), To: dayAt(-1), Late: true, Rows: 9}); len(rows) != 0 {
		t.Errorf("got %+v, want no rows before their round is sealed", rows)
	}
	c := b.sealedDay(t, l, "minute", "late1", dayAt(-2))
	b.apply(t, request(epoch, 3, 4, counted("k0", dayAt(-2)+5, 100))) // in the next round
	for range 2 {
		if mark, err := b.primary.CommitLate(t.Context(), c); err != nil || mark.LateRound != 2 {
			t.Fatalf("got %+v, %v", mark, err)
		}
	}
	if got := b.cold(t, "minute", dayAt(-2)); got != before+8 {
		t.Errorf("got %d events in objects, want 8 more than %d", got, before)
	}
	want := []string{"2025-11-17 00:00:00|1|1", "2025-11-18 00:05:00|100|2"}
	if diff := gocmp.Diff(want, b.rows(t, "SELECT CAST(start AS CHAR), event_count, late_round FROM quipu.late_minute_counts ORDER BY start")); diff != "" {
		t.Errorf("late rows (-want +got):\n%s", diff)
	}
	// A part of a day that has too many rows for one transaction. Its objects are of the day all the same.
	part := b.sealedDay(t, l, "minute", "part", dayAt(-2))
	part.To = dayAt(-2) + 5
	if _, err := b.primary.CommitLate(t.Context(), part); !errors.Is(err, mysql.ErrConservation) {
		t.Errorf("a part without the row: got %v, want %v", err, mysql.ErrConservation)
	}
	part.From, part.To = part.To, part.To+1
	if _, err := b.primary.CommitLate(t.Context(), part); err != nil {
		t.Error(err)
	}
	if got := b.cold(t, "minute", dayAt(-2)); got != before+108 {
		t.Errorf("got %d events in objects, want 108 more than %d", got, before)
	}
	// A day without sealed rows needs no object.
	if _, err := b.primary.CommitLate(t.Context(), &mysql.ArchiveCommit{Leader: l, Resolution: "hour", From: 0, To: day}); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("hours that are not cold: got %v, want %v", err, mysql.ErrConflict)
	}
	if _, err := b.primary.CommitLate(t.Context(), &mysql.ArchiveCommit{Leader: l, Resolution: "minute", From: 0, To: day}); err != nil {
		t.Error(err)
	}
}

func TestCommitLateRefuses(t *testing.T) {
	b, l := archiveBench(t)
	b.turnCold(t, l, "minute", dayAt(-1))
	b.apply(t, request(b.claim(t, 3), 2, 3, counted("k0", dayAt(-2)+5, 7), counted("k1", dayAt(-2)+5, 7)))
	good := b.sealedDay(t, l, "minute", "late1", dayAt(-2))
	for name, one := range map[string]struct {
		change func(*mysql.ArchiveCommit)
		want   error
	}{
		"a row too many":  {func(c *mysql.ArchiveCommit) { c.Objects[0].Parts[0].Rows++ }, mysql.ErrConservation},
		"no object":       {func(c *mysql.ArchiveCommit) { c.Objects = nil }, mysql.ErrConservation},
		"another day":     {func(c *mysql.ArchiveCommit) { c.From, c.To, c.Objects = c.From-day, c.To-day, nil }, nil}, // it has no late rows
		"two days":        {func(c *mysql.ArchiveCommit) { c.From -= day }, mysql.ErrUnapplicable},
		"not announced":   {func(c *mysql.ArchiveCommit) { c.Objects[0].Object = "other" }, mysql.ErrConflict},
		"no such thing":   {func(c *mysql.ArchiveCommit) { c.Resolution = "week" }, mysql.ErrUnapplicable},
		"a day too young": {func(c *mysql.ArchiveCommit) { c.From, c.To, c.Objects = dayAt(-1), dayAt(0), nil }, mysql.ErrConflict},
	} {
		c := *good
		c.Objects = slices.Clone(good.Objects)
		c.Objects[0].Parts = slices.Clone(c.Objects[0].Parts)
		one.change(&c)
		if _, err := b.primary.CommitLate(t.Context(), &c); !errors.Is(err, one.want) {
			t.Errorf("%s: got %v, want %v", name, err, one.want)
		}
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.late_minute_counts"); n != 2 {
		t.Errorf("got %d late rows, want both", n)
	}
	// Not while the day is restored, but again once it is released.
	r, err := b.primary.BeginRestore(t.Context(), l, "minute", dayAt(-3), dayAt(-1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.primary.CommitLate(t.Context(), good); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("a restored day: got %v, want %v", err, mysql.ErrConflict)
	}
	if _, err := b.primary.ReleaseRestored(t.Context(), l, "minute", r.From, r.To); err != nil {
		t.Fatal(err)
	}
	if _, err := b.primary.CommitLate(t.Context(), good); err != nil {
		t.Error(err)
	}
}

// INV-1, INV-6: with writers adding to frozen days all the time, each freeze, seal and commit leaves every event in exactly one place.
func TestArchivingBesideLateWriters(t *testing.T) {
	b, l := archiveBench(t)
	start := b.count(t, "SELECT SUM(event_count) FROM quipu.minute_counts")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	applied := make([]int64, 2)
	for w, partition := range []int{3, 5} {
		epoch := b.claim(t, partition)
		wg.Go(func() {
			for offset := uint64(2); ctx.Err() == nil; offset++ {
				var rows []event.Row
				for i := range int64(20) {
					rows = append(rows, counted(fmt.Sprint("k", i%7), dayAt(-3)+(int64(offset)*611+i*97)%(3*day), 1))
				}
				r := request(epoch, offset, offset+1, rows...)
				r.Partition = partition
				for {
					err := b.primary.Apply(context.WithoutCancel(ctx), r)
					if err == nil {
						break
					}
					if !errors.Is(err, mysql.ErrUnavailable) {
						t.Error(err)
						return
					}
				}
				applied[w] += int64(len(rows))
			}
		})
	}
	for d := int64(-2); d <= 0; d++ {
		from := int64(0)
		if d > -2 {
			from = dayAt(d - 1)
		}
		if _, err := b.primary.CommitFrozen(t.Context(), b.written(t, l, "minute", "g1", from, dayAt(d))); err != nil {
			t.Error(err)
		}
		for late := dayAt(-3); late < dayAt(d); late += day {
			c := b.sealedDay(t, l, "minute", fmt.Sprint("late", d), late)
			if _, err := b.primary.CommitLate(t.Context(), c); err != nil {
				t.Error(err)
			}
		}
	}
	cancel()
	wg.Wait()
	got := int64(b.count(t, "SELECT COALESCE(SUM(event_count), 0) FROM quipu.late_minute_counts"))
	for d := int64(-3); d < 0; d++ {
		got += b.cold(t, "minute", dayAt(d))
	}
	if want := int64(start) + applied[0] + applied[1]; got != want {
		t.Errorf("got %d events in objects and late rows, want %d", got, want)
	}
	if applied[0] == 0 || applied[1] == 0 {
		t.Error("the writers did nothing")
	}
}

// mergeOf is the commit of one object in place of all of a day's, with their sums.
func mergeOf(page []mysql.ManifestRow, generation string) *mysql.ArchiveCommit {
	first := page[0]
	c := &mysql.ArchiveCommit{Resolution: first.Resolution, From: first.From, To: first.To}
	row := mysql.ArchiveRow{Row: counted("any", first.From, 1)}
	c.Objects = objectsOf(first.Resolution, generation, []mysql.ArchiveRow{row})
	c.Objects[0].Parts = nil
	for _, m := range page {
		if !slices.Contains(c.Replaced, m.Object) {
			c.Replaced = append(c.Replaced, m.Object)
		}
		at := slices.IndexFunc(c.Objects[0].Parts, func(p mysql.ArchiveSums) bool { return p.Partition == m.Partition })
		if at < 0 {
			c.Objects[0].Parts = append(c.Objects[0].Parts, m.ArchiveSums)
			continue
		}
		p := &c.Objects[0].Parts[at]
		p.Rows += m.Rows
		p.EventCount, p.ValueCount, p.ValueSum = p.EventCount.Add(m.EventCount), p.ValueCount.Add(m.ValueCount), p.ValueSum.Add(m.ValueSum)
	}
	return c
}

func TestCommitMerged(t *testing.T) {
	b, l := archiveBench(t)
	b.turnCold(t, l, "minute", dayAt(-1))
	b.apply(t, request(b.claim(t, 3), 2, 3, counted("k0", dayAt(-2), 7)))
	late := b.sealedDay(t, l, "minute", "late1", dayAt(-2))
	if _, err := b.primary.CommitLate(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	before := b.cold(t, "minute", dayAt(-2))
	page, _, err := b.read.Manifest(t.Context(), &mysql.ManifestRequest{Resolution: "minute", From: dayAt(-2), To: dayAt(-1)})
	if err != nil {
		t.Fatal(err)
	}
	good := *mergeOf(page, "merged")
	good.Leader = l
	merged, replaced := good.Objects, good.Replaced
	for i := range merged[0].Parts {
		if merged[0].Parts[i].Partition == 3 {
			merged[0].Parts[i].Rows-- // the late row is of the same key and minute as one that was there
		}
	}
	b.intend(t, l, merged)
	for name, one := range map[string]struct {
		change func(*mysql.ArchiveCommit)
		want   error
	}{
		"a row too many":         {func(c *mysql.ArchiveCommit) { c.Objects[0].Parts[0].Rows += 2 }, mysql.ErrConservation},
		"no row":                 {func(c *mysql.ArchiveCommit) { c.Objects[0].Parts = c.Objects[0].Parts[1:] }, mysql.ErrConservation},
		"another sum":            {func(c *mysql.ArchiveCommit) { c.Objects[0].Parts[0].EventCount.Lo++ }, mysql.ErrConservation},
		"an object too few":      {func(c *mysql.ArchiveCommit) { c.Replaced = replaced[:1] }, mysql.ErrConservation},
		"one that is not stored": {func(c *mysql.ArchiveCommit) { c.Replaced = []string{replaced[0], "other"} }, mysql.ErrConflict},
		"another day's": {func(c *mysql.ArchiveCommit) {
			c.From, c.To = c.From-day, c.To-day
			c.Objects[0].From, c.Objects[0].To = c.From, c.To
		}, mysql.ErrConflict},
		"nothing": {func(c *mysql.ArchiveCommit) { c.Replaced = nil }, mysql.ErrUnapplicable},
	} {
		c := good
		c.Objects = slices.Clone(merged)
		c.Objects[0].Parts = slices.Clone(c.Objects[0].Parts)
		one.change(&c)
		if _, err := b.primary.CommitMerged(t.Context(), &c); !errors.Is(err, one.want) {
			t.Errorf("%s: got %v, want %v", name, err, one.want)
		}
	}
	for range 2 {
		if _, err := b.primary.CommitMerged(t.Context(), &good); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.cold(t, "minute", dayAt(-2)); got != before {
		t.Errorf("got %d events, want %d", got, before)
	}
	// What retired is no longer referred to, and can be forgotten once it was deleted; what is stored can't.
	got, err := b.read.References(t.Context(), append(replaced, merged[0].Object, "other"))
	if err != nil || len(got) != 1 || got[0] != merged[0].Object {
		t.Errorf("got references %v, %v; want only the merged object", got, err)
	}
	if err := b.primary.ForgetObjects(t.Context(), l, append(replaced, merged[0].Object)); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("got %v, want %v", err, mysql.ErrConflict)
	}
	for range 2 {
		if err := b.primary.ForgetObjects(t.Context(), l, replaced); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.archive_manifest WHERE state = 'retired'"); n != 0 {
		t.Errorf("got %d retired rows, want none", n)
	}
}
