package mysql_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/quipudb/quipu/mysql"
)

// INV-5: an archiver that never learns the outcome of a COMMIT sends the same call again, and ends where one ends that always does.
func TestLostRepliesOfTheArchive(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		t.Run(fmt.Sprintf("delivered=%t", delivered), func(t *testing.T) {
			b, l, rows := restorable(t)
			f := &fault{word: "COMMIT", delivered: delivered}
			faulty := primaryOf(t, shared.Primary, func(c *mysql.Config) { c.Dial = f.dial })
			b.apply(t, request(b.claim(t, 3), 2, 3, counted("k0", dayAt(-2), 7)))
			late := b.sealedDay(t, l, "minute", "late1", dayAt(-2))
			lost := func(what string, call func() error) {
				t.Helper()
				f.armed.Store(true)
				if err := call(); !errors.Is(err, mysql.ErrUnknownOutcome) {
					t.Fatalf("%s: got %v, want %v", what, err, mysql.ErrUnknownOutcome)
				}
				if err := call(); err != nil {
					t.Fatalf("%s again: %v", what, err)
				}
			}
			ctx := t.Context()
			lost("freeze", func() error { _, err := faulty.FreezeArchive(ctx, l, "minute", dayAt(0)); return err })
			frozen := b.written(t, l, "minute", "g2", dayAt(-1), dayAt(0))
			lost("intend", func() error { return faulty.IntendObjects(ctx, l, namesOf(frozen.Objects)) })
			// The first of its two transactions only looks; the second is what counts.
			lost("frozen, looking", func() error { _, err := faulty.CommitFrozen(ctx, frozen); return err })
			lost("late", func() error { _, err := faulty.CommitLate(ctx, late); return err })
			lost("seal", func() error { _, err := faulty.SealArchive(ctx, l, "minute"); return err })

			page, _, err := b.read.Manifest(ctx, &mysql.ManifestRequest{Resolution: "minute", From: dayAt(-2), To: dayAt(-1)})
			if err != nil {
				t.Fatal(err)
			}
			merged := mergeOf(page, "merged")
			b.intend(t, l, merged.Objects)
			merged.Leader = l
			lost("merged", func() error { _, err := faulty.CommitMerged(ctx, merged); return err })
			lost("forget", func() error { return faulty.ForgetObjects(ctx, l, merged.Replaced) })

			var r mysql.RestoredRange
			lost("restore", func() (err error) {
				r, err = faulty.BeginRestore(ctx, l, "minute", dayAt(-3), dayAt(-2))
				return err
			})
			lost("add", func() error { return faulty.AddRestored(ctx, l, r.ID, within(rows, r.From, r.To)) })
			lost("end", func() error { _, err := faulty.EndRestore(ctx, l, r.ID); return err })
			if got := b.archiveState(t).Restored; len(got) != 1 || got[0].State != "ready" {
				t.Errorf("got %+v, want one ready range", got)
			}
			lost("release", func() error { _, err := faulty.ReleaseRestored(ctx, l, "minute", r.From, r.To); return err })
			lost("drop", func() error { _, err := faulty.DropArchived(ctx, l, "minute"); return err })
			b.dropAll(t, l, "minute")

			stored := int64(0)
			for d := int64(-3); d < 0; d++ {
				stored += b.cold(t, "minute", dayAt(d))
			}
			want := int64(0)
			for _, row := range rows {
				want += row.Count
			}
			for _, o := range frozen.Objects {
				for _, p := range o.Parts {
					n, _ := p.EventCount.Int64()
					want += n
				}
			}
			state := b.archiveState(t)
			if stored != want+7 || len(state.Intents) != 0 || len(state.Late) != 0 || len(state.Restored) != 0 || state.Marks[0].ColdBefore != dayAt(0) {
				t.Errorf("got %d events in objects, want %d, with %+v", stored, want+7, state)
			}
		})
	}
}

// INV-5: the reply of the transaction that moves the cold mark is lost, delivered or not.
func TestLostReplyOfTurningCold(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		t.Run(fmt.Sprintf("delivered=%t", delivered), func(t *testing.T) {
			b, l := archiveBench(t)
			c := b.written(t, l, "minute", "g1", 0, dayAt(0))
			f := &fault{word: "UPDATE archive_marks SET cold_before", delivered: delivered}
			faulty := primaryOf(t, shared.Primary, func(c *mysql.Config) { c.Dial = f.dial })
			f.armed.Store(true) // the server closes the transaction with its connection
			if _, err := faulty.CommitFrozen(t.Context(), c); !errors.Is(err, mysql.ErrUnavailable) || f.happened.Load() != 1 {
				t.Fatalf("got %v, want %v", err, mysql.ErrUnavailable)
			}
			if state := b.archiveState(t); state.Marks[0].ColdBefore != 0 || len(state.Intents) != len(c.Objects) {
				t.Errorf("got %+v, want that nothing took place", state)
			}
			for range 2 {
				if mark, err := faulty.CommitFrozen(t.Context(), c); err != nil || mark.ColdBefore != dayAt(0) {
					t.Errorf("got %+v, %v", mark, err)
				}
			}
		})
	}
}
