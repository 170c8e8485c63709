package writer_test

import (
	"context"
	"errors"
	"sync"

	"github.com/quipudb/quipu/writer"
)

// memLeases are leases in memory.
type memLeases struct {
	mu      sync.Mutex
	holders map[int]string
	away    bool
}

// of returns the leases as one writer sees them.
func (l *memLeases) of(owner string) writer.Leases { return ownedLeases{l, owner} }

func (l *memLeases) expire(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, holder := range l.holders {
		if holder == owner {
			delete(l.holders, p)
		}
	}
}

func (l *memLeases) give(p int, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holders[p] = owner
}

func (l *memLeases) setAway(away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

func (l *memLeases) held(owner string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, holder := range l.holders {
		if holder == owner {
			n++
		}
	}
	return n
}

type ownedLeases struct {
	*memLeases
	owner string
}

var errAway = errors.New("disconnected")

func (l ownedLeases) TryAcquire(_ context.Context, p int) (bool, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return false, "", errAway
	}
	if holder, ok := l.holders[p]; ok && holder != l.owner {
		return false, holder, nil
	}
	l.holders[p] = l.owner
	return true, l.owner, nil
}

func (l ownedLeases) Release(_ context.Context, p int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return errAway
	}
	if l.holders[p] == l.owner {
		delete(l.holders, p)
	}
	return nil
}
