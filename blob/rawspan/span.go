// Package rawspan names the objects of the archive of raw events. What is archived is known by the names alone: there is no manifest.
//
//	raw/partition=0003/date=2026-11-22/<incarnation>-<first>-<next>.parquet
//
// holds every batch of partition 3 with first ≤ offset < next, of the log of that incarnation, all appended on that day (UTC, log time).
// Offsets have 20 digits, so names sort as offsets do. Two archivers at once may leave spans that overlap: each holds the same batches at
// the same offsets, so whoever reads several objects drops rows whose (incarnation, partition, offset, index) it has had.
package rawspan

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Prefix is where all objects lie.
const Prefix = "raw/"

// Span is what one object holds: the batches of a partition of a log with First ≤ offset < Next.
type Span struct {
	Partition   int
	Date        string // of all append times, "2026-11-22"
	Incarnation string
	First, Next uint64
}

// ErrName is wrapped by what Parse returns.
var ErrName = errors.New("not the name of an object of raw events")

var form = regexp.MustCompile(`^raw/partition=(\d{4})/date=(\d{4}-\d{2}-\d{2})/([0-9A-Za-z_-]{1,64})-(\d{20})-(\d{20})\.parquet$`)

// PartitionPrefix is where the objects of a partition lie.
func PartitionPrefix(partition int) string {
	return fmt.Sprintf("%spartition=%04d/", Prefix, partition)
}

// DateOf returns the date of an append time.
func DateOf(appendTimeMs int64) string {
	return time.UnixMilli(appendTimeMs).UTC().Format(time.DateOnly)
}

// Name returns the object's name.
func (s Span) Name() string {
	return fmt.Sprintf("%sdate=%s/%s-%020d-%020d.parquet", PartitionPrefix(s.Partition), s.Date, s.Incarnation, s.First, s.Next)
}

// Day returns the start of the span's date.
func (s Span) Day() time.Time {
	day, err := time.Parse(time.DateOnly, s.Date)
	if err != nil {
		return time.Time{} // Parse lets none through
	}
	return day
}

// Parse reads a name.
func Parse(name string) (Span, error) {
	m := form.FindStringSubmatch(name)
	if m == nil {
		return Span{}, fmt.Errorf("%q: %w", name, ErrName)
	}
	s := Span{Date: m[2], Incarnation: m[3]}
	var errs [3]error
	s.Partition, errs[0] = strconv.Atoi(m[1])
	s.First, errs[1] = strconv.ParseUint(m[4], 10, 64)
	s.Next, errs[2] = strconv.ParseUint(m[5], 10, 64)
	_, day := time.Parse(time.DateOnly, s.Date)
	if err := errors.Join(append(errs[:], day)...); err != nil || s.First == 0 || s.Next <= s.First {
		return Span{}, fmt.Errorf("%q: %w", name, ErrName)
	}
	return s, nil
}

// Gap is a run of offsets, From ≤ offset < To, that no object holds although one before and one after it do.
type Gap struct{ From, To uint64 }

// Coverage is what the spans of one partition and incarnation hold together.
type Coverage struct {
	First, Next uint64 // of all of them; 0 if there are none
	Gaps        []Gap
}

// Cover adds spans of one partition and incarnation up, in whatever order, overlapping or not.
func Cover(spans []Span) Coverage {
	var c Coverage
	for _, s := range Sorted(spans) {
		switch {
		case c.Next == 0:
			c.First = s.First
		case s.First > c.Next:
			c.Gaps = append(c.Gaps, Gap{From: c.Next, To: s.First})
		}
		c.Next = max(c.Next, s.Next)
	}
	return c
}

// Sorted returns the spans by date, then by where they begin.
func Sorted(spans []Span) []Span {
	return slices.SortedFunc(slices.Values(spans), func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.First, b.First), cmp.Compare(a.Next, b.Next))
	})
}

// Of returns those spans that are of one incarnation.
func Of(spans []Span, incarnation string) []Span {
	var own []Span
	for _, s := range spans {
		if s.Incarnation == incarnation {
			own = append(own, s)
		}
	}
	return own
}
