package mysql

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ColdPart is a part of an asked range whose rows of some partitions are in cold storage: at this resolution, and nowhere else. What was added to
// them late and is not in an object yet is among the points.
type ColdPart struct {
	Resolution string
	From, To   int64        // minutes
	Partitions []int        // of the asked keys that the shard knows
	Objects    []ColdObject // by name; none: there are no rows
}

// ColdObject is an object that overlaps a part and holds rows of its partitions.
type ColdObject struct {
	Object     string
	Bytes      int64
	Rows       int64 // of the partitions below, in the whole object
	SHA256     string
	Partitions []int // of the part's, those with rows
	From       int64 // minutes: of its day
	To         int64
}

// objectMinutes is the most that an object spans: it is of one day.
const objectMinutes = 24 * 60

// objectsQuery selects the objects of a cold piece, one row a partition.
func objectsQuery(partitions []int, p piece, at int) *query {
	q := &query{}
	fmt.Fprintf(&q.text, "%c AS kind, m.partition_id AS a, CAST(m.byte_size AS SIGNED) AS b, CAST(m.row_count AS SIGNED) AS c, %d AS d, %s AS e, LOWER(HEX(m.checksum)) AS f, m.object AS g"+
		" FROM archive_manifest m FORCE INDEX (archive_manifest_range) WHERE m.partition_id IN (%s) AND m.resolution = '%s'"+
		" AND m.range_start >= %s AND m.range_start < %s AND m.range_end > %s AND m.state = 'stored'",
		kindObject, at, inMinutes("m.range_start"), joined(partitions), resolutionNames[p.table], appendTime(nil, max(0, p.from-objectMinutes)), appendTime(nil, p.to), appendTime(nil, p.from))
	return q
}

// coldReader gathers the objects of a snapshot's cold pieces.
type coldReader struct {
	byPiece map[int]map[string]*ColdObject
	objects int
}

// takeObject takes what one partition has in one object. A key that the shard does not know was never counted.
func (sr *statsReader) takeObject(columns *[8]sql.RawBytes) error {
	p := parser{}
	partition, bytes, rows, at := int(p.integer(columns[1])), p.integer(columns[2]), p.integer(columns[3]), int(p.integer(columns[4]))
	from := p.integer(columns[5])
	if p.err != nil || !sr.known[partition] {
		return p.err
	}
	if sr.cold.byPiece == nil {
		sr.cold.byPiece = map[int]map[string]*ColdObject{}
	}
	if sr.cold.byPiece[at] == nil {
		sr.cold.byPiece[at] = map[string]*ColdObject{}
	}
	name := string(columns[7])
	object := sr.cold.byPiece[at][name]
	if object == nil {
		if sr.cold.objects++; sr.cold.objects > sr.request.MaxColdObjects {
			return fmt.Errorf("more than %d: %w", sr.request.MaxColdObjects, ErrTooManyCold)
		}
		object = &ColdObject{Object: name, Bytes: bytes, SHA256: string(columns[6]), From: from, To: from + objectMinutes}
		sr.cold.byPiece[at][name] = object
	}
	object.Rows += rows
	object.Partitions = append(object.Partitions, partition)
	return nil
}

// coldParts returns the cold pieces with their objects.
func (sr *statsReader) coldParts() []ColdPart {
	partitions := slices.Sorted(maps.Keys(sr.known))
	if len(partitions) == 0 {
		return nil
	}
	var parts []ColdPart
	for at, one := range sr.pieces {
		if one.place != cold {
			continue
		}
		part := ColdPart{Resolution: resolutionNames[one.table], From: one.from, To: one.to, Partitions: partitions}
		for _, object := range sr.cold.byPiece[at] {
			slices.Sort(object.Partitions)
			part.Objects = append(part.Objects, *object)
		}
		slices.SortFunc(part.Objects, func(a, b ColdObject) int { return strings.Compare(a.Object, b.Object) })
		parts = append(parts, part)
	}
	return parts
}
