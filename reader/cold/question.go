package cold

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

// Question asks for what the parts hold of some keys of a type.
type Question struct {
	Type string
	Keys []Key
	// Start returns where the point begins that a row belongs to.
	Start  func(minute int64) int64
	Parts  []wire.ColdPart
	Budget *Budget
}

// Key is a key with the partition that counts it, where that is known.
type Key struct {
	Name      string
	Partition int
	Known     bool
}

// within tells whether rows of a key may be in these partitions.
func (k *Key) within(partitions []int) bool {
	return !k.Known || slices.Contains(partitions, k.Partition)
}

// resolutions are the minutes that a row of each counts.
var resolutions = map[string]int64{"minute": 1, "hour": 60, "day": 24 * 60}

// check refuses parts that would count a row twice or only in part.
func (q *Question) check() error {
	byPartition := map[int][]*wire.ColdPart{}
	for i := range q.Parts {
		p := &q.Parts[i]
		unit, ok := resolutions[p.Resolution]
		if !ok || p.From >= p.To || p.From%unit != 0 || p.To%unit != 0 {
			return fmt.Errorf("part of shard %s from minute %d to %d can't be read by the %s", p.Shard, p.From, p.To, p.Resolution)
		}
		if last := p.To - 1; q.Start(p.From) != q.Start(p.From+unit-1) || q.Start(last-unit+1) != q.Start(last) {
			return fmt.Errorf("a %s of shard %s is longer than a step", p.Resolution, p.Shard)
		}
		for _, partition := range p.Partitions {
			byPartition[partition] = append(byPartition[partition], p)
		}
	}
	for partition, parts := range byPartition {
		slices.SortFunc(parts, func(a, b *wire.ColdPart) int { return cmp.Compare(a.From, b.From) })
		for i := 1; i < len(parts); i++ {
			if parts[i].From < parts[i-1].To {
				return fmt.Errorf("minute %d of partition %d is in two parts", parts[i].From, partition)
			}
		}
	}
	return nil
}

// use is an object for the sake of one part.
type use struct {
	part int
	// partitions of the object that count in this part.
	partitions []int
}

// job is what to read of one object: for any number of parts.
type job struct {
	object wire.ColdObject
	uses   []use
	keys   []int // places in Question.Keys, ascending
}

// jobs says which keys to look for in which objects. An object that two parts name is read once.
func (q *Question) jobs() []*job {
	var out []*job
	byName := map[string]*job{}
	for i := range q.Parts {
		for _, object := range q.Parts[i].Objects {
			partitions := slices.DeleteFunc(slices.Clone(object.Partitions), func(partition int) bool {
				return !slices.Contains(q.Parts[i].Partitions, partition)
			})
			keys := q.keysWithin(partitions)
			if len(keys) == 0 {
				continue
			}
			j := byName[object.Object]
			if j == nil {
				j = &job{object: object}
				byName[object.Object] = j
				out = append(out, j)
			}
			j.uses = append(j.uses, use{part: i, partitions: partitions})
			j.keys = append(j.keys, keys...)
			slices.Sort(j.keys)
			j.keys = slices.Compact(j.keys)
		}
	}
	return out
}

func (q *Question) keysWithin(partitions []int) []int {
	var keys []int
	for at := range q.Keys {
		if len(partitions) > 0 && q.Keys[at].within(partitions) {
			keys = append(keys, at)
		}
	}
	return keys
}

// Answer is what was found, and what could not be read.
type Answer struct {
	// Points are what to add, by place in Question.Keys and by start.
	Points []map[int64]*event.Aggregate
	// Failures lists the objects that could not be read for some keys, in the order of their names.
	Failures []Failure
	// Reads tells about each of Question.Parts what was done.
	Reads []Reads
}

// Failure is an object that could not be read. Its error wraps one of this package, or is the context's.
type Failure struct {
	Object string
	Keys   []int   // places in Question.Keys that lack rows
	Ranges []Range // what may be missing
	Err    error
}

// Range is a stretch of a part.
type Range struct {
	Part       int // in Question.Parts
	From, To   int64
	Partitions []int
}

// Reads counts what was done for a part. An object that several parts name counts for the first of them.
type Reads struct {
	Objects int   // that had to be looked at
	Cached  int   // of them, those that were in memory as far as they were asked for
	Empty   int   // of them, those that hold nothing of the asked keys
	Bytes   int64 // read of the others
}

// add adds a row to the point that it belongs to.
func (a *Answer) add(key int, start int64, row event.Aggregate) {
	points := a.Points[key]
	if points == nil {
		points = map[int64]*event.Aggregate{}
		a.Points[key] = points
	}
	if points[start] == nil {
		points[start] = new(event.NewAggregate())
	}
	points[start].Merge(row)
}
