package archive_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/rollup/archive"
)

// orphan puts an object into cold storage that nobody announced.
func (r *rig) orphan(shard string, day int64) string {
	r.t.Helper()
	unique, err := countfile.NewUnique()
	if err != nil {
		r.t.Fatal(err)
	}
	name, err := countfile.ObjectName("minute", day, 0, shard, unique)
	if err != nil {
		r.t.Fatal(err)
	}
	row := countfile.Row{Row: viewed("video-1", (today()-day)/minutesOfDay, 0, 1)}
	if _, err := r.store.Store.Upload(r.t.Context(), name, func(w io.Writer) error {
		_, err := countfile.Write(w, []countfile.Row{row}, countfile.Meta{Resolution: "minute", Day: day, Cluster: "c1", Shard: shard})
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return name
}

func (r *rig) has(object string) bool { return slices.Contains(r.objects(), object) }

// What nothing refers to is deleted some time after it was written or replaced; what is referred to, and what is not ours, stays.
func TestSweepDeletesWhatNothingRefersTo(t *testing.T) {
	r := newRig(t)
	r.fill(6, 2, 3)
	r.archived(1)
	r.fill(3, 3)
	r.mustRun(r.archiver(until(today() - minutesOfDay)))
	if _, err := r.archiver(nil).Compact(t.Context(), "s1", r.lead("c"), 0, 0); err != nil {
		t.Fatal(err)
	}
	orphan, foreign := r.orphan("s1", today()-3*minutesOfDay), r.orphan("s9", today()-3*minutesOfDay)
	now := time.Now()
	a := r.archiver(func(c *archive.Config) {
		c.DeleteGrace, c.DropDelay = time.Hour, 100*time.Hour
		c.Now = func() time.Time { return now }
	})
	before := r.objects()
	r.mustRun(a)
	if got := r.objects(); !slices.Equal(got, before) {
		t.Errorf("got %d objects within the grace, want %d", len(got), len(before))
	}
	now = now.Add(2 * time.Hour)
	servers.AwaitReplica(t)
	r.mustRun(a)
	r.check()
	if r.has(orphan) || !r.has(foreign) {
		t.Error("the orphan should be gone, that of another shard still there")
	}
	if got, want := len(r.objects()), len(r.manifest("minute"))+1; got != want {
		t.Errorf("got %d objects, want %d: those that were replaced are old enough", got, want)
	}
	removed, err := a.RemoveOrphans(t.Context())
	if err != nil || !slices.Equal(removed, []string{foreign}) {
		t.Errorf("got %v, %v; want the other shard's orphan", removed, err)
	}
	r.check()
}

// With a database that can't be asked, nothing is deleted.
func TestNothingIsDeletedWithoutAllReferences(t *testing.T) {
	r := newRig(t)
	r.fill(3, 2)
	r.archived(1)
	orphan := r.orphan("s1", today()-2*minutesOfDay)
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	a := r.archiver(func(c *archive.Config) { c.Now, c.DeleteGrace = later, time.Hour })
	replica := servers.Replica.Process()
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err := a.RemoveOrphans(t.Context())
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, archive.ErrUnknownReferences) || !r.has(orphan) {
		t.Errorf("got %v, want %v and the orphan still there", err, archive.ErrUnknownReferences)
	}
	r.calls.faults.set(func(_ int, what string) (before, after error) {
		if what == "archive:references" {
			return errInjected, nil
		}
		return nil, nil
	})
	if _, err := a.RemoveOrphans(t.Context()); !errors.Is(err, archive.ErrUnknownReferences) || !r.has(orphan) {
		t.Errorf("got %v, want %v and the orphan still there", err, archive.ErrUnknownReferences)
	}
}

// An object that was announced is no orphan, however old; once it is forgotten it is one.
func TestAnnouncedObjectsStay(t *testing.T) {
	r := newRig(t)
	r.fill(3, 3)
	r.archived(4)
	r.calls.faults.set(func(_ int, what string) (before, after error) {
		if what == "archive:commit" {
			return errInjected, nil
		}
		return nil, nil
	})
	change := until(today() - 2*minutesOfDay)
	if err := run(t.Context(), r.archiver(change), r.lead("dying")); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	r.calls.faults.set(nil)
	left := r.objects()
	a := r.archiver(func(c *archive.Config) { c.Now = func() time.Time { return time.Now().Add(48 * time.Hour) } })
	if removed, err := a.RemoveOrphans(t.Context()); err != nil || len(removed) > 0 || len(left) != 1 {
		t.Fatalf("got %v, %v of %v; want none removed", removed, err, left)
	}
	r.mustRun(r.archiver(change))
	servers.AwaitReplica(t)
	if removed, err := a.RemoveOrphans(t.Context()); err != nil || !slices.Equal(removed, left) {
		t.Fatalf("got %v, %v; want %v removed", removed, err, left)
	}
	r.check()
}

// Whatever is wrong with an object is found, by its kind.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	r := newRig(t)
	r.fill(40, 2, 3, 4, 5)
	r.archived(1)
	a := r.archiver(nil)
	verify := func(check archive.Check) *archive.Report {
		t.Helper()
		report, err := a.Verify(t.Context(), check)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	all := archive.Check{Sample: 1}
	if got := verify(all); got.Objects != 4 || got.Read != 4 || got.Rows != 4*40*3 || len(got.Findings) != 0 {
		t.Fatalf("got %+v, want 4 whole objects", got)
	}
	objects := r.objects()
	cut, changed := objects[0], objects[1]
	r.damage(cut, func(data []byte) []byte { return data[:len(data)-1] })
	r.damage(changed, func(data []byte) []byte { data[len(data)/3]++; return data })
	if err := r.store.Store.Delete(t.Context(), objects[2]); err != nil {
		t.Fatal(err)
	}
	exec(t, "UPDATE quipu.archive_manifest SET row_count = row_count + 1 WHERE object = ? LIMIT 1", objects[3])
	orphan := r.orphan("s1", today()-5*minutesOfDay)
	kinds := func(report *archive.Report) map[string]string {
		found := map[string]string{}
		for _, f := range report.Findings {
			found[f.Object] = f.Kind
		}
		return found
	}
	report := verify(all)
	want := map[string]string{cut: archive.Damaged, changed: archive.Damaged, objects[2]: archive.Missing, objects[3]: archive.Wrong, orphan: archive.Orphan}
	if got := kinds(report); len(got) != 5 || report.Errors() != 4 {
		t.Errorf("got %+v, want 5 findings, 4 errors", report)
	} else {
		for object, kind := range want {
			if got[object] != kind {
				t.Errorf("%s: got %q, want %q", object, got[object], kind)
			}
		}
	}
	if got := verify(archive.Check{Sample: 0}); got.Errors() != 2 || got.Read != 0 {
		t.Errorf("got %+v without reading, want what is missing or of another size", got)
	}
	day := today() - 5*minutesOfDay
	if got := verify(archive.Check{Sample: 1, From: day, To: day + minutesOfDay}); got.Objects != 1 || len(got.Findings) != 2 {
		t.Errorf("got %+v for one day, want its object and its orphan", got)
	}
	if got := verify(archive.Check{Sample: 1, Shards: []string{"s0"}}); got.Objects != 0 || got.Errors() != 0 {
		t.Errorf("got %+v for no shard of ours", got)
	}
}

// damage changes an object behind the store's back.
func (r *rig) damage(object string, change func([]byte) []byte) {
	r.t.Helper()
	path := filepath.Join(r.folder, object)
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		r.t.Fatal(err)
	}
}
