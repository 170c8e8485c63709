package ingest

import "sync"

// window counts the event ids of the last W seconds of log time: what the writers must remember. Ids on their way into the log count too.
type window struct {
	limit int64

	mu      sync.Mutex
	seconds []int64 // ring, by second of append time
	newest  int64   // the latest second in the ring
	total   int64
	pending int64
}

func newWindow(seconds int, limit int64) *window {
	return &window{limit: limit, seconds: make([]int64, max(seconds, 1))}
}

// admit counts ids on their way, unless the window has no room for them.
func (w *window) admit(ids int, nowMs int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advanceLocked(nowMs / 1000)
	if w.total+w.pending+int64(ids) > w.limit {
		return false
	}
	w.pending += int64(ids)
	return true
}

// settle takes ids off those on their way.
func (w *window) settle(ids int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending -= int64(ids)
}

// add counts ids that are in the log.
func (w *window) add(ids int, appendTimeMs int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	second := appendTimeMs / 1000
	w.advanceLocked(second)
	if second > w.newest-int64(len(w.seconds)) {
		w.seconds[second%int64(len(w.seconds))] += int64(ids)
		w.total += int64(ids)
	}
}

// advanceLocked forgets the seconds that have left the window.
func (w *window) advanceLocked(second int64) {
	n := int64(len(w.seconds))
	for steps := min(second-w.newest, n); steps > 0; steps-- {
		slot := &w.seconds[(second-steps+1)%n]
		w.total -= *slot
		*slot = 0
	}
	w.newest = max(w.newest, second)
}

// ids returns how many the window holds at an instant.
func (w *window) ids(nowMs int64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advanceLocked(nowMs / 1000)
	return w.total + w.pending
}
