package mysql

import "strings"

// segment is a part of a range that is read from one table.
type segment struct {
	table    resolution
	from, to int64 // minutes
}

var resolutionNames = map[resolution]string{perMinute: "minute", perHour: "hour", perDay: "day"}

// divide says which table answers which part of [from, to): the coarsest that fits the step, is complete there and whose
// rows lie within the part; minutes for the rest. Watermarks are multiples of their resolution.
func divide(from, to int64, step Step, marks watermarks) []segment {
	usable := []struct {
		resolution
		before int64
	}{{perMinute, to}}
	if step == StepNone || step >= StepHour {
		usable = append(usable, struct {
			resolution
			before int64
		}{perHour, marks.hour})
	}
	if step == StepNone || step == StepDay {
		usable = append(usable, struct {
			resolution
			before int64
		}{perDay, marks.day})
	}
	var segments []segment
	var fill func(from, to int64, coarsest int)
	fill = func(from, to int64, coarsest int) {
		if from >= to {
			return
		}
		table := usable[coarsest]
		if coarsest == 0 {
			segments = append(segments, segment{perMinute, from, to})
			return
		}
		first := (from + table.minutes - 1) / table.minutes * table.minutes
		last := min(to, table.before) / table.minutes * table.minutes
		if first >= last {
			fill(from, to, coarsest-1)
			return
		}
		fill(from, first, coarsest-1)
		segments = append(segments, segment{table.resolution, first, last})
		fill(last, to, coarsest-1)
	}
	fill(from, to, len(usable)-1)
	return segments
}

// describe names the tables of the pieces, finest first, and whether late rows were added: "minute+day+late".
func describe(pieces []piece, lateRows bool) string {
	used := map[resolution]bool{}
	for _, p := range pieces {
		if p.place == hot || p.place == restored {
			used[p.table] = true
		}
	}
	var names []string
	for _, table := range countsTables() {
		if used[table] {
			names = append(names, resolutionNames[table])
		}
	}
	if lateRows {
		names = append(names, "late")
	}
	return strings.Join(names, "+")
}
