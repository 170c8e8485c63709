package countfile

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// run is a stretch of rows with one type and key, as shards deliver them.
type run struct {
	prefix      uint64 // of the key, without what all keys begin with
	kind        uint32 // rank of the type
	first, last uint32
}

// order returns the indexes of rows in the order of (type, key, start, partition) and how many keys there are. The rows stay where they are: they
// are large, and mostly in stretches of one key already, so stretches are sorted and not rows.
func order(rows []Row) (indexes []uint32, keys int) {
	runs := divide(rows)
	slices.SortFunc(runs, func(a, b run) int {
		if a.kind != b.kind {
			return cmp.Compare(a.kind, b.kind)
		}
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		if c := strings.Compare(rows[a.first].Key, rows[b.first].Key); c != 0 {
			return c
		}
		return cmp.Compare(a.first, b.first)
	})
	indexes = make([]uint32, 0, len(rows))
	for i := 0; i < len(runs); {
		begin := len(indexes)
		head := &rows[runs[i].first]
		for ; i < len(runs) && sameKey(&rows[runs[i].first], head); i++ {
			for row := runs[i].first; row < runs[i].last; row++ {
				indexes = append(indexes, row)
			}
		}
		sortStarts(rows, indexes[begin:])
		keys++
	}
	return indexes, keys
}

// divide finds the stretches.
func divide(rows []Row) []run {
	ranks := typeRanks(rows)
	skip := commonPrefix(rows)
	var runs []run
	var kind uint32
	for i := range rows {
		row := &rows[i]
		if i > 0 && sameKey(row, &rows[i-1]) {
			continue
		}
		if len(runs) > 0 {
			runs[len(runs)-1].last = uint32(i)
		}
		if i == 0 || row.Type != rows[i-1].Type {
			kind = ranks[row.Type]
		}
		runs = append(runs, run{prefix: prefixOf(row.Key[skip:]), kind: kind, first: uint32(i)})
	}
	if len(runs) > 0 {
		runs[len(runs)-1].last = uint32(len(rows))
	}
	return runs
}

func typeRanks(rows []Row) map[string]uint32 {
	ranks := map[string]uint32{}
	for i := range rows {
		if i == 0 || rows[i].Type != rows[i-1].Type {
			ranks[rows[i].Type] = 0
		}
	}
	names := make([]string, 0, len(ranks))
	for name := range ranks {
		names = append(names, name)
	}
	slices.Sort(names)
	for rank, name := range names {
		ranks[name] = uint32(rank)
	}
	return ranks
}

// commonPrefix is how many bytes all keys begin with alike.
func commonPrefix(rows []Row) int {
	common := math.MaxInt
	for i := range rows {
		if i == 0 {
			common = len(rows[0].Key)
			continue
		}
		key := rows[i].Key
		common = min(common, len(key))
		for key[:common] != rows[0].Key[:common] {
			common--
		}
	}
	return common
}

// prefixOf orders like the first eight bytes. A key that ends within them equals one that goes on with zero bytes; the keys themselves decide.
func prefixOf(key string) uint64 {
	var head [8]byte
	copy(head[:], key)
	return binary.BigEndian.Uint64(head[:])
}

func sameKey(a, b *Row) bool { return a.Key == b.Key && a.Type == b.Type }

// sortStarts orders rows of one key.
func sortStarts(rows []Row, indexes []uint32) {
	before := func(a, b uint32) int {
		if c := cmp.Compare(rows[a].Minute, rows[b].Minute); c != 0 {
			return c
		}
		return cmp.Compare(rows[a].Partition, rows[b].Partition)
	}
	if !slices.IsSortedFunc(indexes, before) {
		slices.SortStableFunc(indexes, before)
	}
}
