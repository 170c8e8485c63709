package reader

import (
	"cmp"
	"slices"

	"github.com/quipudb/quipu/wire"
)

// provenance is how answers say what they are (INV-8).
type provenance struct {
	AsOf     string   `json:"as_of"`
	Stale    bool     `json:"stale"`
	Waited   *bool    `json:"waited,omitempty"`
	Coverage coverage `json:"coverage"`
	Sources  []source `json:"sources"`
}

type coverage struct {
	Partitions int       `json:"partitions"`
	Answered   int       `json:"answered"`
	Missing    []missing `json:"missing"`
}

type missing struct {
	Shard      string    `json:"shard"`
	Partitions []int     `json:"partitions"`
	Code       wire.Code `json:"code"`
	Resolution string    `json:"resolution,omitempty"` // only what is in cold storage
	From       string    `json:"from,omitempty"`
	To         string    `json:"to,omitempty"`
}

type source struct {
	Shard      string `json:"shard"`
	Database   string `json:"database,omitempty"`
	Role       string `json:"role"`
	Resolution string `json:"resolution"`
	AsOf       string `json:"as_of,omitempty"`
	*coldSource
}

// coldSource is what a source says that is cold storage instead of a database.
type coldSource struct {
	Objects int   `json:"objects"`
	Cached  int   `json:"cached"`
	Bytes   int64 `json:"bytes_read"`
}

func newProvenance(p *wire.Provenance, waited *bool) provenance {
	out := provenance{
		AsOf: formatInstant(p.AsOf), Stale: p.Stale, Waited: waited,
		Coverage: coverage{Partitions: p.Coverage.Partitions, Answered: p.Coverage.Answered, Missing: []missing{}},
		Sources:  make([]source, 0, len(p.Sources)),
	}
	for _, m := range p.Coverage.Missing {
		out.Coverage.Missing = append(out.Coverage.Missing, newMissing(m))
	}
	for _, s := range p.Sources {
		out.Sources = append(out.Sources, newSource(s))
	}
	return out
}

func newMissing(m wire.Missing) missing {
	out := missing{Shard: m.Shard, Partitions: append([]int{}, m.Partitions...), Code: m.Code}
	if m.Resolution != "" {
		out.Resolution, out.From, out.To = m.Resolution, formatMinute(m.From), formatMinute(m.To)
	}
	return out
}

func newSource(s wire.Source) source {
	out := source{Shard: s.Shard, Database: s.Database, Role: s.Role, Resolution: s.Resolution}
	if s.Role == wire.RoleCold {
		out.coldSource = &coldSource{s.Objects, s.Cached, s.Bytes}
		return out
	}
	out.AsOf = formatInstant(s.AsOf)
	return out
}

// complete tells whether every partition that was needed answered.
func complete(p *wire.Provenance) bool {
	return p.Coverage.Answered >= p.Coverage.Partitions && len(p.Coverage.Missing) == 0
}

// joiner makes one provenance of those of several lookups. A partition that two lookups needed counts twice.
type joiner struct {
	out   wire.Provenance
	dated bool
}

func (j *joiner) add(p *wire.Provenance) {
	if p.Coverage.Answered > 0 && (!j.dated || p.AsOf < j.out.AsOf) {
		j.out.AsOf, j.dated = p.AsOf, true
	}
	j.out.Stale = j.out.Stale || p.Stale
	j.out.Coverage.Partitions += p.Coverage.Partitions
	j.out.Coverage.Answered += p.Coverage.Answered
	for _, m := range p.Coverage.Missing {
		j.miss(m)
	}
	for _, s := range p.Sources {
		j.source(s)
	}
}

// failed counts a lookup that nobody answered: at least one partition, unknown which.
func (j *joiner) failed(code wire.Code) {
	j.out.Coverage.Partitions++
	j.miss(wire.Missing{Code: code})
}

func (j *joiner) miss(m wire.Missing) {
	for i := range j.out.Coverage.Missing {
		have := &j.out.Coverage.Missing[i]
		if have.Shard == m.Shard && have.Code == m.Code && have.Resolution == m.Resolution && have.From == m.From && have.To == m.To {
			have.Partitions = append(slices.Clone(have.Partitions), m.Partitions...)
			slices.Sort(have.Partitions)
			have.Partitions = slices.Compact(have.Partitions)
			return
		}
	}
	j.out.Coverage.Missing = append(j.out.Coverage.Missing, m)
}

func (j *joiner) source(s wire.Source) {
	for i := range j.out.Sources {
		have := &j.out.Sources[i]
		if have.Shard == s.Shard && have.Database == s.Database && have.Role == s.Role && have.Resolution == s.Resolution {
			have.AsOf = min(have.AsOf, s.AsOf)
			have.Objects, have.Cached, have.Bytes = have.Objects+s.Objects, have.Cached+s.Cached, have.Bytes+s.Bytes
			return
		}
	}
	j.out.Sources = append(j.out.Sources, s)
}

// provenance returns what was joined, in an order that doesn't depend on which lookup came first.
func (j *joiner) provenance() wire.Provenance {
	slices.SortFunc(j.out.Coverage.Missing, func(a, b wire.Missing) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Resolution, b.Resolution), cmp.Compare(a.From, b.From))
	})
	slices.SortFunc(j.out.Sources, func(a, b wire.Source) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), atTheEnd(a, b), cmp.Compare(a.Database, b.Database), cmp.Compare(a.Resolution, b.Resolution))
	})
	return j.out
}

// atTheEnd sorts cold storage after databases.
func atTheEnd(a, b wire.Source) int {
	switch aCold, bCold := a.Role == wire.RoleCold, b.Role == wire.RoleCold; {
	case aCold == bCold:
		return 0
	case bCold:
		return -1
	}
	return 1
}
