package mysql

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"github.com/quipudb/quipu/event"
)

// statsReader puts the rows of a snapshot together.
type statsReader struct {
	request *StatsRequest
	header  Header
	marks   watermarks
	byID    map[uint64]*KeyStats
	byKey   map[StatsKey]*KeyStats
	keys    []KeyStats
	points  int
}

func newStatsReader(r *StatsRequest) *statsReader {
	sr := &statsReader{
		request: r, header: Header{AsOf: map[int]int64{}}, keys: make([]KeyStats, len(r.Keys)),
		byID: map[uint64]*KeyStats{}, byKey: make(map[StatsKey]*KeyStats, len(r.Keys)),
	}
	for i, k := range r.Keys {
		sr.byKey[k] = &sr.keys[i]
	}
	return sr
}

func (sr *statsReader) ids() []uint64 {
	ids := make([]uint64, 0, len(sr.byID))
	for id := range sr.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// take takes one row.
func (sr *statsReader) take(columns *[8]sql.RawBytes) error {
	p := parser{}
	switch columns[0][0] {
	case kindHeader:
		sr.header.AsOf[int(p.integer(columns[1]))] = p.integer(columns[2])
		sr.header.Term = uint64(p.integer(columns[3]))
		sr.marks = watermarks{hour: p.integer(columns[4]), day: p.integer(columns[5])}
	case kindKey:
		key := StatsKey{Partition: int(p.integer(columns[2])), Name: string(columns[7])}
		if stats := sr.byKey[key]; stats != nil {
			stats.Known = true
			sr.byID[uint64(p.integer(columns[1]))] = stats
		}
	case kindRow:
		return sr.takeRow(columns)
	}
	return p.err
}

func (sr *statsReader) takeRow(columns *[8]sql.RawBytes) error {
	p := parser{}
	stats := sr.byID[uint64(p.integer(columns[1]))]
	if stats == nil {
		return fmt.Errorf("row of key id %s, which was not asked for: %w", columns[1], ErrSchema)
	}
	point := Point{Start: p.integer(columns[2]), Aggregate: p.aggregate(columns[3], columns[4], columns[5], columns[6], columns[7])}
	if p.err != nil {
		return p.err
	}
	if sr.request.Step == StepNone {
		sr.total(stats, point)
		return nil
	}
	stats.Points = append(stats.Points, point)
	if sr.points++; sr.points > sr.request.MaxPoints {
		return fmt.Errorf("more than %d: %w", sr.request.MaxPoints, ErrTooManyPoints)
	}
	return nil
}

// total adds a segment's sum to the one point of a key.
func (sr *statsReader) total(stats *KeyStats, point Point) {
	if len(stats.Points) == 0 {
		stats.Points = []Point{{Start: sr.request.From, Aggregate: event.NewAggregate()}}
	}
	stats.Points[0].Merge(point.Aggregate)
}

// complete refuses an answer without the ownership rows of every partition.
func (sr *statsReader) complete() error {
	for _, k := range sr.request.Keys {
		if _, owned := sr.header.AsOf[k.Partition]; !owned {
			return &CheckpointError{Reason: ErrMisrouted, Stored: Checkpoint{Partition: k.Partition}}
		}
	}
	return nil
}

// finish orders the points. A step that two segments share, for its first part lies before a watermark, is one point.
func (sr *statsReader) finish(segments []segment) *StatsAnswer {
	for i := range sr.keys {
		stats := &sr.keys[i]
		if sr.request.Step == StepNone && len(stats.Points) == 0 {
			stats.Points = []Point{{Start: sr.request.From, Aggregate: event.NewAggregate()}}
		}
		slices.SortStableFunc(stats.Points, func(a, b Point) int { return cmp.Compare(a.Start, b.Start) })
		stats.Points = mergeEqual(stats.Points)
	}
	sr.header.Resolution = describe(segments)
	return &StatsAnswer{Header: sr.header, Keys: sr.keys}
}

func mergeEqual(points []Point) []Point {
	merged := points[:0]
	for _, p := range points {
		if n := len(merged); n > 0 && merged[n-1].Start == p.Start {
			merged[n-1].Merge(p.Aggregate)
			continue
		}
		merged = append(merged, p)
	}
	return merged
}

// parser reads the server's texts and keeps the first error.
type parser struct{ err error }

func (p *parser) integer(text []byte) int64 {
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("read number: %w", err)
	}
	return v
}

func (p *parser) aggregate(count, valueCount, sum, least, most []byte) event.Aggregate {
	a := event.NewAggregate()
	a.Count = p.integer(count)
	if sum == nil {
		return a
	}
	a.HasValues = true
	a.ValueCount = p.integer(valueCount)
	a.Min, a.Max = p.integer(least), p.integer(most)
	var err error
	if a.Sum, err = event.ParseSum(string(sum)); err != nil && p.err == nil {
		p.err = fmt.Errorf("read sum: %w", err)
	}
	return a
}
