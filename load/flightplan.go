package load

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/quipudb/quipu/load/flights"
)

// Marks of the flights in the cluster.
const (
	markShift   = "flights-shift"     // by how many weeks all of them are moved
	markSample  = "flights-sample"    // the sample is loaded
	markRest    = "flights-rest"      // the rest is loaded too
	markStint   = "flights-rows-"     // with the first row: a stint was begun
	markReached = "flights-reached-"  // with the first row: a stint was stopped, with everything before a row acknowledged
	markLeftOut = "flights-left-out-" // with the first row: a stint that was cut off is not going to be repeated
)

const (
	stintRows = 5_000
	// repeatable is how long after the begin of a stint its events are sure to be in the de-duplication window until a repetition ends.
	repeatable = 8 * time.Minute
)

// markData is what a mark holds.
type markData struct {
	Weeks   int64 `json:"weeks,omitempty"`
	BegunMs int64 `json:"begun_ms,omitempty"`
	Row     int64 `json:"row,omitempty"`
}

// markedShift returns by how much flights are moved: decided once for a cluster, so that sample and whole fit together.
func markedShift(ctx context.Context, marks Marks, now time.Time) (time.Duration, error) {
	const week = 7 * 24 * time.Hour
	_, last := flights.Span()
	if _, err := mark(ctx, marks, markShift, markData{Weeks: int64(flights.Shift(last, now) / week)}); err != nil {
		return 0, err
	}
	decided, _, err := marked(ctx, marks, markShift)
	return time.Duration(decided.Weeks) * week, err
}

func mark(ctx context.Context, marks Marks, name string, data markData) (already bool, err error) {
	content, err := json.Marshal(data)
	if err != nil {
		return false, fmt.Errorf("encode mark %s: %w", name, err)
	}
	return marks.Mark(ctx, name, content)
}

func marked(ctx context.Context, marks Marks, name string) (data markData, found bool, err error) {
	content, found, err := marks.Marked(ctx, name)
	if err != nil || !found {
		return data, false, err
	}
	if err := json.Unmarshal(content, &data); err != nil {
		return data, false, fmt.Errorf("read mark %s: %w", name, err)
	}
	return data, true, nil
}

// stint is a run of rows that is acknowledged as a whole before the next one is begun. So of all the stints that were begun only the last
// one's outcome can be unknown.
type stint struct {
	first, end int64
	state      stintState
}

type stintState int

const (
	fresh   stintState = iota // to be sent
	repeat                    // begun by an earlier load, to be sent again
	done                      // acknowledged
	leftOut                   // begun by an earlier load, too long ago to be repeated
)

func (s *stint) mark() string        { return fmt.Sprintf("%s%d", markStint, s.first) }
func (s *stint) reachedMark() string { return fmt.Sprintf("%s%d", markReached, s.first) }
func (s *stint) leftOutMark() string { return fmt.Sprintf("%s%d", markLeftOut, s.first) }

// flightPart is a part of the data set that is loaded in one go: the sample, or the rest.
type flightPart struct {
	name   string // of its mark
	stints []*stint
	whole  bool // it was loaded
}

func samplePart() *flightPart {
	p := &flightPart{name: markSample}
	p.add(flights.SampleFirstRow, flights.SampleFirstRow+flights.SampleRows)
	return p
}

func restPart() *flightPart {
	p := &flightPart{name: markRest}
	p.add(0, flights.SampleFirstRow)
	p.add(flights.SampleFirstRow+flights.SampleRows, flights.Rows)
	return p
}

func (p *flightPart) add(first, end int64) {
	for ; first < end; first += stintRows {
		p.stints = append(p.stints, &stint{first: first, end: min(end, first+stintRows)})
	}
}

// recall sets the state of the stints from the marks.
func (p *flightPart) recall(ctx context.Context, marks Marks, now time.Time) (err error) {
	if _, p.whole, err = marked(ctx, marks, p.name); err != nil {
		return err
	}
	doubtful := false
	var last *stint
	var begun markData
	for i := 0; i < len(p.stints); i++ {
		s := p.stints[i]
		data, found, err := marked(ctx, marks, s.mark())
		if err != nil {
			return err
		}
		if !found {
			break
		}
		last, begun = s, data
		if doubtful, err = p.recallBegun(ctx, marks, i); err != nil {
			return err
		}
	}
	if doubtful && !p.whole {
		return last.doubt(ctx, marks, now.Sub(time.UnixMilli(begun.BegunMs)))
	}
	return nil
}

// recallBegun recalls what became of a stint that was begun, and tells whether that is in doubt unless a later one was begun.
func (p *flightPart) recallBegun(ctx context.Context, marks Marks, i int) (doubtful bool, err error) {
	s := p.stints[i]
	s.state = done
	if _, found, err := marked(ctx, marks, s.leftOutMark()); err != nil || found {
		s.state = leftOut
		return false, err
	}
	reached, found, err := marked(ctx, marks, s.reachedMark())
	if err != nil || !found {
		return true, err
	}
	if reached.Row < s.end {
		rest := &stint{first: reached.Row, end: s.end}
		s.end = reached.Row
		p.stints = slices.Insert(p.stints, i+1, rest)
	}
	return false, nil
}

// doubt decides what to do about the stint that was under way when a load was cut off.
func (s *stint) doubt(ctx context.Context, marks Marks, age time.Duration) error {
	if age <= repeatable {
		s.state = repeat
		return nil
	}
	s.state = leftOut
	_, err := mark(ctx, marks, s.leftOutMark(), markData{})
	return err
}

// leftOut returns how many flights are left out.
func (p *flightPart) leftOut() int64 {
	n := int64(0)
	for _, s := range p.stints {
		if s.state == leftOut {
			n += s.end - s.first
		}
	}
	return n
}

// finish marks the part as loaded.
func (p *flightPart) finish(ctx context.Context, marks Marks) error {
	p.whole = true
	_, err := mark(ctx, marks, p.name, markData{})
	return err
}

// of returns the stint of a row, or nil when the part has none. Stints are ascending by row.
func (p *flightPart) of(row int64) *stint {
	i, found := slices.BinarySearchFunc(p.stints, row, func(s *stint, row int64) int { return cmp.Compare(s.first, row) })
	if !found {
		i--
	}
	if i < 0 || row >= p.stints[i].end {
		return nil
	}
	return p.stints[i]
}
