package mysql

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A position says in GTIDs which transactions a server holds. MariaDB: 0-101-57, the last of each domain, or of each domain and server;
// within a domain there is one order, and whoever holds one holds all before it. MySQL: 3e11fa47-…:1-57, all of them.
type position struct {
	last map[origin]uint64    // MariaDB
	sets map[string][]stretch // MySQL, by server and tag
}

// origin is who a MariaDB transaction was first committed by.
type origin struct{ domain, server uint32 }

// stretch is a range of transactions, both ends included.
type stretch struct{ from, to uint64 }

// parsePosition reads what a server says; what form it has, it shows itself.
func parsePosition(text string) (position, error) {
	p := position{last: map[origin]uint64{}, sets: map[string][]stretch{}}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.Join(strings.Fields(part), "") // MySQL breaks lines
		if part == "" {
			continue
		}
		var err error
		if strings.Contains(part, ":") {
			err = p.addSet(part)
		} else {
			err = p.addLast(part)
		}
		if err != nil {
			return position{}, fmt.Errorf("read GTID position %q: %w", text, err)
		}
	}
	return p, nil
}

func (p *position) addLast(text string) error {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return fmt.Errorf("%q is no GTID", text)
	}
	domain, err := strconv.ParseUint(parts[0], 10, 32)
	server, err2 := strconv.ParseUint(parts[1], 10, 32)
	sequence, err3 := strconv.ParseUint(parts[2], 10, 64)
	if err := cmp.Or(err, err2, err3); err != nil {
		return fmt.Errorf("%q is no GTID: %w", text, err)
	}
	o := origin{uint32(domain), uint32(server)}
	p.last[o] = max(p.last[o], sequence)
	return nil
}

func (p *position) addSet(text string) error {
	source, ranges, _ := strings.Cut(text, ":")
	for r := range strings.SplitSeq(ranges, ":") {
		from, to, isRange := strings.Cut(r, "-")
		first, err := strconv.ParseUint(from, 10, 64)
		if err != nil && !isRange && r != "" {
			source = strings.SplitN(source, ":", 2)[0] + ":" + r // a tag: what follows is of it
			continue
		}
		last := first
		var err2 error
		if isRange {
			last, err2 = strconv.ParseUint(to, 10, 64)
		}
		if err := cmp.Or(err, err2); err != nil || last < first {
			return fmt.Errorf("%q is no range of transactions", r)
		}
		p.sets[source] = append(p.sets[source], stretch{first, last})
	}
	return nil
}

// heads are the last transaction of each domain, whoever committed it.
func (p position) heads() map[uint32]origin {
	heads := map[uint32]origin{}
	for o, sequence := range p.last {
		if best, ok := heads[o.domain]; !ok || sequence > p.last[best] {
			heads[o.domain] = o
		}
	}
	return heads
}

// total is how many transactions there are, of positions of one history: the larger one is further on.
func (p position) total() (n uint64) {
	for _, o := range p.heads() {
		n += p.last[o]
	}
	for _, spans := range p.sets {
		for _, s := range spans {
			n += s.to - s.from + 1
		}
	}
	return n
}

// headText is a MariaDB position with the last of each domain alone.
func (p position) headText() string {
	heads := p.heads()
	var parts []string
	for _, domain := range slices.Sorted(maps.Keys(heads)) {
		parts = append(parts, fmt.Sprintf("%d-%d-%d", domain, heads[domain].server, p.last[heads[domain]]))
	}
	return strings.Join(parts, ",")
}

// Beyond returns what a server at one position holds that a server which once stood at limit, and of whose history the first one's is thought
// to be, had not: nothing if the first one's history is a part of it. Both were on one history until then.
func Beyond(at, limit string) (excess string, err error) {
	a, err := parsePosition(at)
	if err != nil {
		return "", err
	}
	b, err := parsePosition(limit)
	if err != nil {
		return "", err
	}
	heads := b.heads()
	for domain, o := range a.heads() {
		if limit, ok := heads[domain]; !ok || a.last[o] > b.last[limit] {
			return fmt.Sprintf("%d-%d-%d", o.domain, o.server, a.last[o]), nil
		}
	}
	return a.lacking(b), nil
}

// Excess returns what a server holds that another lacks: nothing if the first one's history is a part of the other's.
func Excess(of, in Held) (excess string, err error) {
	a, err := parsePosition(of.Executed)
	if err != nil {
		return "", err
	}
	b, err := parsePosition(in.Executed + "," + in.Logged)
	if err != nil {
		return "", err
	}
	// In the other's log there is the last transaction of each server, and with it all before: of this one's domains the last must be among them.
	for _, o := range a.heads() {
		if a.last[o] > b.last[o] {
			return fmt.Sprintf("%d-%d-%d", o.domain, o.server, a.last[o]), nil
		}
	}
	return a.lacking(b), nil
}

// lacking compares MySQL's sets: what of a is not in b, in the server's words.
func (p position) lacking(b position) string {
	var parts []string
	for _, source := range slices.Sorted(maps.Keys(p.sets)) {
		for _, s := range p.sets[source] {
			for _, rest := range without(s, b.sets[source]) {
				parts = append(parts, fmt.Sprintf("%s:%d-%d", source, rest.from, rest.to))
			}
		}
	}
	return strings.Join(parts, ",")
}

// without returns what is left of a range when others are taken out.
func without(s stretch, others []stretch) []stretch {
	left := []stretch{s}
	for _, o := range others {
		var next []stretch
		for _, l := range left {
			if o.to < l.from || o.from > l.to {
				next = append(next, l)
				continue
			}
			if l.from < o.from {
				next = append(next, stretch{l.from, o.from - 1})
			}
			if l.to > o.to {
				next = append(next, stretch{o.to + 1, l.to})
			}
		}
		left = next
	}
	return left
}

// Further tells how many transactions a position holds; of two positions of one history the larger number is further on.
func Further(at string) (uint64, error) {
	p, err := parsePosition(at)
	return p.total(), err
}
