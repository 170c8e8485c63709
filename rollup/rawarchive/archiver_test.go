package rawarchive_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/blob"
	"github.com/quipudb/quipu/blob/rawfile"
	"github.com/quipudb/quipu/eventlog/embedded"
	"github.com/quipudb/quipu/ingest"
	"github.com/quipudb/quipu/rollup/rawarchive"
	"github.com/quipudb/quipu/testkit"
)

// everyEventOnce appends over two days to all partitions, archives, and compares every row.
func everyEventOnce(t *testing.T, store *blob.Store) {
	r := newRig(t, store, nil)
	for day := range 2 {
		for n := range 12 {
			for p := range partitions {
				r.append(p, 10+n*p)
			}
			r.clock.move(time.Minute)
		}
		r.clock.move(time.Duration(1-day) * 24 * time.Hour)
	}
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 25, 1: 25, 2: 25}))
	for p := range partitions {
		if diff := cmp.Diff(r.appended[p], r.archived(p)); diff != "" {
			t.Errorf("partition %d (-appended +archived):\n%s", p, diff)
		}
		names := r.names(p)
		for i, s := range names {
			if next := uint64(1); i > 0 && s.First != names[i-1].Next || i == 0 && s.First != next {
				t.Errorf("object %d of partition %d begins at %d after one that ends at %d", i, p, s.First, names[max(i-1, 0)].Next)
			}
			if s.Incarnation != r.log.Incarnation() {
				t.Errorf("object %+v is of another log", s)
			}
		}
		if len(names) < 4 { // two days, about a hundred events an object
			t.Errorf("partition %d has %d objects", p, len(names))
		}
	}
	if got := r.metric("quipu_rawarchive_events_total"); int(got) != len(r.appended[0])+len(r.appended[1])+len(r.appended[2]) {
		t.Errorf("got %v events", got)
	}
	// The log is free to go now.
	testkit.Eventually(t, patience, func() error {
		for p := range partitions {
			if first := r.first(p); first != 25 {
				return fmt.Errorf("partition %d begins at %d", p, first)
			}
		}
		return nil
	})
}

func TestEveryEventIsArchivedOnceInAFolder(t *testing.T) {
	t.Parallel()
	everyEventOnce(t, folderStore(t))
}

func TestEveryEventIsArchivedOnceInS3(t *testing.T) {
	t.Parallel()
	everyEventOnce(t, s3Store(t))
}

// TestYoungBatchesStay: a batch is archived at its age by the log's clock, and not trimmed before.
func TestYoungBatchesStay(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	r.append(0, 5)
	stop := r.start(nil)
	defer stop()
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: 1, 1: 1, 2: 1})) // the log was told that nothing is
	r.clock.move(59 * time.Minute)
	r.append(1, 5)
	r.clock.move(59 * time.Second)
	r.rounds(3)
	if got := r.names(0); len(got) > 0 || r.told(0) != 1 || r.first(0) != 1 {
		t.Errorf("got %v, archived before %d, trimmed before %d", got, r.told(0), r.first(0))
	}
	r.clock.move(time.Second)
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: 2, 1: 1}))
}

// TestCrashBetweenUploadAndTelling: whoever comes next finds the object and tells of it, instead of writing another one.
func TestCrashBetweenUploadAndTelling(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	r.append(0, 30)
	r.append(0, 30)
	r.clock.move(time.Hour)
	deaf := &deafLog{Log: r.remote, lose: 1 << 30}
	r.run(func(c *rawarchive.Config) { c.Log = deaf }, func() error {
		if got := r.names(0); len(got) != 1 {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	if r.told(0) > 1 || r.first(0) != 1 {
		t.Fatalf("archived before %d, trimmed before %d although nobody told", r.told(0), r.first(0))
	}
	r.append(0, 3)
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 4}))
	if diff := cmp.Diff(r.appended[0], r.archived(0)); diff != "" || len(r.names(0)) != 2 {
		t.Errorf("%v (-appended +archived):\n%s", r.names(0), diff)
	}
}

// TestFailedUploads: one that stops half way leaves nothing; one whose acknowledgement is lost is found.
func TestFailedUploads(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	r.append(0, 30)
	r.clock.move(time.Hour)
	faulty := &faultyStore{Store: r.store, cutOff: true}
	stop := r.start(func(c *rawarchive.Config) { c.Store = faulty })
	defer stop()
	testkit.Eventually(t, patience, func() error {
		if r.metric("quipu_rawarchive_errors_total") < 2 {
			return fmt.Errorf("nothing failed")
		}
		return nil
	})
	if got := r.names(0); len(got) > 0 || r.told(0) > 1 {
		t.Errorf("got %v, archived before %d", got, r.told(0))
	}
	lost := 0
	faulty.mu.Lock()
	faulty.cutOff = false
	faulty.upload = func(string) error {
		if lost++; lost == 1 {
			return errFault
		}
		return nil
	}
	faulty.mu.Unlock()
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: 2}))
	if diff := cmp.Diff(r.appended[0], r.archived(0)); diff != "" || len(r.names(0)) != 1 {
		t.Errorf("%v (-appended +archived):\n%s", r.names(0), diff)
	}
}

// TestGapIsTold: the log was trimmed beyond the archive while nobody held it. What is left is archived, and the gap is in the names.
func TestGapIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), func(_ *embedded.Config, c *ingest.Config) { c.Hold, c.Checkpoints = false, nil })
	r.append(0, 30)
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 2}))
	for range 3 {
		r.append(0, 30)
	}
	must(t, r.log.Trim(t.Context(), 0, 5))
	r.append(0, 30)
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 6}))
	if gaps, missing := r.metric("quipu_rawarchive_gaps_total"), r.metric("quipu_rawarchive_missing_batches_total"); gaps != 1 || missing != 3 {
		t.Errorf("got %v gaps, %v batches missing", gaps, missing)
	}
	want := rawfile.Coverage{First: 1, Next: 6, Gaps: []rawfile.Gap{{From: 2, To: 5}}}
	if diff := cmp.Diff(want, rawfile.Cover(r.names(0))); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
}

// TestArchiveBeyondTheLog: objects of this log that it never had mean that the log was cut; nothing is archived or told then.
func TestArchiveBeyondTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	r.append(0, 3)
	r.append(1, 3)
	name := rawfile.Name{Date: dateOf(midday), Incarnation: r.log.Incarnation(), First: 1, Next: 50}
	_, err := r.store.Upload(t.Context(), object(t, name), write("not read"))
	must(t, err)
	r.clock.move(time.Hour)
	stop := r.start(nil)
	defer stop()
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: 0, 1: 2}))
	testkit.Eventually(t, patience, func() error {
		if r.metric("quipu_rawarchive_errors_total") == 0 || r.told(0) != 0 || len(r.names(0)) != 1 {
			return fmt.Errorf("archived before %d: %v", r.told(0), r.names(0))
		}
		return nil
	})
}

// TestTwoAtOnce has two archivers work without a lock: what they leave holds every event at its offset, whatever overlaps.
func TestTwoAtOnce(t *testing.T) {
	for name, store := range map[string]func(*testing.T) *blob.Store{"folder": folderStore, "S3": s3Store} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			twoAtOnce(t, newRig(t, store(t), nil))
		})
	}
}

func twoAtOnce(t *testing.T, r *rig) {
	var stops []func()
	for i := range 2 {
		stops = append(stops, r.start(func(c *rawarchive.Config) {
			c.Lock, c.MaxEvents, c.After = free, 50+i*37, time.Millisecond
		}))
	}
	for range 60 {
		r.append(0, 20)
		r.clock.move(time.Second)
	}
	r.clock.move(time.Hour)
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: 61}))
	for _, stop := range stops {
		stop()
	}
	if diff := cmp.Diff(r.appended[0], r.archived(0)); diff != "" {
		t.Errorf("(-appended +archived):\n%s", diff)
	}
}

// TestKeepExpires: objects go once their day is longer ago than is kept, but for the newest, which says where to go on.
func TestKeepExpires(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	for range 4 {
		r.append(0, 10)
		r.append(1, 10)
		r.clock.move(24 * time.Hour)
		r.run(nil, r.archivedTo(map[int]uint64{0: uint64(len(r.appended[0])/10 + 1), 1: uint64(len(r.appended[0])/10 + 1)}))
	}
	foreign := rawfile.Name{Date: dateOf(midday.AddDate(0, 0, -2)), Incarnation: "ff", First: 7, Next: 9}
	_, err := r.store.Upload(t.Context(), object(t, foreign), write("x"))
	must(t, err)
	_, err = r.store.Upload(t.Context(), "raw/partition=0000/notes.txt", write("x"))
	must(t, err)
	dates := func(p int) (all []string) {
		for _, s := range r.names(p) {
			all = append(all, time.Unix(s.Date*60, 0).UTC().Format(time.DateOnly))
		}
		return all
	}
	// It is noon of the 26th: the 22nd ended 3.5 days ago.
	r.run(func(c *rawarchive.Config) { c.Keep = 60 * time.Hour }, func() error {
		if diff := cmp.Diff([]string{"2026-11-24", "2026-11-25"}, dates(0)); diff != "" {
			return fmt.Errorf("dates (-want +got):\n%s", diff)
		}
		return nil
	})
	r.clock.move(30 * 24 * time.Hour)
	r.run(func(c *rawarchive.Config) { c.Keep = 24 * time.Hour }, func() error {
		if diff := cmp.Diff([][]string{{"2026-11-25"}, {"2026-11-25"}}, [][]string{dates(0), dates(1)}); diff != "" {
			return fmt.Errorf("dates (-want +got):\n%s", diff)
		}
		return nil
	})
	if _, err := r.store.Attributes(t.Context(), "raw/partition=0000/notes.txt"); err != nil {
		t.Errorf("what is no object of raw events was deleted: %v", err)
	}
	r.append(0, 1)
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 6}))
	if gaps := r.metric("quipu_rawarchive_gaps_total"); gaps != 0 || rawfile.Cover(r.names(0)).Gaps != nil {
		t.Errorf("got %v gaps: %v", gaps, r.names(0))
	}
}

// TestFullLogIsArchivedSooner: from half of its bound on the log is archived at a minute's age, from three quarters on at once.
func TestFullLogIsArchivedSooner(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), func(l *embedded.Config, c *ingest.Config) { l.MaxBytes, c.Checkpoints = 400<<10, nil })
	stop := r.start(func(c *rawarchive.Config) { c.MaxEvents, c.Rate = 1000, 1 }) // a rate that would take for ever
	defer stop()
	fill := func(parts int64) (n uint64) {
		for used, limit := r.log.Bytes(); used <= limit/4*parts; used, limit = r.log.Bytes() {
			r.append(0, 20)
		}
		return r.ends(0)
	}
	end := fill(2)
	r.clock.move(2 * time.Minute)
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: end}))
	end = fill(3)
	testkit.Eventually(t, patience, r.archivedTo(map[int]uint64{0: end}))
	if diff := cmp.Diff(r.appended[0], r.archived(0)); diff != "" {
		t.Errorf("(-appended +archived):\n%s", diff)
	}
}

// TestBatchesThatAreNoneArePassed: the log goes on behind what can't be decoded.
func TestBatchesThatAreNoneArePassed(t *testing.T) {
	t.Parallel()
	r := newRig(t, folderStore(t), nil)
	r.append(0, 4)
	r.appendBytes(0, []byte(strings.Repeat("no batch ", 20)))
	r.append(0, 4)
	r.appendBytes(1, []byte("no batch either"))
	r.clock.move(time.Hour)
	r.run(nil, r.archivedTo(map[int]uint64{0: 4, 1: 2}))
	if diff := cmp.Diff(r.appended[0], r.archived(0)); diff != "" || len(r.archived(1)) != 0 {
		t.Errorf("(-appended +archived):\n%s", diff)
	}
	if got := r.metric("quipu_rawarchive_undecodable_batches_total"); got != 2 {
		t.Errorf("got %v batches that are none", got)
	}
}
