package countfile

import (
	"cmp"
	"slices"

	"github.com/quipudb/quipu/event"
)

// partSums adds up rows by partition, of which there are few.
type partSums struct {
	parts []Part
	last  int // index of the part used last
}

// of returns a partition's part, until the next call.
func (s *partSums) of(partition int) *Part {
	if s.last < len(s.parts) && s.parts[s.last].Partition == partition {
		return &s.parts[s.last]
	}
	s.last = slices.IndexFunc(s.parts, func(p Part) bool { return p.Partition == partition })
	if s.last < 0 {
		s.last = len(s.parts)
		s.parts = append(s.parts, Part{Partition: partition})
	}
	return &s.parts[s.last]
}

func (s *partSums) addRow(partition int, a *event.Aggregate) {
	part := s.of(partition)
	part.Rows++
	part.EventCount = part.EventCount.Add(event.SumOf(a.Count))
	if a.HasValues {
		part.ValueCount = part.ValueCount.Add(event.SumOf(a.ValueCount))
		part.ValueSum = part.ValueSum.Add(a.Sum)
	}
}

func (p *Part) add(o Part) {
	p.Rows += o.Rows
	p.EventCount = p.EventCount.Add(o.EventCount)
	p.ValueCount = p.ValueCount.Add(o.ValueCount)
	p.ValueSum = p.ValueSum.Add(o.ValueSum)
}

func (s *partSums) summary() Summary {
	result := Summary{Parts: slices.Clone(s.parts)}
	slices.SortFunc(result.Parts, func(a, b Part) int { return cmp.Compare(a.Partition, b.Partition) })
	for _, part := range result.Parts {
		result.Rows += part.Rows
	}
	return result
}
