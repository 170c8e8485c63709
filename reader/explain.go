package reader

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/quipudb/quipu/wire"
)

// plan is how one question was answered: what was read where.
type plan struct {
	Type     string        `json:"type"`
	Keys     int           `json:"keys"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	Step     wire.Step     `json:"step,omitempty"`
	Segments []planSegment `json:"segments"`
}

// planSegment is a part of the range in one place of a shard.
type planSegment struct {
	Shard      string     `json:"shard"`
	Place      string     `json:"place"` // hot, late, restored, cold
	Resolution string     `json:"resolution"`
	From       string     `json:"from"`
	To         string     `json:"to"`
	Database   string     `json:"database,omitempty"`
	Cold       *coldReads `json:"cold,omitempty"`
}

// coldReads is what cold storage was asked for, and how much of that had to be read.
type coldReads struct {
	Partitions  []int `json:"partitions"`
	Objects     int   `json:"objects"`
	ObjectBytes int64 `json:"object_bytes"`
	Asked       int   `json:"asked"`
	Cached      int   `json:"cached"`
	Empty       int   `json:"empty"`
	Bytes       int64 `json:"bytes_read"`
}

// explained describes how a lookup was answered.
func explained(l *lookup, answer *wire.StatsAnswer, got *collected) *plan {
	out := &plan{
		Type: l.kind, Keys: len(l.keys), From: formatMinute(l.span.from), To: formatMinute(l.span.to), Step: l.span.step, Segments: []planSegment{},
	}
	for _, s := range answer.Plan {
		out.Segments = append(out.Segments, planSegment{
			Shard: s.Shard, Place: s.Place, Resolution: s.Resolution, From: formatMinute(s.From), To: formatMinute(s.To), Database: s.Database,
		})
	}
	for i, part := range answer.Cold {
		reads := &coldReads{Partitions: append([]int{}, part.Partitions...), Objects: len(part.Objects)}
		for _, o := range part.Objects {
			reads.ObjectBytes += o.Bytes
		}
		if got != nil {
			r := got.Reads[i]
			reads.Asked, reads.Cached, reads.Empty, reads.Bytes = r.Objects, r.Cached, r.Empty, r.Bytes
		}
		out.Segments = append(out.Segments, planSegment{
			Shard: part.Shard, Place: wire.PlaceCold, Resolution: part.Resolution, From: formatMinute(part.From), To: formatMinute(part.To), Cold: reads,
		})
	}
	return out
}

// add keeps the plan of one more lookup, if there is one.
func (g *gathered) add(p *plan) {
	if p != nil {
		g.plans = append(g.plans, p)
	}
}

// sortPlans puts the plans in an order that does not depend on which lookup came first.
func (g *gathered) sortPlans() {
	slices.SortStableFunc(g.plans, func(a, b *plan) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Keys, b.Keys))
	})
}

// appendPlan appends the plan of an answer, if one was asked for.
func appendPlan(dst []byte, plans []*plan) ([]byte, error) {
	if plans == nil {
		return dst, nil
	}
	text, err := json.Marshal(plans)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return append(append(dst, `,"plan":`...), text...), nil
}
