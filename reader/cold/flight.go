package cold

import (
	"context"
	"errors"
	"sync"
)

// flight is a segment that is being read.
type flight struct {
	done    chan struct{} // closed when the rest is set
	segment *segment
	err     error
}

// flights are the segments that are being read, so that nobody reads one twice at a time.
type flights struct {
	mu   sync.Mutex // guards all below
	open map[segmentName]*flight
}

// claim returns the flights to wait for, and those that the caller must land now.
func (f *flights) claim(names []segmentName) (theirs, mine map[segmentName]*flight) {
	theirs, mine = map[segmentName]*flight{}, map[segmentName]*flight{}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		if other, ok := f.open[name]; ok {
			theirs[name] = other
			continue
		}
		f.open[name] = &flight{done: make(chan struct{})}
		mine[name] = f.open[name]
	}
	return theirs, mine
}

// land ends flights, each with its segment, or all with an error.
func (f *flights) land(mine map[segmentName]*flight, segments map[segmentName]*segment, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, own := range mine {
		own.segment, own.err = segments[name], err
		delete(f.open, name)
		close(own.done)
	}
}

// ofLeader tells whether an error is about who read and not about what was read: whoever waited reads for itself then.
func ofLeader(err error) bool {
	return errors.Is(err, ErrTooMuch) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// wait returns when the flight has landed.
func (fl *flight) wait(ctx context.Context) (*segment, error) {
	select {
	case <-fl.done:
		return fl.segment, fl.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
