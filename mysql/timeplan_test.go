package mysql

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func minuteAt(text string) int64 { return at(text).Unix() / 60 }

func TestPlanOfANewTable(t *testing.T) {
	now := at("2025-11-23T06:24:00Z")
	for _, test := range []struct {
		table       resolution
		first, last string // names
		end         string
		letters     string // of the partitions in order, runs collapsed
	}{
		{perMinute, "older", "h2025112506", "2025-11-25T07:00:00Z", "omdh"},
		{perHour, "older", "m202602", "2026-03-01T00:00:00Z", "om"},
		{perDay, "older", "y2027", "2028-01-01T00:00:00Z", "oy"},
	} {
		plan := planTimePartitions(test.table, 0, 1, now, 0)
		letters := ""
		for _, p := range plan {
			if !strings.HasSuffix(letters, p.name[:1]) {
				letters += p.name[:1]
			}
		}
		last := plan[len(plan)-1]
		if plan[0].name != test.first || last.name != test.last || last.end != minuteAt(test.end) || letters != test.letters {
			t.Errorf("%s: got %s … %s ending at %d, letters %s; want %s … %s, %s", test.table.table, plan[0].name, last.name, last.end, letters, test.first, test.last, test.letters)
		}
		if again := planTimePartitions(test.table, last.end, 1+len(plan), now, 0); len(again) != 0 {
			t.Errorf("%s: planning again gives %v", test.table.table, again)
		}
	}
}

func TestPlanAfterALongPause(t *testing.T) {
	plan := planTimePartitions(perMinute, minuteAt("2025-11-25T07:00:00Z"), 100, at("2026-03-10T12:00:00Z"), 0)
	var names []string
	for _, p := range plan[:6] {
		names = append(names, p.name)
	}
	if got, want := strings.Join(names, " "), "m202511 m202512 m202601 d20260201 d20260202 d20260203"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPlanStaysWithinWhatATableMayHave(t *testing.T) {
	now := at("2025-11-23T06:24:00Z")
	if plan := planTimePartitions(perMinute, minuteAt("2025-11-23T00:00:00Z"), fineTimePartitions, now, 0); plan[0].name != "d20251123" {
		t.Errorf("got %s first, want a day", plan[0].name)
	}
	if plan := planTimePartitions(perMinute, minuteAt("2025-11-23T00:00:00Z"), maxTimePartitions, now, 0); len(plan) != 0 {
		t.Errorf("got %d more, want none", len(plan))
	}
	if plan := planTimePartitions(perMinute, 0, 1, now, minuteAt("2099-12-31T23:59:00Z")); len(plan) > 1500 {
		t.Errorf("a stray row makes %d partitions", len(plan))
	}
}

// Whatever the clock did between the calls: ranges grow, names are unique, the wanted minute is covered.
func TestPlansFitTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom(countsTables()).Draw(t, "table")
		now := time.Unix(rapid.Int64Range(1_600_000_000, 1_800_000_000).Draw(t, "start"), 0)
		names, end, count := map[string]bool{}, int64(0), 1
		for range rapid.IntRange(1, 8).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.Int64Range(-3600, 90*86400).Draw(t, "seconds")) * time.Second)
			last := now.Unix()/60 + rapid.Int64Range(-100_000, 500_000).Draw(t, "last")
			for _, p := range planTimePartitions(table, end, count, now, last) {
				if names[p.name] || p.end <= end {
					t.Fatalf("%s ends at %d after %d, or is there twice", p.name, p.end, end)
				}
				names[p.name], end = true, p.end
				count++
			}
			if last >= end {
				t.Fatalf("minute %d is not covered, the end is %d", last, end)
			}
		}
	})
}
