package mysql

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"

	"github.com/dchest/siphash"
)

// keyCache remembers ids of keys: a table of a fixed size, without pointers, in sets of eight. A key is known by a 128-bit hash of its
// partition and name under a secret of the process, so that nobody can make two keys that are taken for one. A full set
// drops a key that was not asked for since it last had to drop one. It is safe for concurrent use.
type keyCache struct {
	k0, k1 uint64

	mu    sync.Mutex // guards what follows
	sets  []keySet
	count int
}

const keySetSize = 8

type keySet struct {
	hashes [keySetSize][2]uint64
	ids    [keySetSize]uint64 // 0: free
	used   uint8              // bit i: ids[i] was asked for
}

// newKeyCache returns a cache for about so many keys: sets fill unevenly, so there is room for half as many more.
func newKeyCache(keys int) *keyCache {
	return &keyCache{k0: rand.Uint64(), k1: rand.Uint64(), sets: make([]keySet, keys*3/2/keySetSize+1)}
}

func (c *keyCache) hash(partition int, name string) (hash [2]uint64) {
	var stack [512]byte
	framed := binary.LittleEndian.AppendUint32(stack[:0], uint32(partition))
	hash[0], hash[1] = siphash.Hash128(c.k0, c.k1, append(framed, name...))
	return hash
}

func (c *keyCache) set(hash [2]uint64) *keySet {
	at, _ := bits.Mul64(hash[0], uint64(len(c.sets)))
	return &c.sets[at]
}

func (s *keySet) find(hash [2]uint64) int {
	for i := range s.hashes {
		if s.hashes[i] == hash && s.ids[i] != 0 {
			return i
		}
	}
	return -1
}

func (c *keyCache) get(partition int, name string) (id uint64, ok bool) {
	hash := c.hash(partition, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.set(hash)
	i := s.find(hash)
	if i < 0 {
		return 0, false
	}
	s.used |= 1 << i
	return s.ids[i], true
}

// add remembers an id, which is never 0.
func (c *keyCache) add(partition int, name string, id uint64) {
	hash := c.hash(partition, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.set(hash)
	i := s.find(hash)
	if i < 0 {
		i = s.place()
		if s.ids[i] == 0 {
			c.count++
		}
	}
	s.hashes[i], s.ids[i] = hash, id
	s.used |= 1 << i
}

// place returns where another key goes.
func (s *keySet) place() int {
	for i, id := range s.ids {
		if id == 0 {
			return i
		}
	}
	if s.used == 1<<keySetSize-1 {
		s.used = 0
	}
	return bits.TrailingZeros8(^s.used)
}

func (c *keyCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}
