package mysql_test

import (
	"errors"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

// restorable turns two days cold and returns their rows.
func restorable(t *testing.T) (*bench, mysql.Leader, []mysql.ArchiveRow) {
	t.Helper()
	b, l := archiveBench(t)
	b.freezeAs(t, l, "minute", dayAt(-1))
	rows := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: "minute", From: 0, To: dayAt(-1), Rows: 100})
	b.turnCold(t, l, "minute", dayAt(-1))
	return b, l, rows
}

func (b *bench) beginRestore(t testing.TB, l mysql.Leader, from, to int64) mysql.RestoredRange {
	t.Helper()
	r, err := b.primary.BeginRestore(t.Context(), l, "minute", from, to)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func within(rows []mysql.ArchiveRow, from, to int64) []mysql.ArchiveRow {
	return slices.DeleteFunc(slices.Clone(rows), func(r mysql.ArchiveRow) bool { return r.Minute < from || r.Minute >= to })
}

func (b *bench) version(t testing.TB) int {
	t.Helper()
	return b.count(t, "SELECT version FROM quipu.archive_marks WHERE resolution = 'minute'")
}

func TestRestoreAndRelease(t *testing.T) {
	b, l, rows := restorable(t)
	b.dropAll(t, l, "minute")
	from, to := dayAt(-2), dayAt(-1)
	r := b.beginRestore(t, l, from, to)
	want := mysql.RestoredRange{ID: r.ID, Resolution: "minute", From: from, To: to, State: "loading"}
	if again := b.beginRestore(t, l, from, to); r != want || again != want {
		t.Errorf("got %+v and %+v, want %+v twice", r, again, want)
	}
	some := within(rows, from, to)
	add := func(rows []mysql.ArchiveRow) {
		t.Helper()
		if err := b.primary.AddRestored(t.Context(), l, r.ID, rows); err != nil {
			t.Fatal(err)
		}
	}
	add(some[:5])
	damaged := slices.Clone(some)
	damaged[0].Count++
	add(damaged)
	refused := func(what string) {
		t.Helper()
		if _, err := b.primary.EndRestore(t.Context(), l, r.ID); !errors.Is(err, mysql.ErrConservation) {
			t.Errorf("%s: got %v, want %v", what, err, mysql.ErrConservation)
		}
	}
	refused("another count")
	add(some)
	b.exec(t, "DELETE FROM quipu.restored_minute_counts LIMIT 1")
	refused("a row too few")
	if got := b.version(t); got != 0 {
		t.Errorf("got version %d before anything is ready", got)
	}
	add(some)
	add(some[3:9])
	want.State = "ready"
	for range 2 {
		got, err := b.primary.EndRestore(t.Context(), l, r.ID)
		if err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if state := b.archiveState(t); b.version(t) != 1 || len(state.Restored) != 1 || state.Restored[0] != want {
		t.Errorf("got version %d, %+v; want 1 and %+v", b.version(t), state.Restored, want)
	}
	const restored = "SELECT k.partition_id, k.name, CAST(m.start AS CHAR), m.event_count, COALESCE(CONCAT_WS(' ', m.value_count, m.value_sum, m.value_min, m.value_max), '') FROM quipu.restored_minute_counts m JOIN quipu.counted_keys k ON k.id = m.key_id ORDER BY 1, 2, 3"
	if got := b.rows(t, restored); len(got) != len(some) || !slices.Contains(got, "3|k1|2025-11-18 01:11:00|2|2 4002 2001 2001") {
		t.Errorf("got %v", got)
	}
	if err := b.primary.AddRestored(t.Context(), l, r.ID, some); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("rows for a ready range: got %v, want %v", err, mysql.ErrConflict)
	}
	want.State = "releasing"
	for range 2 {
		if got, err := b.primary.ReleaseRestored(t.Context(), l, "minute", from, to); err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if got := b.version(t); got != 2 {
		t.Errorf("got version %d, want 2", got)
	}
	if _, err := b.primary.BeginRestore(t.Context(), l, "minute", from, to); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("restore what is being released: got %v, want %v", err, mysql.ErrConflict)
	}
	if got := b.dropAll(t, l, "minute"); got.Rows != int64(len(some)) {
		t.Errorf("got %+v, want %d rows", got, len(some))
	}
	if state := b.archiveState(t); len(state.Restored) != 0 || len(b.rows(t, restored)) != 0 {
		t.Errorf("got %+v, want nothing", state.Restored)
	}
	if _, err := b.primary.ReleaseRestored(t.Context(), l, "minute", from, to); !errors.Is(err, mysql.ErrNoRange) {
		t.Errorf("got %v, want %v", err, mysql.ErrNoRange)
	}
}

func TestRestoreRefuses(t *testing.T) {
	b, l, rows := restorable(t)
	r := b.beginRestore(t, l, dayAt(-3), dayAt(-2))
	for name, one := range map[string]struct {
		from, to int64
		want     error
	}{
		"not cold":      {dayAt(-2), dayAt(0), mysql.ErrConflict},
		"overlapping":   {dayAt(-3), dayAt(-1), mysql.ErrConflict},
		"no whole days": {dayAt(-2), dayAt(-1) - 1, mysql.ErrUnapplicable},
		"empty":         {dayAt(-2), dayAt(-2), mysql.ErrUnapplicable},
	} {
		if _, err := b.primary.BeginRestore(t.Context(), l, "minute", one.from, one.to); !errors.Is(err, one.want) {
			t.Errorf("%s: got %v, want %v", name, err, one.want)
		}
	}
	row := within(rows, dayAt(-3), dayAt(-2))[0]
	outside, elsewhere := row, row
	outside.Minute = dayAt(-2)
	elsewhere.Partition = 77
	for name, one := range map[string]struct {
		id   uint64
		rows []mysql.ArchiveRow
		want error
	}{
		"outside":           {r.ID, []mysql.ArchiveRow{outside}, mysql.ErrUnapplicable},
		"twice":             {r.ID, []mysql.ArchiveRow{row, row}, mysql.ErrUnapplicable},
		"another partition": {r.ID, []mysql.ArchiveRow{elsewhere}, mysql.ErrMisrouted},
		"no range":          {r.ID + 1, []mysql.ArchiveRow{row}, mysql.ErrNoRange},
	} {
		if err := b.primary.AddRestored(t.Context(), l, one.id, one.rows); !errors.Is(err, one.want) {
			t.Errorf("%s: got %v, want %v", name, err, one.want)
		}
	}
	if _, err := b.primary.EndRestore(t.Context(), l, r.ID+1); !errors.Is(err, mysql.ErrNoRange) {
		t.Errorf("got %v, want %v", err, mysql.ErrNoRange)
	}
	b.exec(t, `INSERT INTO quipu.restored_ranges (resolution, range_start, range_end, state, changed_at)
SELECT 'day', '1970-01-01' + INTERVAL seq DAY, '1970-01-01' + INTERVAL seq + 1 DAY, 'ready', '2025-01-01' FROM `+testkit.Numbers(99)+" n")
	if _, err := b.primary.BeginRestore(t.Context(), l, "minute", dayAt(-2), dayAt(-1)); !errors.Is(err, mysql.ErrConflict) {
		t.Errorf("the 101st range: got %v, want %v", err, mysql.ErrConflict)
	}
}

// A zombie is refused in every call and changes nothing.
func TestArchiveZombieIsFenced(t *testing.T) {
	b, zombie, rows := restorable(t)
	next := b.written(t, zombie, "minute", "g2", dayAt(-1), dayAt(0))
	r := b.beginRestore(t, zombie, dayAt(-3), dayAt(-2))
	b.apply(t, request(b.claim(t, 3), 2, 3, counted("k0", dayAt(-2)+5, 7)))
	late := b.sealedDay(t, zombie, "minute", "late1", dayAt(-2))
	l := b.leads(t, "a2")
	page, _, err := b.read.Manifest(t.Context(), &mysql.ManifestRequest{})
	if err != nil {
		t.Fatal(err)
	}
	merged := *late
	merged.Replaced = []string{page[0].Object}
	before := b.archiveState(t)
	impostor := mysql.Leader{Epoch: l.Epoch, Owner: zombie.Owner}
	for _, who := range []mysql.Leader{zombie, impostor} {
		next.Leader, late.Leader, merged.Leader = who, who, who
		for name, call := range map[string]func() error{
			"freeze": func() error { _, err := b.primary.FreezeArchive(t.Context(), who, "hour", dayAt(0)); return err },
			"seal":   func() error { _, err := b.primary.SealArchive(t.Context(), who, "minute"); return err },
			"intend": func() error { return b.primary.IntendObjects(t.Context(), who, []string{"x"}) },
			"forget": func() error { return b.primary.ForgetObjects(t.Context(), who, namesOf(next.Objects)) },
			"frozen": func() error { _, err := b.primary.CommitFrozen(t.Context(), next); return err },
			"late":   func() error { _, err := b.primary.CommitLate(t.Context(), late); return err },
			"merged": func() error { _, err := b.primary.CommitMerged(t.Context(), &merged); return err },
			"drop":   func() error { _, err := b.primary.DropArchived(t.Context(), who, "minute"); return err },
			"restore": func() error {
				_, err := b.primary.BeginRestore(t.Context(), who, "minute", dayAt(-2), dayAt(-1))
				return err
			},
			"add": func() error { return b.primary.AddRestored(t.Context(), who, r.ID, within(rows, r.From, r.To)) },
			"end": func() error { _, err := b.primary.EndRestore(t.Context(), who, r.ID); return err },
			"release": func() error {
				_, err := b.primary.ReleaseRestored(t.Context(), who, "minute", r.From, r.To)
				return err
			},
		} {
			if err := call(); !errors.Is(err, mysql.ErrFenced) {
				t.Errorf("%s: got %v, want %v", name, err, mysql.ErrFenced)
			}
		}
	}
	if diff := gocmp.Diff(before, b.archiveState(t)); diff != "" {
		t.Errorf("the zombie changed the state:\n%s", diff)
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.restored_minute_counts"); n != 0 {
		t.Errorf("the zombie restored %d rows", n)
	}
}
