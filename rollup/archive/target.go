package archive

import (
	"math"
	"slices"
	"time"

	"github.com/quipudb/quipu/wire"
)

// The resolutions, finest first.
const (
	perMinute = "minute"
	perHour   = "hour"
	perDay    = "day"
)

var resolutions = [...]string{perMinute, perHour, perDay}

const minutesOfDay = 24 * 60

func minuteOf(t time.Time) int64    { return t.Unix() / 60 }
func timeOf(minute int64) time.Time { return time.Unix(minute*60, 0).UTC() }
func floorDay(minute int64) int64   { return minute - minute%minutesOfDay }

// targets tells up to where each resolution may be archived now; 0: not at all.
func (a *Archiver) targets(state *wire.ArchiveState, now time.Time) map[string]int64 {
	all := map[string]int64{}
	for _, mark := range state.Marks {
		all[mark.Resolution] = a.target(state, mark, now)
	}
	return all
}

func (a *Archiver) target(state *wire.ArchiveState, mark wire.ArchiveMark, now time.Time) int64 {
	// What was frozen by a leader before is to be archived in any case: additions to it go to the late table already.
	return max(a.wanted(state, mark.Resolution, now), mark.FrozenBefore)
}

// wanted is whole months of hours and whole years of days, because their tables are divided so and each division is to be read once.
func (a *Archiver) wanted(state *wire.ArchiveState, resolution string, now time.Time) int64 {
	limit := limitOf(state, resolution)
	if u := a.cfg.Until; u != nil {
		if !slices.Contains(u.Resolutions, resolution) {
			return 0
		}
		return floorDay(min(minuteOf(u.Before), limit))
	}
	kept := a.retention(resolution)
	if kept == 0 {
		return 0
	}
	before := timeOf(min(minuteOf(now.Add(-kept)), limit))
	switch resolution {
	case perHour:
		return minuteOf(time.Date(before.Year(), before.Month(), 1, 0, 0, 0, 0, time.UTC))
	case perDay:
		return minuteOf(time.Date(before.Year(), 1, 1, 0, 0, 0, 0, time.UTC))
	}
	return floorDay(minuteOf(before))
}

// limitOf is where the watermarks of the coarser tables are: days are complete before it, and for minutes hours as well.
func limitOf(state *wire.ArchiveState, resolution string) int64 {
	limit := int64(math.MaxInt64)
	for _, w := range state.Watermarks {
		if w.Resolution == perDay || resolution == perMinute {
			limit = min(limit, w.CompleteBefore)
		}
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

func (a *Archiver) retention(resolution string) time.Duration {
	switch resolution {
	case perMinute:
		return a.cfg.Retention.Minutes
	case perHour:
		return a.cfg.Retention.Hours
	}
	return a.cfg.Retention.Days
}
