package writer

import (
	"fmt"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// A dictionary gives every (type, key) of a partition a number, exactly: the hash only finds the place, the names decide. It is
// not safe for concurrent use.
type dictionary struct {
	partition  int
	partitions int

	slots []dictionarySlot
	names []name // by number
	fresh []byte // scratch
	sink  byte   // what touch loaded, so that it is loaded
}

type dictionarySlot struct {
	hash   uint64
	number uint32 // +1; 0: free
}

type name struct{ kind, key string }

func newDictionary(partition, partitions int) *dictionary {
	return &dictionary{partition: partition, partitions: partitions, slots: make([]dictionarySlot, 1024)}
}

// misplacedError is a batch that holds a key of another partition, or one under a hash that is not its own: counted here,
// no reader would find it.
type misplacedError struct {
	kind, key string
	partition int
}

func (e *misplacedError) Error() string {
	return fmt.Sprintf("key %q of type %q does not belong to partition %d", e.key, e.kind, e.partition)
}

// translate appends the number of each key to numbers. New keys are checked to belong to the partition; if one does not,
// translate returns a *misplacedError.
func (d *dictionary) translate(numbers []uint32, keys []event.BatchKey) ([]uint32, error) {
	for 3*(len(d.names)+len(keys)) > 2*len(d.slots) {
		d.grow()
	}
	for len(keys) > 0 {
		block := keys[:min(len(keys), touchAhead)]
		keys = keys[len(block):]
		d.touch(block)
		for i := range block {
			number, err := d.number(&block[i])
			if err != nil {
				return numbers, err
			}
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// touch loads where the keys' entries probably are, so that the misses overlap.
func (d *dictionary) touch(keys []event.BatchKey) {
	mask, sink := uint64(len(d.slots)-1), byte(0)
	for i := range keys {
		at := d.place(keys[i].Hash) & mask
		if n := d.slots[at].number; n > 0 {
			sink += d.names[n-1].key[0]
		}
	}
	d.sink += sink
}

// place mixes the routing hash: within a partition its remainder by the number of partitions is always the same.
func (d *dictionary) place(hash uint64) uint64 { return (hash * 0x9E3779B97F4A7C15) >> 20 }

func (d *dictionary) number(k *event.BatchKey) (uint32, error) {
	mask := uint64(len(d.slots) - 1)
	at := d.place(k.Hash) & mask
	for ; d.slots[at].number != 0; at = (at + 1) & mask {
		if d.slots[at].hash != k.Hash {
			continue
		}
		if n := &d.names[d.slots[at].number-1]; n.key == k.Key && n.kind == k.Type {
			return d.slots[at].number - 1, nil
		}
	}
	if cluster.KeyHash(k.Type, k.Key) != k.Hash || cluster.PartitionOf(k.Hash, d.partitions) != d.partition {
		return 0, &misplacedError{k.Type, k.Key, d.partition}
	}
	number := uint32(len(d.names))
	d.names = append(d.names, d.copyName(k))
	d.slots[at] = dictionarySlot{hash: k.Hash, number: number + 1}
	return number, nil
}

// copyName keeps a key without the batch it came in.
func (d *dictionary) copyName(k *event.BatchKey) name {
	d.fresh = append(append(d.fresh[:0], k.Type...), k.Key...)
	both := string(d.fresh)
	return name{kind: both[:len(k.Type)], key: both[len(k.Type):]}
}

func (d *dictionary) grow() {
	old := d.slots
	d.slots = make([]dictionarySlot, 2*len(old))
	mask := uint64(len(d.slots) - 1)
	for _, s := range old {
		if s.number == 0 {
			continue
		}
		at := d.place(s.hash) & mask
		for d.slots[at].number != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = s
	}
}
