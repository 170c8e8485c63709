package mysql_test

import (
	"errors"
	"fmt"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

func (b *bench) top(t testing.TB, from, to int64, n int) *mysql.TopAnswer {
	t.Helper()
	answer, err := b.read.Top(t.Context(), &mysql.TopRequest{Type: "view", From: from, To: to, N: n})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func namesIn(answer *mysql.TopAnswer) []string {
	names := []string{}
	for _, e := range answer.Entries {
		names = append(names, fmt.Sprint(e.Key, " ", e.Count))
	}
	return names
}

// A ranking from lists that left keys out says what it knows: with two keys a list, the third may be any that counts up to the bound in both hours.
func TestTopSaysWhetherItIsExact(t *testing.T) {
	b := rollupBench(t)
	at := func(hour int, counts ...int64) (rows []event.Row) {
		for i, n := range counts {
			rows = append(rows, counted(fmt.Sprint("k", i), minute(hour, 5), n))
		}
		return rows
	}
	b.apply(t, request(b.claim(t, 3), 1, 2, append(at(10, 90, 50, 20, 20, 1), at(11, 80, 5, 20, 30, 1)...)...))
	lead := b.lead(t, "r1")
	lead.RankedKeys, lead.Until = 2, minute(12, 0)
	b.rollUp(t, lead)
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.ranked_counts"); n != 4 {
		t.Errorf("got %d members of two lists, want 4", n)
	}
	for _, c := range []struct {
		from, to int64
		n        int
		want     []string
		exact    bool
		others   int64
	}{
		{minute(10, 0), minute(11, 0), 2, []string{"k0 90", "k1 50"}, true, 20},
		{minute(10, 0), minute(11, 0), 3, []string{"k0 90", "k1 50"}, false, 20},
		{minute(10, 0), minute(12, 0), 1, []string{"k0 170"}, true, 70},
		// k1 might have 70 in all, and k2, which no list has, 40.
		{minute(10, 0), minute(12, 0), 2, []string{"k0 170", "k1 55"}, true, 50},
		{minute(10, 0), minute(12, 0), 3, []string{"k0 170", "k1 55", "k3 50"}, true, 40},
		{minute(10, 0), minute(12, 0), 4, []string{"k0 170", "k1 55", "k3 50"}, false, 40},
		// Minutes are read of all keys: k2 has 20 from them and up to 20 from the list.
		{minute(10, 0), minute(11, 30), 4, []string{"k0 170", "k1 55", "k3 50", "k2 40"}, true, 21},
		{minute(10, 0), minute(11, 30), 5, []string{"k0 170", "k1 55", "k3 50", "k2 40", "k4 2"}, false, 20},
	} {
		got := b.top(t, c.from, c.to, c.n)
		if diff := gocmp.Diff(c.want, namesIn(got)); diff != "" || got.Exact != c.exact || got.Others != c.others {
			t.Errorf("top %d from %d to %d: exact %t, others %d, want %t, %d (-want +got):\n%s", c.n, c.from, c.to, got.Exact, got.Others, c.exact, c.others, diff)
		}
	}
}

// Keys that are tied at the last place are told apart by their names, also those that a list leaves out.
func TestTopOfTies(t *testing.T) {
	b := rollupBench(t)
	var rows []event.Row
	for i := range 6 {
		rows = append(rows, counted(fmt.Sprint("k", 9-i), minute(10, 5), 7)) // ids and names run against each other
	}
	b.apply(t, request(b.claim(t, 3), 1, 2, rows...))
	if got := b.top(t, minute(10, 0), minute(11, 0), 2); !got.Exact || gocmp.Diff([]string{"k4 7", "k5 7"}, namesIn(got)) != "" {
		t.Errorf("from minutes: got exact %t, %v", got.Exact, namesIn(got))
	}
	lead := b.lead(t, "r1")
	lead.RankedKeys, lead.Until = 3, minute(11, 0)
	b.rollUp(t, lead)
	if got := b.top(t, minute(10, 0), minute(11, 0), 2); got.Exact || got.Others != 7 || len(got.Entries) != 2 {
		t.Errorf("from a list of three: got exact %t, others %d, %v", got.Exact, got.Others, namesIn(got))
	}
}

// Late events bring new members, lengthen lists until the roll-up prunes them, and take members down.
func TestLateRowsKeepTheLists(t *testing.T) {
	b := rollupBench(t)
	epoch, offset := b.claim(t, 3), uint64(1)
	apply := func(rows ...event.Row) {
		b.apply(t, request(epoch, offset, offset+1, rows...))
		offset++
	}
	members := func() int { return b.count(t, "SELECT COUNT(*) FROM quipu.ranked_counts WHERE resolution = 'hour'") }
	lead := b.lead(t, "r1")
	lead.RankedKeys, lead.Until = 2, minute(11, 0)
	b.rollUp(t, lead)
	for i := range 9 {
		apply(counted(fmt.Sprint("k", i), minute(10, i), int64(10+i)))
	}
	if n := members(); n != 9 {
		t.Errorf("got %d members before they are pruned, want 9", n)
	}
	b.rollUp(t, lead)
	if n := members(); n != 2 {
		t.Errorf("got %d members after they are pruned, want 2", n)
	}
	apply(counted("k0", minute(10, 0), 100), counted("k8", minute(10, 0), -18)) // from 10 to 110, from 18 to 0
	if got := b.top(t, minute(10, 0), minute(11, 0), 3); gocmp.Diff([]string{"k0 110", "k7 17"}, namesIn(got)) != "" || got.Others != 16 || got.Exact {
		t.Errorf("got %v, exact %t, others %d", namesIn(got), got.Exact, got.Others)
	}
	if err := b.checkLists(t.Context()); err != nil {
		t.Error(err)
	}
}

// What was complete before there were lists is ranked step by step; until then it is not offered. New roles come before the migration: they count without lists.
func TestListsOfASchemaThatHadNone(t *testing.T) {
	b := rollupBench(t)
	epoch, offset := b.claim(t, 3), uint64(1)
	apply := func(rows ...event.Row) {
		b.apply(t, request(epoch, offset, offset+1, rows...))
		offset++
	}
	migrateTo(t, b.servers.Primary, 6)
	for i := range 20 {
		apply(counted(fmt.Sprint("k", i), minute(9-24*(i%3), i), int64(i+1)), counted(fmt.Sprint("k", i), minute(12, i), 1))
	}
	if got := b.top(t, minute(12, 0), minute(13, 0), 1); !got.Exact || len(got.Entries) != 1 {
		t.Errorf("without lists: got %+v", got)
	}
	lead := b.lead(t, "r1")
	lead.RankedKeys, lead.Until = 3, minute(11, 0)
	b.step(t, lead) // announces 10:00
	if _, err := b.primary.StepRollup(t.Context(), lead); !errors.Is(err, mysql.ErrSchema) {
		t.Errorf("roll-up without lists: got %v, want %v", err, mysql.ErrSchema)
	}
	migrateTo(t, b.servers.Primary, 7)
	apply(counted("k19", minute(9, 0), 50), counted("new", minute(9, 0), 60))
	question := &mysql.TopRequest{Type: "view", From: minute(0, 0) - 3*day, To: minute(11, 0), N: 2}
	if _, err := b.read.Top(t.Context(), question); !errors.Is(err, mysql.ErrUnranked) {
		t.Errorf("before the lists are made: got %v, want %v", err, mysql.ErrUnranked)
	}
	ranked := 0
	for _, s := range b.rollUp(t, lead) {
		if s.Action == mysql.RollupRanked {
			ranked++
		}
		apply(counted(fmt.Sprint("k", ranked%20), minute(9-24*(ranked%3), ranked), 5))
	}
	if ranked < 10 {
		t.Errorf("ranked in %d steps, want several", ranked)
	}
	if err := b.checkLists(t.Context()); err != nil {
		t.Error(err)
	}
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.ranked_marks WHERE complete_from = '1970-01-01' AND next_key = 0"); n != 2 {
		t.Errorf("%d of 2 resolutions have all their lists", n)
	}
	if got := b.top(t, question.From, question.To, 2); len(got.Entries) != 2 || got.Entries[0].Count < got.Entries[1].Count {
		t.Errorf("got %+v", got)
	}
}

// Lists of frozen hours and days are removed, and not read. What is added late to frozen minutes counts.
func TestTopOfFrozenTimes(t *testing.T) {
	b := rollupBench(t)
	epoch := b.claim(t, 3)
	var rows []event.Row
	for i := range 8 {
		rows = append(rows, counted(fmt.Sprint("k", i), minute(9, i)-2*day, int64(i+1)), counted(fmt.Sprint("k", i), minute(9, i), int64(i+1)))
	}
	b.apply(t, request(epoch, 1, 2, rows...))
	b.exec(t, "UPDATE quipu.archive_marks SET frozen_before = '2025-11-20' WHERE resolution = 'hour'")
	b.exec(t, "UPDATE quipu.archive_marks SET frozen_before = '2025-11-21' WHERE resolution = 'minute'")
	lead := b.lead(t, "r1")
	b.rollUp(t, lead)
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.ranked_counts WHERE resolution = 'hour' AND start < '2025-11-20'"); n != 0 {
		t.Errorf("%d members of frozen hours are left", n)
	}
	b.apply(t, request(epoch, 2, 3, counted("k0", minute(9, 0)-2*day, 100), counted("k1", minute(9, 0), 200)))
	if n := b.count(t, "SELECT COUNT(*) FROM quipu.ranked_counts WHERE resolution = 'hour' AND start < '2025-11-20'"); n != 0 {
		t.Errorf("Apply made %d members of frozen hours", n)
	}
	for name, got := range map[string]*mysql.TopAnswer{
		"days":           b.top(t, minute(0, 0)-3*day, minute(0, 0), 2),
		"frozen minutes": b.top(t, minute(9, 0)-2*day, minute(9, 30)-2*day, 2),
	} {
		if diff := gocmp.Diff([]string{"k0 101", "k7 8"}, namesIn(got)); diff != "" || !got.Exact {
			t.Errorf("%s by %s: exact %t (-want +got):\n%s", name, got.Resolution, got.Exact, diff)
		}
	}
	if got := b.top(t, minute(9, 0), minute(9, 30), 2); gocmp.Diff([]string{"k1 202", "k7 8"}, namesIn(got)) != "" || got.Resolution != "minute+late" {
		t.Errorf("frozen minutes: got %v by %s", namesIn(got), got.Resolution)
	}
	b.exec(t, "UPDATE quipu.archive_marks SET cold_before = '2025-11-20' WHERE resolution = 'minute'")
	_, err := b.read.Top(t.Context(), &mysql.TopRequest{Type: "view", From: minute(9, 1) - 2*day, To: minute(10, 0), N: 2})
	unranked, ok := errors.AsType[*mysql.UnrankedError](err)
	if !ok || unranked.From != minute(0, 0)-2*day || unranked.To != minute(10, 0) {
		t.Errorf("cold minutes: got %v, %+v, want the whole day to be offered", err, unranked)
	}
}

// A table that a condition names is locked against changes of its time partitions until the transaction ends: rankings rely on it.
func TestNamedTablesAreLocked(t *testing.T) {
	b := newBench(t, shared)
	reading, err := b.servers.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	for _, text := range []string{"START TRANSACTION READ ONLY", "SELECT term FROM quipu.shard_state s WHERE NOT EXISTS (SELECT 1 FROM quipu.minute_counts WHERE FALSE)"} {
		if _, err := reading.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	changing, err := b.servers.Primary.Root().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer changing.Close()
	if _, err := changing.ExecContext(t.Context(), "SET SESSION lock_wait_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	_, err = changing.ExecContext(t.Context(), "ALTER TABLE quipu.minute_counts ADD PARTITION (PARTITION p VALUES LESS THAN ('2000-01-01'))")
	if _, err := changing.ExecContext(t.Context(), "SET SESSION lock_wait_timeout = DEFAULT"); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*driver.MySQLError](err); !ok || e.Number != 1205 {
		t.Errorf("got %v, want a lock wait", err)
	}
	if _, err := reading.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
}
