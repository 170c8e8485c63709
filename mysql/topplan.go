package mysql

import (
	"fmt"
	"time"
)

// topMarks say what a ranking can be made of, in minutes since 1970.
type topMarks struct {
	watermarks
	hourLists, dayLists int64 // lists that start before are not read
	minutes             int64 // minutes before it are in cold storage
	frozen              int64 // minutes before it have late rows besides
}

// UnrankedError says that a range can't be ranked, and which one near it can.
type UnrankedError struct {
	Reason   string
	From, To int64 // From is not before To if there is none
}

func (e *UnrankedError) Error() string { return e.Reason }

// Unwrap returns ErrUnranked.
func (e *UnrankedError) Unwrap() error { return ErrUnranked }

// listedPart is what a resolution has lists for.
type listedPart struct {
	resolution
	from, to int64
}

// planTop divides a range into days and hours that have lists, the largest first, and minutes that have to be scanned, in the order of time.
func planTop(from, to, maxScanned int64, m topMarks) ([]segment, error) {
	plan := fillTop(nil, from, to, []listedPart{{perDay, m.dayLists, m.day}, {perHour, m.hourLists, m.hour}})
	scanned := int64(0)
	for _, s := range plan {
		if s.table != perMinute {
			continue
		}
		if s.from < m.minutes {
			return nil, &UnrankedError{Reason: fmt.Sprintf("minutes before %s are in cold storage and can't be ranked", timeOf(m.minutes))}
		}
		scanned += s.to - s.from
	}
	if scanned > maxScanned {
		return nil, &UnrankedError{Reason: fmt.Sprintf("%d minutes of the range lie outside of the hours and days that are ranked (hours before %s just now), at most %d can be",
			scanned, timeOf(m.hour), maxScanned)}
	}
	return plan, nil
}

func fillTop(plan []segment, from, to int64, lists []listedPart) []segment {
	if from >= to {
		return plan
	}
	if len(lists) == 0 {
		return append(plan, segment{perMinute, from, to})
	}
	l := lists[0]
	first := endOf(max(from, l.from), l.minutes)
	last := startOf(min(to, l.to), l.minutes)
	if first >= last {
		return fillTop(plan, from, to, lists[1:])
	}
	plan = fillTop(plan, from, first, lists[1:])
	plan = append(plan, segment{l.resolution, first, last})
	return fillTop(plan, last, to, lists[1:])
}

// startOf is where the hour or day of a minute starts, endOf where it ends, or the minute if it starts one.
func startOf(minute, unit int64) int64 { return minute / unit * unit }

func endOf(minute, unit int64) int64 { return startOf(minute+unit-1, unit) }

func timeOf(minute int64) string { return time.Unix(minute*60, 0).UTC().Format(time.RFC3339) }

// nearTop finds a range that can be ranked near one that can't: with one end or both on an hour or a day, without what lies before the lists
// or after the watermark, or just as long as can be scanned.
func nearTop(from, to, maxScanned int64, m topMarks) (int64, int64) {
	froms, tos := []int64{from}, []int64{to}
	for _, unit := range []int64{perHour.minutes, perDay.minutes} {
		froms = append(froms, startOf(from, unit), endOf(from, unit))
		tos = append(tos, endOf(to, unit), startOf(to, unit))
	}
	froms = append(froms, max(from, m.hourLists), max(from, endOf(m.hourLists, perDay.minutes)), max(from, m.dayLists), max(from, to-maxScanned))
	tos = append(tos, min(to, m.hour), min(to, m.day), min(to, from+maxScanned))
	bestFrom, bestTo, least := int64(0), int64(0), int64(-1)
	for _, f := range froms {
		for _, t := range tos {
			if f >= t {
				continue
			}
			if _, err := planTop(f, t, maxScanned, m); err != nil {
				continue
			}
			if away := abs(f-from) + abs(t-to); least < 0 || away < least {
				bestFrom, bestTo, least = f, t, away
			}
		}
	}
	return bestFrom, bestTo
}

func abs(n int64) int64 { return max(n, -n) }
