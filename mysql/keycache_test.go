package mysql

import (
	"fmt"
	"sync"
	"testing"
)

func TestKeyCacheTellsKeysApart(t *testing.T) {
	c := newKeyCache(1000)
	for p := range 4 {
		for i := range 100 {
			c.add(p, fmt.Sprintf("key-%d", i), uint64(1+1000*p+i))
		}
	}
	for p := range 4 {
		for i := range 100 {
			if id, ok := c.get(p, fmt.Sprintf("key-%d", i)); ok && id != uint64(1+1000*p+i) {
				t.Errorf("got id %d for key %d of partition %d", id, i, p)
			}
		}
	}
	for _, name := range []string{"key-100", "key-", ""} {
		if id, ok := c.get(0, name); ok {
			t.Errorf("got id %d for %q, which was never added", id, name)
		}
	}
	c.add(0, "key-1", 7)
	if id, ok := c.get(0, "key-1"); !ok || id != 7 {
		t.Errorf("got %d, %t for a key that was added again, want 7", id, ok)
	}
}

func TestKeyCacheIsBoundedAndKeepsWhatItHolds(t *testing.T) {
	const size = 10_000
	c := newKeyCache(size)
	known := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if id, ok := c.get(1, fmt.Sprint("key-", i)); ok && id == uint64(i+1) {
				n++
			}
		}
		return n
	}
	for i := range size {
		c.add(1, fmt.Sprint("key-", i), uint64(i+1))
	}
	if n := known(0, size); n < size*95/100 || n != c.len() {
		t.Errorf("got %d of %d keys, and %d by the cache's own account", n, size, c.len())
	}
	for i := size; i < 20*size; i++ {
		c.add(1, fmt.Sprint("key-", i), uint64(i+1))
		if i%size == 0 {
			known(0, 100) // what is asked for stays longer
		}
	}
	if n := c.len(); n > size*3/2+keySetSize {
		t.Errorf("got %d keys in a cache of %d", n, size)
	}
	if n := known(19*size, 20*size); n < size*70/100 {
		t.Errorf("got %d of the latest %d keys", n, size)
	}
}

func TestKeyCachePrefersWhatWasAskedFor(t *testing.T) {
	c := newKeyCache(1)
	c.sets = make([]keySet, 1)
	name := func(i int) string { return fmt.Sprint("key-", i) }
	for i := range keySetSize {
		c.add(0, name(i), uint64(i+1))
	}
	c.add(0, name(keySetSize), keySetSize+1) // all had been used: one goes, the others have to be asked for to stay
	for i := 1; i < keySetSize; i += 2 {
		if _, ok := c.get(0, name(i)); !ok {
			t.Fatalf("key %d is gone", i)
		}
	}
	for i := range 3 {
		c.add(0, name(100+i), uint64(101+i))
	}
	for i := 1; i < keySetSize; i += 2 {
		if _, ok := c.get(0, name(i)); !ok {
			t.Errorf("key %d, which was asked for, is gone", i)
		}
	}
}

func TestKeyCacheServesManyAtOnce(t *testing.T) {
	c := newKeyCache(500)
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				name := fmt.Sprint("key-", i%700)
				c.add(p, name, uint64(i%700+1))
				if id, ok := c.get(p, name); ok && id != uint64(i%700+1) {
					t.Errorf("got id %d for %s", id, name)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkKeyCache(b *testing.B) {
	const keys = 1_000_000
	c := newKeyCache(keys)
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprint("bench-key-", i)
		c.add(i%8, names[i], uint64(i+1))
	}
	i := 0
	for b.Loop() {
		i = (i + 7919) % keys
		c.get(i%8, names[i])
	}
}
