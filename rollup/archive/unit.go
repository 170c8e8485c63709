package archive

import (
	"github.com/quipudb/quipu/wire"
)

// Bounds of a unit.
const (
	unitRows    = 50_000_000 // about: the shard sums them up in one call, and they wait in files. A single day may have more
	unitObjects = wire.MaxArchiveObjects * 3 / 4
	// manyTimePartitions are more than a table should keep for nothing: that many are archived even if they look empty.
	manyTimePartitions = 1000
)

// unit is what one commit moves: all rows of a resolution in some days.
type unit struct {
	resolution string
	from, to   int64
	frozen     bool // already
}

// unitOf chooses the next unit of a resolution: from the cold mark on as many time partitions as one commit takes, or a part of one that is
// too large. none if there is nothing to do before the target.
func unitOf(state *wire.ArchiveState, mark wire.ArchiveMark, target int64, groups, smaller int) (u unit, ok bool) {
	if mark.ColdBefore >= target {
		return unit{}, false
	}
	days := max(1, int64(unitObjects/max(1, groups))>>smaller)
	end, rows := mark.ColdBefore, int64(0)
	for _, t := range state.Tables {
		if t.Resolution != mark.Resolution || t.To <= mark.ColdBefore || t.From >= target {
			continue
		}
		to := min(t.To, target)
		rows += rowsWithin(t, mark.ColdBefore, to)
		if to%minutesOfDay != 0 {
			continue // within a day that is divided
		}
		if rows <= unitRows && to-mark.ColdBefore <= days*minutesOfDay {
			end = to
			continue
		}
		if end == mark.ColdBefore {
			end += min(days, daysOf(rows, to-end)) * minutesOfDay
		}
		break
	}
	if end == mark.ColdBefore { // no time partition covers it
		end = min(target, end+days*minutesOfDay)
	}
	return unit{resolution: mark.Resolution, from: mark.ColdBefore, to: min(end, target), frozen: mark.FrozenBefore >= end}, true
}

// daysOf tells how many of the days of a range make a unit, if all the range has some rows.
func daysOf(rows, minutes int64) int64 {
	days := minutes / minutesOfDay
	if rows > unitRows {
		days = int64(float64(days) * unitRows / float64(rows))
	}
	return max(1, days)
}

// looksEmpty tells whether nothing is known to be in a range: then it may stay as it is, ready for old events, unless it has become
// too many time partitions.
func looksEmpty(state *wire.ArchiveState, mark wire.ArchiveMark, target int64) bool {
	n := 0
	for _, t := range state.Tables {
		if t.Resolution != mark.Resolution || t.To > target || t.To <= mark.ColdBefore {
			continue
		}
		n++
	}
	return n < manyTimePartitions && oldRows(state, mark, target) == 0
}

// groups counts the groups of the partitions of a shard.
func (a *Archiver) groups(shard string) int {
	seen := map[int]bool{}
	for _, partition := range a.cfg.Shards.Partitions(shard) {
		seen[partition/a.cfg.PartitionGroup] = true
	}
	return len(seen)
}
