package rawfile

import (
	"cmp"
	"slices"
)

// Gap is a run of offsets, From ≤ o < To, that no file holds although one before and one after it do.
type Gap struct{ From, To uint64 }

// Coverage is what the files of one partition and log hold together. Files may overlap, when two archivers worked at once: they hold the same batches
// at the same offsets, so whoever reads several drops the rows whose offset an earlier one had.
type Coverage struct {
	First, Next uint64 // of all of them; 0 if there are none
	Gaps        []Gap
}

// Cover adds up the files of one partition and log, in whatever order.
func Cover(names []Name) Coverage {
	var c Coverage
	for _, n := range InOrder(names) {
		switch {
		case c.Next == 0:
			c.First = n.First
		case n.First > c.Next:
			c.Gaps = append(c.Gaps, Gap{From: c.Next, To: n.First})
		}
		c.Next = max(c.Next, n.Next)
	}
	return c
}

// InOrder returns the names by date, then by offset: a partition's files of one log as the log had them.
func InOrder(names []Name) []Name {
	return slices.SortedFunc(slices.Values(names), func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.First, b.First), cmp.Compare(a.Next, b.Next))
	})
}

// OfLog returns those names that are of one log.
func OfLog(names []Name, incarnation string) []Name {
	var own []Name
	for _, n := range names {
		if n.Incarnation == incarnation {
			own = append(own, n)
		}
	}
	return own
}
