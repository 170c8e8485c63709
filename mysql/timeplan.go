package mysql

import "time"

// Bounds on the number of time partitions of a table. The servers allow 8,192.
const (
	fineTimePartitions = 4000 // beyond it, new ones are a day long at least
	maxTimePartitions  = 8000
)

// timePartition is one to be made: from the end of the one before to its own.
type timePartition struct {
	name string
	end  int64 // minute, exclusive
}

// span is the length of a time partition.
type span struct {
	letter, layout string // of the name
	floor          func(time.Time) time.Time
	next           func(time.Time) time.Time
}

func floorTo(d time.Duration) func(time.Time) time.Time {
	return func(t time.Time) time.Time { return t.Truncate(d) }
}

var (
	oneHour = span{"h", "2006010215", floorTo(time.Hour), func(t time.Time) time.Time { return t.Add(time.Hour) }}
	oneDay  = span{"d", "20060102", floorTo(24 * time.Hour), func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }}
	month   = span{
		"m", "200601", func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) },
		func(t time.Time) time.Time { return t.AddDate(0, 1, 0) },
	}
	year = span{
		"y", "2006", func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) },
		func(t time.Time) time.Time { return t.AddDate(1, 0, 0) },
	}
)

// layout says how a table is divided: from when on, how finely at an instant, and how far ahead.
type layout struct {
	begin time.Time // everything older shares one time partition
	ahead time.Duration
	at    func(start time.Time) span
}

// layoutOf: minutes are divided by month for two years, by day for two weeks, by the hour from today on until two days
// ahead, and more coarsely where a stray row lies further ahead; hours are divided by month, days by year.
func layoutOf(table resolution, now time.Time, count int) layout {
	today := oneDay.floor(now)
	switch table {
	case perDay:
		return layout{year.floor(now).AddDate(-10, 0, 0), daysAhead, func(time.Time) span { return year }}
	case perHour:
		return layout{month.floor(now).AddDate(-2, 0, 0), hoursAhead, func(time.Time) span { return month }}
	}
	return layout{month.floor(now).AddDate(-2, 0, 0), minutesAhead, func(start time.Time) span {
		switch {
		case start.Before(month.floor(today.AddDate(0, 0, -14))), start.After(now.AddDate(0, 2, 0)):
			return month
		case start.Before(today), start.After(now.Add(2 * minutesAhead)), count >= fineTimePartitions:
			return oneDay
		}
		return oneHour
	}}
}

// planTimePartitions lists what a table lacks from its end on so that it covers the layout's time ahead and a given minute. It never
// plans more than the table may have.
func planTimePartitions(table resolution, end int64, count int, now time.Time, last int64) []timePartition {
	now = now.UTC()
	shape := layoutOf(table, now, count)
	until := time.Unix(max(now.Add(shape.ahead).Unix(), last*60), 0).UTC()
	at := time.Unix(end*60, 0).UTC()
	var plan []timePartition
	if at.Before(shape.begin) && end <= 0 { // a new table: one for all that is older
		plan = append(plan, timePartition{"older", shape.begin.Unix() / 60})
		at = shape.begin
	}
	for !at.After(until) && count+len(plan) < maxTimePartitions {
		s := shape.at(at)
		next := s.next(s.floor(at))
		plan = append(plan, timePartition{s.letter + at.Format(s.layout), next.Unix() / 60})
		at = next
	}
	return plan
}
