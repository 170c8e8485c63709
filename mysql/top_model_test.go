package mysql_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// rankings compares rankings with the model, and counts what they were so that a test can tell that it met all kinds.
type rankings struct {
	exact, inexact, refused atomic.Int64
	archive                 bool // detail goes to cold storage
}

func (k *rankings) report(t *testing.T) {
	t.Helper()
	t.Logf("rankings: %d exact, %d not, %d refused", k.exact.Load(), k.inexact.Load(), k.refused.Load())
	if !t.Failed() && (k.exact.Load() == 0 || k.inexact.Load() == 0 && !k.archive) { // lists that are archived soon are seldom pruned before
		t.Error("not all kinds of rankings were met")
	}
}

// rankingQuestion draws a range around a minute.
func rankingQuestion(n func(int) int, kind string, around int64) *mysql.TopRequest {
	from, to, _ := question(n, around)
	return &mysql.TopRequest{Type: kind, From: from, To: to, N: 1 + n(5), MaxScanned: int64(60 + n(3*1440))}
}

type rankedKey struct {
	partition int
	key       string
}

// check asks for a ranking. Each count in it must be the model's, at the answer's own instant; no key that is left out may count more than the answer says;
// and one that says that it is exact must be the model's.
func (k *rankings) check(ctx context.Context, read *mysql.DB, r *mysql.TopRequest, ledgers ...*ledger) error {
	answer, err := read.Top(ctx, r)
	if refused, ok := errors.AsType[*mysql.UnrankedError](err); ok {
		k.refused.Add(1)
		if k.archive {
			return nil // what is offered may be none, and marks move
		}
		if refused.From >= refused.To {
			return fmt.Errorf("%+v: nothing else is offered: %w", r, err)
		}
		again := *r
		again.From, again.To = refused.From, refused.To
		if answer, err = read.Top(ctx, &again); err != nil {
			return fmt.Errorf("%+v instead of %+v: %w", again, r, err)
		}
		r = &again
	}
	if err != nil {
		return err
	}
	totals := map[rankedKey]*mysql.Point{}
	for _, l := range ledgers {
		for row := range l.rowsAt(answer.AsOf[l.partition], r.From, r.To) {
			id := rankedKey{l.partition, row.Key}
			if totals[id] == nil {
				totals[id] = &mysql.Point{Start: r.From, Aggregate: event.NewAggregate()}
			}
			totals[id].Merge(row.Aggregate)
		}
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%+v as of %v by %s: %s; answer %+v", *r, answer.AsOf, answer.Resolution, fmt.Sprintf(format, args...), answer)
	}
	for i, e := range answer.Entries {
		want := totals[rankedKey{e.Partition, e.Key}]
		if want == nil || gocmp.Diff(*want, e.Point) != "" {
			return wrong("entry %d is not %+v", i, want)
		}
	}
	want := rankingOf(totals)
	for _, e := range want {
		if !contains(answer.Entries, e) && e.Count > answer.Others {
			return wrong("%s, which is left out, counts %d", e.Key, e.Count)
		}
	}
	want = want[:min(r.N, len(want))]
	if !answer.Exact {
		k.inexact.Add(1)
		if !slices.IsSortedFunc(answer.Entries, compareEntries) || len(answer.Entries) > r.N {
			return wrong("not in order")
		}
		return nil
	}
	k.exact.Add(1)
	if diff := gocmp.Diff(want, answer.Entries, equateEmpty); diff != "" {
		return wrong("not exact (-want +got):\n%s", diff)
	}
	return nil
}

var equateEmpty = gocmp.Transformer("nil", func(entries []mysql.TopEntry) []mysql.TopEntry { return append([]mysql.TopEntry{}, entries...) })

// rankingOf sorts the keys that count.
func rankingOf(totals map[rankedKey]*mysql.Point) []mysql.TopEntry {
	var all []mysql.TopEntry
	for id, p := range totals {
		if p.Count > 0 {
			all = append(all, mysql.TopEntry{Partition: id.partition, Key: id.key, Point: *p})
		}
	}
	slices.SortFunc(all, compareEntries)
	return all
}

func compareEntries(a, b mysql.TopEntry) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Key, b.Key))
}

func contains(entries []mysql.TopEntry, one mysql.TopEntry) bool {
	return slices.ContainsFunc(entries, func(e mysql.TopEntry) bool { return e.Key == one.Key && e.Partition == one.Partition })
}

const (
	// Held rows that a list ought to have and has not, or has with another count.
	wrongRows = `SELECT COUNT(*) FROM quipu.%[1]s_counts h JOIN quipu.rollup_watermarks w ON w.resolution = '%[1]s' JOIN quipu.rollup_progress p ON p.resolution = '%[1]s'
JOIN quipu.ranked_marks m ON m.resolution = '%[1]s' JOIN quipu.archive_marks a ON a.resolution = '%[1]s'
LEFT JOIN quipu.ranked_bounds b ON b.resolution = '%[1]s' AND b.event_type_id = h.event_type_id AND b.start = h.start
LEFT JOIN quipu.ranked_counts r ON r.resolution = '%[1]s' AND r.event_type_id = h.event_type_id AND r.start = h.start AND r.key_id = h.key_id
WHERE (h.start < w.complete_before OR h.start < w.computing_before AND h.key_id < p.next_key) AND h.start >= GREATEST(m.complete_from, a.frozen_before)
AND COALESCE(r.event_count <> h.event_count, h.event_count > COALESCE(b.bound, 0))`
	// Members that have no row.
	wrongMembers = `SELECT COUNT(*) FROM quipu.ranked_counts r LEFT JOIN quipu.%[1]s_counts h ON h.key_id = r.key_id AND h.event_type_id = r.event_type_id AND h.start = r.start
JOIN quipu.archive_marks a ON a.resolution = '%[1]s'
WHERE r.resolution = '%[1]s' AND h.key_id IS NULL AND r.start >= a.frozen_before`
)

// checkLists compares the lists with the tables that they are lists of, each in one snapshot.
func (b *bench) checkLists(ctx context.Context) error {
	for _, query := range []string{wrongRows, wrongMembers} {
		for _, resolution := range []string{"hour", "day"} {
			var n int
			if err := b.servers.Primary.Root().QueryRowContext(ctx, fmt.Sprintf(query, resolution)).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%d wrong rows by %s", n, fmt.Sprintf(query, resolution))
			}
		}
	}
	return nil
}
