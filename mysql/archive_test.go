package mysql_test

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// dayAt returns where a day starts, counted from the one on which the cluster was created. Its watermarks stand at day 0: everything before can be
// frozen at every resolution.
func dayAt(n int64) int64 { return minute(0, 0) + n*day }

// archiveBench is a shard with rows of three days, in two partitions, and who leads its archive.
func archiveBench(t testing.TB) (*bench, mysql.Leader) {
	t.Helper()
	b := newBench(t, shared)
	if _, err := b.primary.MakeTimePartitions(t.Context()); err != nil { // of single days, as they were young then
		t.Fatal(err)
	}
	b.primary = b.lateBy(t, 100*24*time.Hour)
	var rows, others []event.Row
	for d := int64(-3); d < 0; d++ {
		for i := range int64(4) {
			rows = append(rows, counted(fmt.Sprint("k", i), dayAt(d)+i*70, 10+i), measured(fmt.Sprint("k", i), dayAt(d)+i*70+1, 2, -d*1000+i))
			others = append(others, measured(fmt.Sprint("k", i), dayAt(d)+i*70+1, 1, 1<<52), counted(fmt.Sprint("m", i), dayAt(d)+1439, -5))
		}
	}
	b.apply(t, request(b.claim(t, 3), 1, 2, rows...))
	r := request(b.claim(t, 5), 1, 2, others...)
	r.Partition = 5
	b.apply(t, r)
	return b, b.leads(t, "a1")
}

func (b *bench) leads(t testing.TB, owner string) mysql.Leader {
	t.Helper()
	epoch, err := b.primary.ClaimRollup(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return mysql.Leader{Epoch: epoch, Owner: owner}
}

func (b *bench) freezeAs(t testing.TB, l mysql.Leader, resolution string, before int64) mysql.ArchiveMark {
	t.Helper()
	mark, err := b.primary.FreezeArchive(t.Context(), l, resolution, before)
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// export reads all rows of a range in small portions and checks that no key is divided.
func (b *bench) export(t testing.TB, from *mysql.DB, r mysql.ArchiveRowsRequest) []mysql.ArchiveRow {
	t.Helper()
	type key struct {
		partition int
		name      string
	}
	var all []mysql.ArchiveRow
	seen := map[key]bool{}
	for {
		got, err := from.ArchiveRows(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		here := map[key]bool{}
		for _, row := range got.Rows {
			here[key{row.Partition, row.Key}] = true
		}
		for k := range here {
			if seen[k] {
				t.Fatalf("key %v is divided between portions", k)
			}
			seen[k] = true
		}
		all = append(all, got.Rows...)
		if r.NextKey = got.NextKey; r.NextKey == 0 {
			return all
		}
	}
}

// objectsOf puts rows into objects, one a day, of a generation of names.
func objectsOf(resolution, generation string, rows []mysql.ArchiveRow) []mysql.ArchiveObject {
	var out []mysql.ArchiveObject
	for _, row := range rows {
		from := row.Minute - row.Minute%day
		name := fmt.Sprintf("resolution=%s/day=%d/%s.parquet", resolution, from/day, generation)
		i := slices.IndexFunc(out, func(o mysql.ArchiveObject) bool { return o.Object == name })
		if i < 0 {
			sum := sha256.Sum256([]byte(name))
			out = append(out, mysql.ArchiveObject{Object: name, From: from, To: from + day, Bytes: 1000, SHA256: sum[:]})
			i = len(out) - 1
		}
		o := &out[i]
		at := slices.IndexFunc(o.Parts, func(s mysql.ArchiveSums) bool { return s.Partition == row.Partition })
		if at < 0 {
			o.Parts = append(o.Parts, mysql.ArchiveSums{Partition: row.Partition})
			at = len(o.Parts) - 1
		}
		s := &o.Parts[at]
		s.Rows++
		s.EventCount = s.EventCount.Add(event.SumOf(row.Count))
		s.ValueCount = s.ValueCount.Add(event.SumOf(row.ValueCount))
		s.ValueSum = s.ValueSum.Add(row.Sum)
	}
	return out
}

func namesOf(objects []mysql.ArchiveObject) []string {
	var names []string
	for _, o := range objects {
		names = append(names, o.Object)
	}
	return names
}

func (b *bench) intend(t testing.TB, l mysql.Leader, objects []mysql.ArchiveObject) {
	t.Helper()
	if err := b.primary.IntendObjects(t.Context(), l, namesOf(objects)); err != nil {
		t.Fatal(err)
	}
}

// written freezes, exports and announces a range and returns its commit.
func (b *bench) written(t testing.TB, l mysql.Leader, resolution, generation string, from, to int64) *mysql.ArchiveCommit {
	t.Helper()
	b.freezeAs(t, l, resolution, to)
	rows := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: resolution, From: from, To: to, Rows: 3})
	c := &mysql.ArchiveCommit{Leader: l, Resolution: resolution, From: from, To: to, Objects: objectsOf(resolution, generation, rows)}
	b.intend(t, l, c.Objects)
	return c
}

func (b *bench) archiveState(t testing.TB) *mysql.ArchiveState {
	t.Helper()
	state, err := b.read.ArchiveState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestFreezeStopsAtTheNextWatermark(t *testing.T) {
	b := rollupBench(t)
	l := b.leads(t, "a1")
	lead := &mysql.RollupRequest{Epoch: l.Epoch, Owner: l.Owner, ChunkRows: 100, Until: dayAt(1) + 60}
	b.rollUp(t, lead) // hours to day 1, 01:00; days to day 1
	for _, one := range []struct {
		resolution   string
		before, want int64
	}{
		{"minute", dayAt(-2) + 17, dayAt(-2)},
		{"minute", dayAt(-3), dayAt(-2)}, // never back
		{"minute", dayAt(9), dayAt(1)},
		{"hour", dayAt(0) + 59, dayAt(0)},
		{"hour", dayAt(9), dayAt(1)},
		{"day", dayAt(9), dayAt(1)},
	} {
		want := mysql.ArchiveMark{Resolution: one.resolution, FrozenBefore: one.want, LateRound: 1}
		for range 2 { // an answer may be lost
			if diff := gocmp.Diff(want, b.freezeAs(t, l, one.resolution, one.before)); diff != "" {
				t.Errorf("freeze %s before %d (-want +got):\n%s", one.resolution, one.before, diff)
			}
		}
	}
	if _, err := b.primary.FreezeArchive(t.Context(), l, "week", dayAt(0)); !errors.Is(err, mysql.ErrUnapplicable) {
		t.Errorf("got %v, want %v", err, mysql.ErrUnapplicable)
	}
}

// What is exported, whatever the size of its portions, is what was counted, with its names.
func TestExportIsWhatWasCounted(t *testing.T) {
	b, l := archiveBench(t)
	title, owner := "Cats", "ann"
	if _, err := b.primary.ImportKeys(t.Context(), []mysql.KeyAttributes{{Partition: 3, Name: "k1", Title: &title, Owner: &owner}}); err != nil {
		t.Fatal(err)
	}
	b.freezeAs(t, l, "minute", dayAt(-1))
	b.freezeAs(t, l, "day", dayAt(0))
	var whole []mysql.ArchiveRow
	for _, rows := range []int{1, 3, 5, 1000} {
		got := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: "minute", From: dayAt(-3), To: dayAt(-1), Rows: rows})
		slices.SortFunc(got, func(x, y mysql.ArchiveRow) int {
			return cmp.Compare(fmt.Sprint(x.Partition, x.Key, x.Minute), fmt.Sprint(y.Partition, y.Key, y.Minute))
		})
		if whole == nil {
			whole = got
		}
		if diff := gocmp.Diff(whole, got); diff != "" {
			t.Errorf("portions of %d rows (-want +got):\n%s", rows, diff)
		}
	}
	want := mysql.ArchiveRow{Partition: 3, Title: "Cats", Owner: "ann", Row: measured("k1", dayAt(-2)+71, 2, 2001)}
	if len(whole) != 2*(4+4+4+4) || !slices.Contains(whole, want) {
		t.Errorf("got %d rows %+v, want 32 with %+v", len(whole), whole, want)
	}
	days := b.export(t, b.read, mysql.ArchiveRowsRequest{Resolution: "day", From: 0, To: dayAt(0), Rows: 2})
	want = mysql.ArchiveRow{Partition: 3, Title: "Cats", Owner: "ann", Row: measured("k1", dayAt(-2), 2, 2001)}
	want.Count += 11
	if len(days) != 3*(4+4+4) || !slices.Contains(days, want) {
		t.Errorf("got %d rows %+v, want 36 with %+v", len(days), days, want)
	}
	for name, r := range map[string]mysql.ArchiveRowsRequest{
		"beyond the mark": {Resolution: "minute", From: dayAt(-3), To: dayAt(-1) + 1, Rows: 10},
		"late beyond it":  {Resolution: "minute", From: dayAt(-3), To: dayAt(-1) + 1, Rows: 10, Late: true},
	} {
		if _, err := b.read.ArchiveRows(t.Context(), &r); !errors.Is(err, mysql.ErrNotFrozen) {
			t.Errorf("%s: got %v, want %v", name, err, mysql.ErrNotFrozen)
		}
	}
}

// INV-5: what turns cold is what the objects hold, whether the answer arrives or not.
func TestCommitFrozen(t *testing.T) {
	b, l := archiveBench(t)
	for _, resolution := range []string{"minute", "hour", "day"} {
		c := b.written(t, l, resolution, "g1", 0, dayAt(-1))
		want := mysql.ArchiveMark{Resolution: resolution, FrozenBefore: dayAt(-1), ColdBefore: dayAt(-1), LateRound: 1}
		for range 2 {
			mark, err := b.primary.CommitFrozen(t.Context(), c)
			if err != nil || mark != want {
				t.Fatalf("got %+v, %v; want %+v", mark, err, want)
			}
		}
		page, more, err := b.read.Manifest(t.Context(), &mysql.ManifestRequest{Resolution: resolution})
		if err != nil || more || len(page) != 4 || page[0].Object != c.Objects[0].Object || page[0].ArchiveSums != c.Objects[0].Parts[0] || page[0].From != dayAt(-3) {
			t.Errorf("got %+v, %t, %v; want 2 days of 2 partitions", page, more, err)
		}
		// The last day, and a day without rows.
		if _, err := b.primary.CommitFrozen(t.Context(), b.written(t, l, resolution, "g1", dayAt(-1), dayAt(0))); err != nil {
			t.Fatal(err)
		}
	}
	state := b.archiveState(t)
	if len(state.Intents) != 0 || len(state.Marks) != 3 || state.Marks[2].ColdBefore != dayAt(0) || len(state.Watermarks) != 2 || len(state.Tables) < 10 {
		t.Errorf("got %+v", state)
	}
}

func TestCommitFrozenWithoutRows(t *testing.T) {
	b, l := archiveBench(t)
	c := b.written(t, l, "minute", "g1", 0, dayAt(-3))
	if len(c.Objects) != 0 {
		t.Fatalf("got %+v, want none", c.Objects)
	}
	for range 2 {
		if mark, err := b.primary.CommitFrozen(t.Context(), c); err != nil || mark.ColdBefore != dayAt(-3) {
			t.Fatalf("got %+v, %v", mark, err)
		}
	}
}

func TestCommitFrozenRefuses(t *testing.T) {
	b, l := archiveBench(t)
	good := b.written(t, l, "minute", "g1", 0, dayAt(-1))
	change := func(c func(*mysql.ArchiveCommit)) *mysql.ArchiveCommit {
		out := *good
		out.Objects = slices.Clone(good.Objects)
		for i := range out.Objects {
			out.Objects[i].Parts = slices.Clone(out.Objects[i].Parts)
		}
		c(&out)
		return &out
	}
	part := func(c *mysql.ArchiveCommit) *mysql.ArchiveSums { return &c.Objects[0].Parts[0] }
	for name, one := range map[string]struct {
		commit *mysql.ArchiveCommit
		want   error
	}{
		"a row too few":       {change(func(c *mysql.ArchiveCommit) { part(c).Rows-- }), mysql.ErrConservation},
		"an event too many":   {change(func(c *mysql.ArchiveCommit) { part(c).EventCount = part(c).EventCount.Add(event.SumOf(1)) }), mysql.ErrConservation},
		"a value too many":    {change(func(c *mysql.ArchiveCommit) { part(c).ValueCount = part(c).ValueCount.Add(event.SumOf(1)) }), mysql.ErrConservation},
		"another sum":         {change(func(c *mysql.ArchiveCommit) { part(c).ValueSum = part(c).ValueSum.Add(event.SumOf(-1)) }), mysql.ErrConservation},
		"another partition":   {change(func(c *mysql.ArchiveCommit) { part(c).Partition = 7 }), mysql.ErrConservation},
		"an object too few":   {change(func(c *mysql.ArchiveCommit) { c.Objects = c.Objects[1:] }), mysql.ErrConservation},
		"no object":           {change(func(c *mysql.ArchiveCommit) { c.Objects = nil }), mysql.ErrConservation},
		"not announced":       {change(func(c *mysql.ArchiveCommit) { c.Objects[0].Object = "other" }), mysql.ErrConflict},
		"not from the mark":   {change(func(c *mysql.ArchiveCommit) { c.From = dayAt(-3) }), mysql.ErrConflict},
		"beyond the mark":     {change(func(c *mysql.ArchiveCommit) { c.To = dayAt(0) }), mysql.ErrConflict},
		"no whole days":       {change(func(c *mysql.ArchiveCommit) { c.To-- }), mysql.ErrUnapplicable},
		"an object twice":     {change(func(c *mysql.ArchiveCommit) { c.Objects[1].Object = c.Objects[0].Object }), mysql.ErrUnapplicable},
		"a partition twice":   {change(func(c *mysql.ArchiveCommit) { c.Objects[0].Parts[1].Partition = c.Objects[0].Parts[0].Partition }), mysql.ErrUnapplicable},
		"an object of 2 days": {change(func(c *mysql.ArchiveCommit) { c.Objects[0].To += day }), mysql.ErrUnapplicable},
		"no checksum":         {change(func(c *mysql.ArchiveCommit) { c.Objects[0].SHA256 = nil }), mysql.ErrUnapplicable},
	} {
		before := b.archiveState(t)
		_, err := b.primary.CommitFrozen(t.Context(), one.commit)
		if !errors.Is(err, one.want) {
			t.Errorf("%s: got %v, want %v", name, err, one.want)
		}
		if diff := gocmp.Diff(before, b.archiveState(t)); diff != "" {
			t.Errorf("%s changed the state:\n%s", name, diff)
		}
	}
	// A row that somebody tampered with since it was exported.
	b.exec(t, "UPDATE quipu.minute_counts SET value_sum = value_sum + 1 WHERE start = '2025-11-18 00:01:00' LIMIT 1")
	_, err := b.primary.CommitFrozen(t.Context(), good)
	refused, ok := errors.AsType[*mysql.ConservationError](err)
	if !ok || refused.Want.ValueSum == refused.Got.ValueSum || refused.Want.Rows != refused.Got.Rows {
		t.Errorf("got %v, want a %T", err, refused)
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.archive_manifest"); n != 0 {
		t.Errorf("got %d rows in the manifest, want none", n)
	}
}
