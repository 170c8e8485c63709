package mysql

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// place is where rows of a resolution are (docs/archive.md).
type place int

// The places. What was added to frozen rows is read besides, in whatever place those are.
const (
	hot      place = iota // the counts table
	restored              // its restored table
	cold                  // objects in cold storage: the database says which
	late                  // its late table
)

// placement says how far a snapshot's coarse tables are complete, and where its rows are. Indices are those of countsTables.
type placement struct {
	watermarks
	archive      bool // whether the schema has one
	frozen, cold [3]int64
	everRestored bool            // without it, ranges need not be asked for
	restored     []restoredRange // ready ones
}

// restoredRange is a range of cold rows that can be read from the restored table.
type restoredRange struct {
	table    int
	from, to int64 // minutes
}

func (p *placement) equal(other *placement) bool {
	return p.watermarks == other.watermarks && p.frozen == other.frozen && p.cold == other.cold &&
		p.everRestored == other.everRestored && slices.Equal(p.restored, other.restored)
}

// markColumns is all marks as one text, for takeMarks.
var markColumns = func() string {
	text, changes := "CONCAT_WS(' '", ""
	for _, table := range []string{"am", "ah", "ad"} {
		text += ", " + inMinutes(table+".frozen_before") + ", " + inMinutes(table+".cold_before")
		changes += " + " + table + ".version"
	}
	return text + ", 0" + changes + ")"
}()

func (p *placement) takeMarks(text string) error {
	fields := strings.Fields(text)
	if len(fields) != 2*len(p.frozen)+1 {
		return fmt.Errorf("read marks %q: %w", text, ErrSchema)
	}
	numbers := parser{}
	for i := range p.frozen {
		p.frozen[i], p.cold[i] = numbers.integer([]byte(fields[2*i])), numbers.integer([]byte(fields[2*i+1]))
	}
	p.archive, p.everRestored = true, fields[len(fields)-1] != "0"
	return numbers.err
}

// selectRestored is added to a query for takeRestored. Should there be more ranges than there may be, those that are left out are read from cold
// storage, where they are as well.
var selectRestored = fmt.Sprintf(" UNION ALL (SELECT %c, NULL, %s, %s, NULL, NULL, NULL, r.resolution FROM restored_ranges r WHERE r.state = 'ready' ORDER BY r.range_start DESC, r.id LIMIT %d)",
	kindRestored, inMinutes("r.range_start"), inMinutes("r.range_end"), maxRestoredRanges)

func (p *placement) takeRestored(name string, from, to int64) {
	table := slices.IndexFunc(countsTables(), func(r resolution) bool { return resolutionNames[r] == name })
	if table >= 0 {
		p.restored = append(p.restored, restoredRange{table, from, to})
	}
}

// settle orders the restored ranges and joins those that meet.
func (p *placement) settle() {
	slices.SortFunc(p.restored, func(a, b restoredRange) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	joined := p.restored[:0]
	for _, r := range p.restored {
		if n := len(joined); n > 0 && joined[n-1].table == r.table && r.from <= joined[n-1].to {
			joined[n-1].to = max(joined[n-1].to, r.to)
			continue
		}
		joined = append(joined, r)
	}
	p.restored = joined
}

// piece is a part of a range that is read from one place.
type piece struct {
	segment
	place place
}

// pieces says where the segments are read: the rows in the order of time, and then what was added to them late.
func (p *placement) pieces(segments []segment) []piece {
	var all []piece
	for _, s := range segments {
		all = append(all, p.locate(slices.Index(countsTables(), s.table), s.from, s.to)...)
	}
	return append(all, p.lateOf(all)...)
}

// locate finds the rows of a table. Cold ones are replaced by finer rows of the database, if it has all of them.
func (p *placement) locate(table int, from, to int64) (found []piece) {
	at := from
	for _, here := range p.local(table, from, to) {
		found = append(found, p.replaceCold(table, table-1, at, here.from)...)
		found = append(found, here)
		at = here.to
	}
	return append(found, p.replaceCold(table, table-1, at, to)...)
}

// local returns what of a range the database holds at a table's resolution, in the order of time.
func (p *placement) local(table int, from, to int64) (found []piece) {
	resolution, border := countsTables()[table], p.cold[table]
	for _, r := range p.restored {
		if first, last := max(r.from, from), min(r.to, to, border); r.table == table && first < last {
			found = append(found, piece{segment{resolution, first, last}, restored})
		}
	}
	if first := max(border, from); first < to {
		found = append(found, piece{segment{resolution, first, to}, hot})
	}
	return found
}

// replaceCold reads a cold range of a table from a finer one, and the next finer, where these are not cold; by whole rows of the table.
func (p *placement) replaceCold(table, finer int, from, to int64) (found []piece) {
	switch {
	case from >= to:
		return nil
	case finer < 0:
		return []piece{{segment{countsTables()[table], from, to}, cold}}
	}
	unit, at := countsTables()[table].minutes, from
	for _, here := range p.local(finer, from, to) {
		here.from, here.to = (here.from+unit-1)/unit*unit, here.to/unit*unit
		if here.from >= here.to {
			continue
		}
		found = append(found, p.replaceCold(table, finer-1, at, here.from)...)
		found = append(found, here)
		at = here.to
	}
	return append(found, p.replaceCold(table, finer-1, at, to)...)
}

// lateOf returns where late rows of the pieces may be.
func (p *placement) lateOf(pieces []piece) (found []piece) {
	for _, one := range pieces {
		one.place, one.to = late, min(one.to, p.frozen[slices.Index(countsTables(), one.table)])
		if one.from >= one.to {
			continue
		}
		if n := len(found); n > 0 && found[n-1].table == one.table && found[n-1].to == one.from {
			found[n-1].to = one.to
			continue
		}
		found = append(found, one)
	}
	return found
}

// name returns the table of a place.
func (p piece) name() string {
	switch p.place {
	case restored:
		return p.table.restored
	case late:
		return p.table.late
	}
	return p.table.table
}

var placeNames = map[place]string{hot: "hot", restored: "restored", late: "late"}

// told returns the pieces that are in tables.
func told(pieces []piece) []Piece {
	out := make([]Piece, 0, len(pieces))
	for _, p := range pieces {
		if p.place != cold {
			out = append(out, Piece{Place: placeNames[p.place], Resolution: resolutionNames[p.table], From: p.from, To: p.to})
		}
	}
	return out
}
