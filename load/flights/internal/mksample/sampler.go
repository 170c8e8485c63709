package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/quipudb/quipu/load/flights"
)

// totals are the figures of a run of flights.
type totals struct {
	rows, delay, distance int64
	first, last           flights.Flight
	origins, routes       map[string]int
}

func newTotals() totals { return totals{origins: map[string]int{}, routes: map[string]int{}} }

func (t *totals) add(f flights.Flight) {
	if t.rows == 0 {
		t.first = f
	}
	t.rows++
	t.last = f
	t.delay += int64(f.DelayMinutes)
	t.distance += int64(f.DistanceMiles)
	t.origins[f.Origin]++
	t.routes[f.Route()]++
}

func (t *totals) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%s: %d rows from %s (row %d) to %s, Σ delay %d min, Σ distance %d mi, %d origins, %d routes, busiest:",
		name, t.rows, t.first.Time.Format(time.RFC3339), t.first.Row, t.last.Time.Format(time.RFC3339),
		t.delay, t.distance, len(t.origins), len(t.routes))
	origins := slices.SortedFunc(maps.Keys(t.origins), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.origins[b], t.origins[a]), cmp.Compare(a, b))
	})
	for _, code := range origins[:min(3, len(origins))] {
		fmt.Fprintf(w, " %s %d", code, t.origins[code])
	}
	fmt.Fprintln(w)
}

// sampler picks the sample out of the whole data set and writes its CSV as it goes.
type sampler struct {
	whole, sample totals
	codes         map[string]bool // airports of the whole data set
	plain         bytes.Buffer
	csv           *csv.Writer
	begin, end    time.Time // whole days, end exclusive
	unsorted      int64
}

func newSampler() *sampler {
	first, last := flights.SampleSpan()
	const day = 24 * time.Hour
	s := &sampler{whole: newTotals(), sample: newTotals(), codes: map[string]bool{}, begin: first.Truncate(day), end: last.Truncate(day).Add(day)}
	s.csv = csv.NewWriter(&s.plain)
	s.csv.Write(flights.SampleHeader())
	return s
}

func (s *sampler) add(f flights.Flight) {
	if s.whole.rows > 0 && f.Time.Before(s.whole.last.Time) {
		s.unsorted++
	}
	s.whole.add(f)
	s.codes[f.Origin], s.codes[f.Destination] = true, true
	if f.Time.Before(s.begin) || !f.Time.Before(s.end) {
		return
	}
	s.sample.add(f)
	s.csv.Write([]string{
		f.Time.Format(flights.SampleTimeLayout), strconv.Itoa(f.DelayMinutes), strconv.Itoa(f.DistanceMiles), f.Origin, f.Destination,
	})
}

// verify compares the data set with what package flights says about it.
func (s *sampler) verify() error {
	first, last := flights.Span()
	sampleFirst, sampleLast := flights.SampleSpan()
	switch {
	case s.unsorted > 0:
		return fmt.Errorf("%d flights are out of order", s.unsorted)
	case s.whole.rows != flights.Rows || !s.whole.first.Time.Equal(first) || !s.whole.last.Time.Equal(last):
		return fmt.Errorf("the data set has %d rows from %s to %s", s.whole.rows, s.whole.first.Time, s.whole.last.Time)
	case s.sample.rows != flights.SampleRows || s.sample.first.Row != flights.SampleFirstRow:
		return fmt.Errorf("the sample has %d rows from row %d", s.sample.rows, s.sample.first.Row)
	case !s.sample.first.Time.Equal(sampleFirst) || !s.sample.last.Time.Equal(sampleLast):
		return fmt.Errorf("the sample reaches from %s to %s", s.sample.first.Time, s.sample.last.Time)
	}
	return nil
}

func (s *sampler) compressed() ([]byte, error) {
	s.csv.Flush()
	if err := s.csv.Error(); err != nil {
		return nil, fmt.Errorf("write sample: %w", err)
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress sample: %w", err)
	}
	return w.EncodeAll(s.plain.Bytes(), nil), nil
}

func (s *sampler) print(w io.Writer, compressed int) {
	s.whole.print(w, "whole")
	s.sample.print(w, "sample")
	fmt.Fprintf(w, "sample: %d bytes of CSV, %d compressed; %d airports\n", s.plain.Len(), compressed, len(s.codes))
}
