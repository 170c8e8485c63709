package reader

import (
	"strings"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// maxMinute is the end of all time: no event can fall at or after it.
const maxMinute = event.MaxMinute + 1

// span is the range of a query, half-open, in minutes since 1970 UTC.
type span struct {
	from, to         int64
	openFrom, openTo bool // not given: from the first event on, up to the last one
	step             wire.Step
}

// stepMinutes returns the length of a step; of StepNone, the alignment of a plain range.
func stepMinutes(step wire.Step) int64 {
	switch step {
	case wire.StepHour:
		return 60
	case wire.StepDay:
		return 24 * 60
	}
	return 1
}

// points tells how many values a query over the span answers.
func (s span) points() int64 {
	if s.step == wire.StepNone {
		return 1
	}
	return (s.to - s.from) / stepMinutes(s.step)
}

// start returns where the point begins that a minute belongs to.
func (s span) start(minute int64) int64 {
	if s.step == wire.StepNone {
		return s.from
	}
	unit := stepMinutes(s.step)
	return minute / unit * unit
}

// fits tells whether points are what a source may answer for the span: exactly one without a step, else ascending starts of steps.
func (s span) fits(points []wire.Point) bool {
	if s.step == wire.StepNone {
		return len(points) == 1
	}
	next := s.from
	for i := range points {
		start := points[i].Start
		if start < next || start >= s.to || start%stepMinutes(s.step) != 0 {
			return false
		}
		next = start + 1
	}
	return true
}

// parseSpan reads from, to and step. Without a step, a bound that isn't given is open. A series starts at from, which
// it needs, and ends by default with the step that now falls in.
func parseSpan(from, to, step *string, now time.Time) (span, error) {
	s := span{to: maxMinute, openFrom: from == nil, openTo: to == nil}
	if step != nil {
		if s.step = wire.Step(*step); s.step != wire.StepMinute && s.step != wire.StepHour && s.step != wire.StepDay {
			return span{}, badField("step", "step is %.64q, must be minute, hour or day", *step)
		}
		if from == nil {
			return span{}, badField("from", "from is missing: a series by %s needs to know where it starts", s.step)
		}
		unit := stepMinutes(s.step)
		s.to = (event.MinuteOf(now.UnixMilli())/unit + 1) * unit
		s.openTo = false
	}
	var err error
	if from != nil {
		if s.from, err = parseBound("from", *from, s.step); err != nil {
			return span{}, err
		}
	}
	if to != nil {
		if s.to, err = parseBound("to", *to, s.step); err != nil {
			return span{}, err
		}
	}
	if s.to > s.from {
		return s, nil
	}
	if to == nil {
		return span{}, badField("from", "from, %s, lies in the future: give to as well", formatMinute(s.from))
	}
	return span{}, badField("to", "to, %s, must lie after from, %s", formatMinute(s.to), formatMinute(s.from))
}

// parseBound reads an instant that a range starts or ends at. It must be a multiple of the step in UTC.
func parseBound(field, text string, step wire.Step) (int64, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		hint := ""
		if strings.Contains(text, " ") {
			hint = "; a plus sign in a query string is written %2B"
		}
		return 0, badField(field, "%s is %.64q, must be a time in RFC 3339 like 2026-01-31T17:05:00Z%s", field, text, hint)
	}
	if t.Unix() < event.MinTimeMs/1000 || t.Unix() > event.MaxTimeMs/1000 {
		return 0, badField(field, "%s is %.64q, must be from 1970-01-01T00:00:00Z to 2100-01-01T00:00:00Z", field, text)
	}
	if t.Nanosecond() != 0 || t.Unix()%60 != 0 {
		return 0, badField(field, "%s is %.64q, must be a whole minute: counts are kept by the minute", field, text)
	}
	minute := t.Unix() / 60
	if minute%stepMinutes(step) != 0 {
		return 0, badField(field, "%s is %s, must be a whole %s in UTC as step says", field, formatMinute(minute), step)
	}
	return minute, nil
}

func formatMinute(minute int64) string { return string(appendMinute(nil, minute)) }

func appendMinute(dst []byte, minute int64) []byte {
	return time.Unix(minute*60, 0).UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
}

func formatInstant(ms int64) string { return string(appendInstant(nil, ms)) }

func appendInstant(dst []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}
