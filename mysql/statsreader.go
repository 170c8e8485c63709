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
	request   *StatsRequest
	header    Header
	placement *placement
	byID      map[uint64]*KeyStats
	byKey     map[StatsKey]int // place in the request
	found     map[int]uint64   // ids by place
	known     map[int]bool     // partitions of the keys that were found
	keys      []KeyStats
	pieces    []piece
	cold      coldReader
	lateRows  bool
	points    int // before those of the same step are merged
	maxPoints int
	maxRows   int // of the statement
}

func newStatsReader(r *StatsRequest) *statsReader {
	sr := &statsReader{
		request: r, header: Header{AsOf: map[int]int64{}, NextOffset: map[int]uint64{}}, keys: make([]KeyStats, len(r.Keys)),
		byID: map[uint64]*KeyStats{}, byKey: make(map[StatsKey]int, len(r.Keys)), found: map[int]uint64{}, known: map[int]bool{}, placement: &placement{},
	}
	for i, k := range r.Keys {
		sr.byKey[k] = i
	}
	sr.expect(nil)
	return sr
}

// expect sets the bounds for what the pieces may give. A step may be told by two neighbouring pieces, and again by late rows.
func (sr *statsReader) expect(pieces []piece) {
	sr.pieces = pieces
	sr.maxPoints = sr.request.MaxPoints + (len(pieces)+1)*len(sr.request.Keys)
	objects := 0
	for _, one := range pieces {
		switch one.place {
		case late:
			sr.maxPoints += sr.request.MaxPoints
		case cold:
			objects = sr.request.MaxColdObjects + 1
		}
	}
	partitions := len(partitionsOf(sr.request.Keys))
	sr.maxRows = sr.maxPoints + len(sr.request.Keys) + partitions + 3 + maxRestoredRanges + objects*partitions
}

// adopt takes over the ids of keys that were found before, and returns the other keys.
func (sr *statsReader) adopt(ids map[int]uint64) (unknown []StatsKey) {
	for i, k := range sr.request.Keys {
		if id, ok := ids[i]; ok {
			sr.know(i, id)
			continue
		}
		unknown = append(unknown, k)
	}
	return unknown
}

// know notes the id of the key at a place of the request.
func (sr *statsReader) know(at int, id uint64) {
	sr.found[at], sr.known[sr.request.Keys[at].Partition] = id, true
	sr.keys[at].Known = true
	sr.byID[id] = &sr.keys[at]
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
		partition := int(p.integer(columns[1]))
		sr.header.AsOf[partition], sr.header.NextOffset[partition] = p.integer(columns[2]), uint64(p.integer(columns[6]))
		sr.header.Term = uint64(p.integer(columns[3]))
		sr.placement.watermarks = watermarks{hour: p.integer(columns[4]), day: p.integer(columns[5])}
		if columns[7] != nil {
			return cmp.Or(p.err, sr.placement.takeMarks(string(columns[7])))
		}
	case kindKey:
		key := StatsKey{Partition: int(p.integer(columns[2])), Name: string(columns[7])}
		if at, asked := sr.byKey[key]; asked {
			sr.know(at, uint64(p.integer(columns[1])))
		}
	case kindRestored:
		sr.placement.takeRestored(string(columns[7]), p.integer(columns[2]), p.integer(columns[3]))
	case kindObject:
		return sr.takeObject(columns)
	case kindRow, kindLate:
		sr.lateRows = sr.lateRows || columns[0][0] == kindLate
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
	if sr.points++; sr.points > sr.maxPoints {
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

// finish orders the points. A step that two pieces share, for its first part lies before a watermark or something was added late, is one point.
func (sr *statsReader) finish() (*StatsAnswer, error) {
	points := 0
	for i := range sr.keys {
		stats := &sr.keys[i]
		if sr.request.Step == StepNone {
			if len(stats.Points) == 0 {
				stats.Points = []Point{{Start: sr.request.From, Aggregate: event.NewAggregate()}}
			}
			continue
		}
		slices.SortStableFunc(stats.Points, func(a, b Point) int { return cmp.Compare(a.Start, b.Start) })
		stats.Points = mergeEqual(stats.Points)
		points += len(stats.Points)
	}
	if points > sr.request.MaxPoints {
		return nil, fmt.Errorf("%d, more than %d: %w", points, sr.request.MaxPoints, ErrTooManyPoints)
	}
	sr.header.Resolution = describe(sr.pieces, sr.lateRows)
	return &StatsAnswer{Header: sr.header, Keys: sr.keys, Cold: sr.coldParts(), Pieces: told(sr.pieces)}, nil
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
