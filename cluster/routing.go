// Package cluster holds the domain of where things are: partitions, shards, databases, live members, and the pure
// functions that route. A Snapshot is immutable: replace it, never change it.
//
// The package imports nothing else of this module and does no I/O.
package cluster

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"
)

// KeyHash returns the routing hash of a key: xxh3-64 over type, a zero byte, key. Types hold no zero byte, so the pair is unambiguous.
func KeyHash(eventType, key string) uint64 {
	var stack [384]byte
	buf := append(stack[:0], eventType...)
	buf = append(buf, 0)
	buf = append(buf, key...)
	return xxh3.Hash(buf)
}

// PartitionOf returns the partition, 0 … partitions−1, of a key hash.
func PartitionOf(keyHash uint64, partitions int) int { return int(keyHash % uint64(partitions)) }

// Partition returns the partition of a key of an event type.
func Partition(eventType, key string, partitions int) int {
	return PartitionOf(KeyHash(eventType, key), partitions)
}

// Owner returns which of the members should own a partition, by rendezvous hashing (highest random weight): when a
// member joins or leaves, only the partitions that it wins or held move. It returns "" when there are no members.
func Owner(partition int, members []string) string {
	var best string
	var bestScore uint64
	for _, m := range members {
		if s := ownerScore(partition, m); best == "" || s > bestScore || (s == bestScore && m < best) {
			best, bestScore = m, s
		}
	}
	return best
}

func ownerScore(partition int, member string) uint64 {
	var stack [128]byte
	buf := binary.LittleEndian.AppendUint64(stack[:0], uint64(partition))
	return xxh3.Hash(append(buf, member...))
}

// Owners assigns every partition to a member: rendezvous hashing with a cap, so that every member carries ⌊partitions ÷
// members⌋ or one more. The cap costs some moves beyond the least possible when a member joins or leaves: a few
// percent while a member carries many partitions. It depends only on its arguments, not on their order.
func Owners(partitions int, members []string) []string {
	owners := make([]string, partitions)
	if len(members) == 0 {
		return owners
	}
	share, more := partitions/len(members), partitions%len(members) // so many members may carry one more
	load := make(map[string]int, len(members))
	ranked := slices.Clone(members)
	for p := range owners {
		slices.SortFunc(ranked, func(a, b string) int {
			return cmp.Or(cmp.Compare(ownerScore(p, b), ownerScore(p, a)), cmp.Compare(a, b))
		})
		for _, m := range ranked {
			if load[m] > share || load[m] == share && more == 0 {
				continue
			}
			if load[m] == share {
				more--
			}
			owners[p], load[m] = m, load[m]+1
			break
		}
	}
	return owners
}
