package archive

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/wire"
)

func at(text string) int64 {
	t, err := time.Parse("2006-01-02 15", text)
	if err != nil {
		panic(err)
	}
	return minuteOf(t)
}

func part(from, to string, rows int64) wire.TimePartition {
	return wire.TimePartition{Resolution: perMinute, From: at(from), To: at(to), Rows: rows}
}

// A unit takes whole time partitions, and parts of one only where a whole one is too much.
func TestUnits(t *testing.T) {
	months := []wire.TimePartition{
		part("1970-01-01 00", "2026-01-01 00", 0), part("2026-01-01 00", "2026-02-01 00", 20_000_000),
		part("2026-02-01 00", "2026-03-01 00", 20_000_000), part("2026-03-01 00", "2026-04-01 00", 310_000_000),
		part("2026-04-01 00", "2026-04-02 00", 1000), part("2026-04-02 00", "2026-04-02 12", 1000), part("2026-04-02 12", "2026-04-03 00", 1000),
		part("2026-04-03 00", "2026-04-03 12", 90_000_000),
	}
	for name, c := range map[string]struct {
		cold, target    string
		groups, smaller int
		want            string // end of the unit; "": none
	}{
		"nothing to do":                      {"2026-01-01 00", "2026-01-01 00", 1, 0, ""},
		"as many months as are not too much": {"2026-01-01 00", "2026-04-01 00", 1, 0, "2026-03-01 00"},
		"part of a month that is too much":   {"2026-03-01 00", "2026-04-01 00", 1, 0, "2026-03-06 00"},
		"days of hours":                      {"2026-04-01 00", "2026-04-03 00", 1, 0, "2026-04-03 00"},
		"up to the target within a month":    {"2026-01-01 00", "2026-01-10 00", 1, 0, "2026-01-10 00"},
		"a single day, however large":        {"2026-04-03 00", "2026-04-04 00", 1, 0, "2026-04-04 00"},
		"centuries of nothing":               {"1970-01-01 00", "2026-04-01 00", 1, 0, "1980-04-08 00"},
		"fewer days with many groups":        {"2026-01-01 00", "2026-04-01 00", 75, 0, "2026-02-01 00"},
		"fewer than a month":                 {"2026-01-01 00", "2026-04-01 00", 375, 0, "2026-01-11 00"},
		"smaller after too many objects":     {"2026-01-01 00", "2026-04-01 00", 375, 2, "2026-01-03 00"},
		"a day at least":                     {"2026-01-01 00", "2026-04-01 00", 375, 20, "2026-01-02 00"},
		"before every time partition":        {"2026-04-05 00", "2026-04-07 00", 1, 0, "2026-04-07 00"},
	} {
		mark := wire.ArchiveMark{Resolution: perMinute, ColdBefore: at(c.cold), FrozenBefore: at(c.cold)}
		got, ok := unitOf(&wire.ArchiveState{Tables: months}, mark, at(c.target), c.groups, c.smaller)
		end := ""
		if ok {
			end = timeOf(got.to).Format("2006-01-02 15")
		}
		if end != c.want || ok && got.from != mark.ColdBefore {
			t.Errorf("%s: got %q from %s, want %q", name, end, timeOf(got.from), c.want)
		}
	}
}

// Hours go by whole months and days by whole years, and nothing goes beyond what the next coarser resolution has.
func TestTargets(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	state := &wire.ArchiveState{
		Marks: []wire.ArchiveMark{
			{Resolution: perMinute}, {Resolution: perHour, FrozenBefore: at("2025-12-01 00")}, {Resolution: perDay},
		},
		Watermarks: []wire.RollupMark{{Resolution: perHour, CompleteBefore: at("2026-11-23 08")}, {Resolution: perDay, CompleteBefore: at("2026-11-23 00")}},
	}
	for name, c := range map[string]struct {
		retention Retention
		until     *Until
		hours     string // watermark
		want      [3]string
	}{
		"defaults":             {Retention{Minutes: 8 * 24 * time.Hour, Hours: 100 * 24 * time.Hour}, nil, "", [3]string{"2026-11-15 00", "2026-08-01 00", ""}},
		"frozen already":       {Retention{Minutes: 8 * 24 * time.Hour, Hours: 400 * 24 * time.Hour}, nil, "", [3]string{"2026-11-15 00", "2025-12-01 00", ""}},
		"days":                 {Retention{Days: 400 * 24 * time.Hour}, nil, "", [3]string{"", "2025-12-01 00", "2025-01-01 00"}},
		"roll-up lags":         {Retention{Minutes: 48 * time.Hour}, nil, "2026-11-20 23", [3]string{"2026-11-20 00", "2025-12-01 00", ""}},
		"days lag":             {Retention{Minutes: 48 * time.Hour}, nil, "days", [3]string{"2026-11-19 00", "2025-12-01 00", ""}},
		"asked for":            {Retention{}, &Until{Before: now, Resolutions: []string{perMinute, perDay}}, "", [3]string{"2026-11-23 00", "2025-12-01 00", "2026-11-23 00"}},
		"asked for some hours": {Retention{}, &Until{Before: now.AddDate(0, 0, -3), Resolutions: []string{perHour}}, "", [3]string{"", "2026-11-20 00", ""}},
	} {
		s := *state
		if c.hours == "days" {
			s.Watermarks = []wire.RollupMark{state.Watermarks[0], {Resolution: perDay, CompleteBefore: at("2026-11-19 00")}}
		} else if c.hours != "" {
			s.Watermarks = []wire.RollupMark{{Resolution: perHour, CompleteBefore: at(c.hours)}, state.Watermarks[1]}
		}
		a := &Archiver{cfg: Config{Retention: c.retention, Until: c.until}}
		got := [3]string{}
		for i, resolution := range resolutions {
			if target := a.targets(&s, now)[resolution]; target > 0 {
				got[i] = timeOf(target).Format("2006-01-02 15")
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: targets differ (-want +got):\n%s", name, diff)
		}
	}
}

// Old rows are left alone while they become more, and what is empty until there are many time partitions of it.
func TestOldRowsSettle(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	a := &Archiver{cfg: Config{
		Retention: Retention{Minutes: 8 * 24 * time.Hour}, Settle: 10 * time.Minute, FileRows: 1000, PartitionGroup: 1, Shards: noShards{},
	}, hints: map[string]*hints{}}
	state := func(rows int64) *wire.ArchiveState {
		return &wire.ArchiveState{
			Marks:      []wire.ArchiveMark{{Resolution: perMinute}},
			Watermarks: []wire.RollupMark{{Resolution: perHour, CompleteBefore: at("2026-11-23 09")}},
			Tables:     []wire.TimePartition{part("2026-11-01 00", "2026-11-02 00", rows)},
		}
	}
	h := a.of("s1")
	h.swept = now.Add(24 * time.Hour)
	for i, step := range []struct {
		after time.Duration
		rows  int64
		due   bool
	}{
		{0, 0, false},
		{time.Hour, 0, false},
		{0, 100_000, false},
		{5 * time.Minute, 200_000, false},
		{6 * time.Minute, 200_000, false},
		{3 * time.Minute, 201_000, false},
		{2 * time.Minute, 200_500, true},
	} {
		now = now.Add(step.after)
		if got := a.next("s1", state(step.rows), h, now); (got != nil) != step.due {
			t.Errorf("look %d: got %+v, want due %t", i, got, step.due)
		}
	}
	many := state(0)
	for range manyTimePartitions {
		many.Tables = append(many.Tables, part("2026-11-02 00", "2026-11-03 00", 0))
	}
	if got := a.next("s1", many, h, now.Add(time.Hour)); got == nil || got.name != stepUnit {
		t.Errorf("got %+v, want a unit: so many time partitions are too many", got)
	}
}

// noShards own one partition.
type noShards struct{ Shards }

func (noShards) Partitions(string) []int { return []int{0} }
