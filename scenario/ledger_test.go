package scenario_test

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// cell is where an event counts.
type cell struct {
	Type, Key string
	Minute    int64 // since 1970 UTC
}

func (c cell) String() string {
	return fmt.Sprintf("%s %q at %s", c.Type, c.Key, time.Unix(c.Minute*60, 0).UTC().Format("2006-01-02T15:04Z"))
}

// total is what a cell holds. Numbers are small enough for int64 here.
type total struct {
	Count      int64
	ValueCount int64
	Sum        int64
	Min, Max   int64 // meaningful with HasValues
	HasValues  bool
}

func (t *total) add(e *sent) {
	t.Count += e.weight()
	if e.Value == nil {
		return
	}
	value := *e.Value
	if !t.HasValues || value < t.Min {
		t.Min = value
	}
	if !t.HasValues || value > t.Max {
		t.Max = value
	}
	t.HasValues = true
	t.ValueCount += e.weight()
	t.Sum += e.weight() * value
}

// ledger keeps what was acknowledged. It shares no code with what it checks.
type ledger struct {
	mu       sync.Mutex
	seen     map[identity]bool
	cells    map[cell]*total
	accepted int       // distinct events
	lastAck  time.Time // of the last acknowledgement
	repeats  int       // accepted events that were seen before
	retries  int       // requests sent again
	posted   map[cell]int64
	followed map[cell][]acknowledged // how the count of some keys grew
}

// acknowledged is how many events of a key had been by an instant.
type acknowledged struct {
	at    time.Time
	count int64
}

// identity is what makes two events the same one.
type identity struct{ Type, Key, ID string }

func newLedger() *ledger {
	return &ledger{seen: map[identity]bool{}, cells: map[cell]*total{}, posted: map[cell]int64{}, followed: map[cell][]acknowledged{}}
}

// post notes events that are about to be sent: no answer may ever hold more.
func (l *ledger) post(events []*sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if e.refusal == "" && e.Type == "view" {
			l.posted[cell{Type: e.Type, Key: e.Key}] += e.weight()
		}
	}
}

// mostOf is how much of a key was ever sent, retries apart.
func (l *ledger) mostOf(eventType, key string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.posted[cell{Type: eventType, Key: key}]
}

// acknowledge counts events whose request was answered with 202.
func (l *ledger) acknowledge(events []*sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if e.refusal != "" {
			continue
		}
		id := identity{e.Type, e.Key, e.identity()}
		if l.seen[id] {
			l.repeats++
			continue
		}
		l.seen[id] = true
		l.accepted++
		c := cell{e.Type, e.Key, e.Time / 60_000}
		if l.cells[c] == nil {
			l.cells[c] = &total{}
		}
		l.cells[c].add(e)
		key := cell{Type: e.Type, Key: e.Key}
		if grown, ok := l.followed[key]; ok {
			l.followed[key] = append(grown, acknowledged{time.Now(), grown[len(grown)-1].count + e.weight()})
		}
	}
	l.lastAck = time.Now()
}

// follow remembers from now on how the count of a key grows.
func (l *ledger) follow(eventType, key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followed[cell{Type: eventType, Key: key}] = []acknowledged{{}}
}

// acknowledgedBefore is how many events of a followed key had been acknowledged before an instant.
func (l *ledger) acknowledgedBefore(eventType, key string, instant time.Time) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	grown := l.followed[cell{Type: eventType, Key: key}]
	i, _ := slices.BinarySearchFunc(grown, instant, func(a acknowledged, at time.Time) int { return a.at.Compare(at) })
	return grown[max(i-1, 0)].count
}

func (l *ledger) retried() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retries++
}

// flow tells how many events were acknowledged, and when the last.
func (l *ledger) flow() (accepted int, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted, l.lastAck
}

// keys adds the cells of each key up.
func (l *ledger) keys() map[cell]*total {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[cell]*total{}
	for c, t := range l.cells {
		k := cell{Type: c.Type, Key: c.Key}
		if all[k] == nil {
			all[k] = &total{}
		}
		all[k].merge(t)
	}
	return all
}

func (t *total) merge(o *total) {
	t.Count += o.Count
	t.ValueCount += o.ValueCount
	t.Sum += o.Sum
	if !o.HasValues {
		return
	}
	if !t.HasValues || o.Min < t.Min {
		t.Min = o.Min
	}
	if !t.HasValues || o.Max > t.Max {
		t.Max = o.Max
	}
	t.HasValues = true
}
