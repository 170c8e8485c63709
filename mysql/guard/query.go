package guard

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Query is one statement from before it is sent until its last row was read, or until it was found dead. Its connection calls
// Mark, then End or Abandon, once; everything else is the guard's.
type Query struct {
	guard     *Guard
	number    string
	statement Statement
	class     Class
	caller    string
	target    Target
	begun     time.Time
	deadline  time.Time
	turn      sync.Mutex // one attempt to kill at a time

	mu        sync.Mutex // guards what follows
	reason    Reason     // why it was to be ended, first
	asked     time.Time  // since when
	examined  int64
	ended     bool // no kill may begin any more
	abandoned bool // its connection is gone: only the server may still know it
	kill      chan struct{}
	aimed     bool // a kill was begun
	looked    bool // rows were looked at
}

// Outcome is how a statement ended by its connection's account.
type Outcome int

// The outcomes.
const (
	Done        Outcome = iota
	Failed              // by an error of its own
	Limited             // by the limit that the statement carried
	Interrupted         // by a kill
)

// Mark is the comment that the text must begin with; "" for statements that are never killed.
func (q *Query) Mark() string { return q.target.Mark }

// End tells that the server is done with the statement. It waits for a kill that is under way, and tells whether a kill was aimed at the connection,
// which must not be used again then: in MySQL a kill that came too late would hit the next statement.
func (q *Query) End(outcome Outcome) (spoiled bool) {
	q.mu.Lock()
	q.ended = true
	kill := q.kill
	if outcome == Limited && q.reason == "" {
		q.reason = Limit
	}
	q.mu.Unlock()
	if kill != nil {
		<-kill // has a deadline
	}
	q.finish(outcome)
	return q.aimed
}

// Withdraw takes back a statement that was not sent.
func (q *Query) Withdraw() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.guard.forget(q)
}

// Abandon tells that the caller went away, for a cause, while the statement may still run. The connection must not be used again. The guard
// kills the statement and keeps it listed until it is dead.
func (q *Query) Abandon(cause error) {
	reason := Cancelled
	switch {
	case errors.Is(cause, ErrEnough):
		reason = Enough
	case errors.Is(cause, context.DeadlineExceeded):
		reason = Deadline
	}
	q.mu.Lock()
	q.abandoned, q.aimed = true, true
	q.wantLocked(reason)
	q.mu.Unlock()
	if q.class == Write {
		q.finish(Failed) // the server rolls back when it notices the closed connection
		return
	}
	if !q.guard.queue(job{query: q, reason: reason}) {
		q.finish(Interrupted)
	}
}

func (q *Query) wantLocked(reason Reason) {
	if q.reason == "" {
		q.reason, q.asked = reason, q.guard.cfg.Now()
	}
}

// finish forgets the statement, counts it and tells of its end if it did not end by itself.
func (q *Query) finish(outcome Outcome) {
	g := q.guard
	took := g.cfg.Now().Sub(q.begun)
	g.forget(q)
	q.mu.Lock()
	defer q.mu.Unlock()
	killed := q.reason != "" && outcome != Done
	g.metrics.statements.WithLabelValues(string(q.class)).Observe(took.Seconds())
	entry := g.digests.add(q.class, q.statement.Text, record{took: took, at: g.cfg.Now(), failed: outcome != Done, killed: killed, examined: q.examined})
	if !killed || q.class == Write {
		return
	}
	g.metrics.killed.WithLabelValues(string(q.class), string(q.reason)).Inc()
	level := slog.LevelWarn
	if q.reason == Enough || q.reason == Cancelled {
		level = slog.LevelInfo
	}
	g.log.Log(context.Background(), level, "query killed", "query", q.id(), "class", q.class, "caller", q.caller, "database", q.statement.Database,
		"reason", q.reason, "seconds", took.Seconds(), "rows_examined", q.examined, "digest", entry.ID, "statement", entry.Text)
}

func (q *Query) id() string {
	if q.guard.cfg.Name == "" {
		return q.number
	}
	return q.guard.cfg.Name + "~" + q.number
}

// Info is what is told of a statement that runs.
type Info struct {
	ID           string    `json:"id"`
	Class        Class     `json:"class"`
	Caller       string    `json:"caller,omitempty"`
	Database     string    `json:"database"`
	Connection   uint64    `json:"connection"`
	Began        time.Time `json:"began"`
	Deadline     time.Time `json:"deadline"`
	Seconds      float64   `json:"seconds"`
	RowsExamined *int64    `json:"rows_examined,omitempty"` // of those that run for long, when last looked at
	Ending       Reason    `json:"ending,omitempty"`        // why it is being killed, if it is
	Digest       string    `json:"digest"`
	Statement    string    `json:"statement"` // its beginning
}

// maxShown bounds how much of a statement is told.
const maxShown = 2 << 10

func (q *Query) info(now time.Time) Info {
	q.mu.Lock()
	defer q.mu.Unlock()
	text := q.statement.Text
	if len(text) > maxShown {
		text = text[:maxShown] + "…"
	}
	out := Info{
		ID: q.id(), Class: q.class, Caller: q.caller, Database: q.statement.Database, Connection: q.target.Connection, Began: q.begun.UTC(), Deadline: q.deadline.UTC(),
		Seconds: now.Sub(q.begun).Seconds(), Ending: q.reason, Digest: digestID(q.class, Normalise(q.statement.Text)), Statement: text,
	}
	if q.examined >= 0 {
		examined := q.examined
		out.RowsExamined = &examined
	}
	return out
}

// Running lists what runs, the oldest first.
func (g *Guard) Running() []Info {
	now := g.cfg.Now()
	out := []Info{}
	for _, q := range g.all() {
		out = append(out, q.info(now))
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Digests lists what ran, what took most time in all first.
func (g *Guard) Digests() []Digest { return g.digests.list() }
