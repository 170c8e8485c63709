package ingest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/eventlog"
)

// Bounds at which a batch takes no more shares, and those of a share: request.split cuts larger ones. Batches are counted whole: together
// these stay below eventlog.MaxBatchBytes and, should every event be a row of its own, well below what one Apply may carry, for a shard must
// get them done within the time of one, too.
const (
	maxCommitBytes  = 4 << 20
	maxCommitEvents = 20_000
	maxShareBytes   = 10 << 20
	maxShareEvents  = 20_000
)

// lane gathers the events of one partition from all requests and appends them, one batch at a time: while an append is under way
// the next batch gathers.
type lane struct {
	partition int
	log       eventlog.Appender
	pace      pace
	window    *window
	metrics   *metrics

	kick chan struct{} // holds a token when there is something to append
	full chan struct{} // holds a token when a batch should not wait any longer

	mu      sync.Mutex
	waiting []*commit // in order; the last one takes more
	spare   []*commit
	next    atomic.Uint64 // offset that the next append will get, as far as known here
}

// pace says how long a batch waits for company.
type pace struct {
	delay time.Duration // least time between the starts of two appends of a partition
	bytes int           // a batch of this size does not wait
}

// commit is one batch on its way and the requests that have a share in it.
type commit struct {
	builder event.BatchBuilder
	ids     int
	shares  []share
}

func (c *commit) takesMore() bool {
	return c.builder.Bytes() < maxCommitBytes && c.builder.Len() < maxCommitEvents
}

// share is what a request has in a commit.
type share struct {
	request *request
	part    int // index into request.parts
}

func newLane(partition int, log eventlog.Appender, p pace, w *window, m *metrics) *lane {
	return &lane{partition: partition, log: log, pace: p, window: w, metrics: m, kick: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// add puts a part of a request into the batch that gathers.
func (l *lane) add(r *request, part int) {
	p := &r.parts[part]
	l.mu.Lock()
	c := l.openLocked()
	for _, i := range r.order[p.from:p.to] {
		e := &r.parser.entries[i]
		c.builder.AddRaw(&e.RawEvent)
		if e.Fingerprint != 0 {
			c.ids++
		}
	}
	c.shares = append(c.shares, share{request: r, part: part})
	crowded := len(l.waiting) > 1 || c.builder.Bytes() >= l.pace.bytes
	l.mu.Unlock()
	signal(l.kick)
	if crowded {
		signal(l.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// openLocked returns the batch that takes more.
func (l *lane) openLocked() *commit {
	if n := len(l.waiting); n > 0 && l.waiting[n-1].takesMore() {
		return l.waiting[n-1]
	}
	c := &commit{}
	if n := len(l.spare); n > 0 {
		c, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	l.waiting = append(l.waiting, c)
	return c
}

// take returns the batch to append next, nil if there is none.
func (l *lane) take() *commit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	c := l.waiting[0]
	l.waiting = append(l.waiting[:0], l.waiting[1:]...)
	return c
}

// maxSpare bounds the batches a lane keeps for reuse.
const maxSpare = 2

// recycle keeps a batch's memory for another one, unless it grew unusually large.
func (l *lane) recycle(c *commit) {
	tooLarge := c.builder.Bytes() > maxCommitBytes
	c.builder.Reset()
	clear(c.shares)
	c.shares, c.ids = c.shares[:0], 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if !tooLarge && len(l.spare) < maxSpare {
		l.spare = append(l.spare, c)
	}
}

// run appends what gathers until stop is closed and nothing is left.
func (l *lane) run(stop <-chan struct{}) {
	var data []byte
	var last time.Time
	for {
		stopped := l.await(stop)
		l.wait(last, stop)
		c := l.take()
		if c == nil && stopped {
			return
		}
		if c == nil {
			continue
		}
		last = time.Now()
		data = c.builder.AppendTo(data[:0])
		l.append(c, data, last)
		if cap(data) > maxCommitBytes {
			data = nil
		}
	}
}

// await returns when there may be something to append, or with true when there will be nothing more.
func (l *lane) await(stop <-chan struct{}) (stopped bool) {
	l.mu.Lock()
	pending := len(l.waiting) > 0
	l.mu.Unlock()
	if pending {
		return false
	}
	select {
	case <-l.kick:
		return false
	case <-stop:
		return true
	}
}

// wait lets a batch gather as long as the last append is too recent.
func (l *lane) wait(last time.Time, stop <-chan struct{}) {
	left := l.pace.delay - time.Since(last)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-stop:
		case <-l.full:
			if !l.crowded() {
				continue // left over from an earlier batch
			}
		}
		return
	}
}

func (l *lane) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) > 1 || (len(l.waiting) == 1 && l.waiting[0].builder.Bytes() >= l.pace.bytes)
}

// append makes one batch durable and tells every request that has a share in it. It is not tied to any request's context.
func (l *lane) append(c *commit, data []byte, start time.Time) {
	record, err := l.log.Append(context.Background(), l.partition, data)
	if err == nil {
		l.window.add(c.ids, record.AppendTime)
		l.next.Store(record.Offset + 1)
	}
	l.window.settle(c.ids)
	l.metrics.appended(c.builder.Len(), time.Since(start), err)
	for _, s := range c.shares {
		s.request.settle(s.part, err)
	}
	l.recycle(c)
}
