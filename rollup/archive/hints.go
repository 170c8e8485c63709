package archive

import (
	"time"

	"github.com/quipudb/quipu/wire"
)

// hints are what is remembered of a shard from one step to the next. Without them everything is as right, only later or more often.
type hints struct {
	looked      time.Time // when the state was looked at last, and
	due         bool      // whether there was something to do
	swept       time.Time
	merges      []merge // that the last sweep found
	resolutions map[string]*resolutionHints
}

type resolutionHints struct {
	cold    int64     // the mark as last seen
	coldAt  time.Time // since when it is there
	waiting time.Time // since when cold rows wait to be dropped; zero: none do

	dropped   int64 // the mark at which a drop left nothing to do
	droppedAt time.Time

	sealed       time.Time // at the start, as long as it is not known
	sealedBefore bool

	rows    int64     // old rows in the table, as estimated
	rowsAt  time.Time // since when they did not become more
	smaller int       // how often units were made smaller because they had too many objects
}

// of returns a shard's hints. Due and the steps, which go one after the other, are all that uses them.
func (a *Archiver) of(shard string) *hints {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hints[shard]
	if h == nil {
		h = &hints{swept: a.started, resolutions: map[string]*resolutionHints{}}
		for _, resolution := range resolutions {
			h.resolutions[resolution] = &resolutionHints{cold: -1, dropped: -1, rows: -1, sealed: a.started}
		}
		a.hints[shard] = h
	}
	return h
}

// saw brings the hints up to date with what the shard says. targets are up to where each resolution may be archived.
func (h *hints) saw(state *wire.ArchiveState, targets map[string]int64, now time.Time) {
	for _, mark := range state.Marks {
		r := h.resolutions[mark.Resolution]
		if r == nil {
			continue
		}
		if r.cold != mark.ColdBefore {
			r.cold, r.coldAt = mark.ColdBefore, now
		}
		switch {
		case !hasCold(state, mark) || r.dropped == mark.ColdBefore:
			r.waiting = time.Time{}
		case r.waiting.IsZero():
			r.waiting = now
		}
		r.estimated(oldRows(state, mark, targets[mark.Resolution]), now)
	}
}

// estimated remembers since when a number of rows did not grow. It is an estimate, and a late event now and then is nothing to wait for.
func (r *resolutionHints) estimated(rows int64, now time.Time) {
	switch {
	case r.rows < 0 || rows > r.rows+r.rows/100+1000:
		r.rows, r.rowsAt = rows, now
	case rows < r.rows:
		r.rows = rows
	}
}

// hasCold tells whether there are time partitions to drop.
func hasCold(state *wire.ArchiveState, mark wire.ArchiveMark) bool {
	for _, t := range state.Tables {
		if t.Resolution == mark.Resolution && t.To <= mark.ColdBefore {
			return true
		}
	}
	return false
}

// oldRows estimates the rows between the cold mark and an instant.
func oldRows(state *wire.ArchiveState, mark wire.ArchiveMark, before int64) (rows int64) {
	for _, t := range state.Tables {
		if t.Resolution == mark.Resolution {
			rows += rowsWithin(t, mark.ColdBefore, before)
		}
	}
	return rows
}

// rowsWithin estimates how many of a time partition's rows lie in a range.
func rowsWithin(t wire.TimePartition, from, to int64) int64 {
	from, to = max(from, t.From), min(to, t.To)
	if from >= to || t.Rows <= 0 {
		return 0
	}
	if from == t.From && to == t.To {
		return t.Rows
	}
	return max(1, int64(float64(t.Rows)*float64(to-from)/float64(t.To-t.From)))
}
