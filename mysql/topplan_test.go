package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const dayMinutes = 24 * 60

// Lists of hours from day 5 to day 10, 13:00, of days from day 2 to day 10; minutes from day 8 on.
func someMarks() topMarks {
	return topMarks{
		watermarks: watermarks{hour: 10*dayMinutes + 13*60, day: 10 * dayMinutes},
		hourLists:  5 * dayMinutes, dayLists: 2 * dayMinutes, minutes: 8 * dayMinutes, frozen: 9 * dayMinutes,
	}
}

func atTime(day, hour, minute int64) int64 { return day*dayMinutes + hour*60 + minute }

func describePlan(plan []segment) string {
	var parts []string
	for _, s := range plan {
		parts = append(parts, fmt.Sprintf("%s %d %02d:%02d–%d %02d:%02d", resolutionNames[s.table],
			s.from/dayMinutes, s.from/60%24, s.from%60, s.to/dayMinutes, s.to/60%24, s.to%60))
	}
	return strings.Join(parts, ", ")
}

func TestPlanTop(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to int64
		want     string // of an unranked one: the range that is offered
		refused  bool
	}{
		{"days", atTime(3, 0, 0), atTime(6, 0, 0), "day 3 00:00–6 00:00", false},
		{"hours, days, hours", atTime(5, 22, 0), atTime(8, 1, 0), "hour 5 22:00–6 00:00, day 6 00:00–8 00:00, hour 8 00:00–8 01:00", false},
		{
			"ragged ends", atTime(8, 22, 30), atTime(10, 1, 5),
			"minute 8 22:30–8 23:00, hour 8 23:00–9 00:00, day 9 00:00–10 00:00, hour 10 00:00–10 01:00, minute 10 01:00–10 01:05", false,
		},
		{"the open end", atTime(10, 12, 30), atTime(10, 14, 2), "minute 10 12:30–10 14:02", false},
		{"after the watermark", atTime(10, 13, 10), atTime(10, 14, 10), "minute 10 13:10–10 14:10", false},
		{"within an hour", atTime(9, 3, 10), atTime(9, 3, 20), "minute 9 03:10–9 03:20", false},
		{"cold minutes", atTime(6, 3, 10), atTime(9, 0, 0), "hour 6 03:00–7 00:00, day 7 00:00–9 00:00", true},
		{"cold minutes at both ends", atTime(6, 3, 10), atTime(7, 4, 50), "hour 6 03:00–7 05:00", true},
		{"hours without lists", atTime(3, 3, 0), atTime(6, 0, 0), "day 3 00:00–6 00:00", true},
		{"before all lists", atTime(1, 0, 0), atTime(6, 0, 0), "day 2 00:00–6 00:00", true},
		{"too long after the watermark", atTime(10, 0, 0), atTime(10, 20, 0), "hour 10 00:00–10 13:00", true},
		{"all of it too long after the watermark", atTime(11, 0, 0), atTime(11, 20, 0), "minute 11 00:00–11 03:00", true},
		{"nothing is offered near", atTime(0, 0, 0), atTime(0, 1, 0), "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := planTop(c.from, c.to, 180, someMarks())
			if c.refused != errors.Is(err, ErrUnranked) {
				t.Fatalf("got %v, %v, want refused %t", plan, err, c.refused)
			}
			if c.refused {
				from, to := nearTop(c.from, c.to, 180, someMarks())
				if from < to {
					if plan, err = planTop(from, to, 180, someMarks()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(c.want, describePlan(plan)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
