// Package guard knows which statements run in a process's databases, and ends those that run too long or that nobody waits for.
//
//	pool's connection ──Begin──► Guard: what runs ──Running──► people
//	        │                      │  watchdog: deadlines         │
//	        └──End, Abandon──►     └──Kill──► Killer ◄────Kill────┘     digests: what ran, how often, how long
//
// # Guarantees
//
//   - The server ends a statement first, by the limit that the statement carries. The watchdog is for what the server does not end: a limit that was
//     not set, a caller that went away.
//   - A kill never hits another statement. It names a connection of one server and a mark in the statement's text that no other statement has; the
//     Killer looks for both, on that same server, before it kills. While it does, the connection is not used for anything else: End waits for
//     it. A connection that a kill was aimed at is not used again (End says so).
//   - Every kill has a deadline of its own. One that did not help is repeated a few times and then told in the log; what waits to be killed, and
//     the digests that are kept, are bounded (INV-9).
//   - Every statement that was ended is logged with its digest, caller, rows examined and reason.
//
// A Guard is safe for concurrent use. Its methods never wait for a database, but for Kill, and for End while a kill is under way.
package guard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Class is what a statement is for. Each class has a deadline.
type Class string

// The classes.
const (
	Point   Class = "point"   // totals of some keys, what is known of a key
	Series  Class = "series"  // points of some keys over time
	Top     Class = "top"     // rankings
	Analyst Class = "analyst" // SQL of people
	Admin   Class = "admin"   // everything else that reads: probes, checkpoints, the archive
	Write   Class = "write"   // statements of transactions that write: listed and counted, never killed from here
)

// Classes lists all of them.
func Classes() []Class { return []Class{Point, Series, Top, Analyst, Admin, Write} }

// Reason says why a statement was ended.
type Reason string

// The reasons.
const (
	Limit     Reason = "limit"     // the server ended it, by the limit that the statement carries
	Deadline  Reason = "deadline"  // its time was over
	Cancelled Reason = "cancelled" // nobody waits for it any more
	Enough    Reason = "enough"    // its caller has all rows that it may have
	Asked     Reason = "asked"     // a person wanted it
)

// ErrEnough is the cause to cancel a context with whose statement gave all rows that were wanted.
var ErrEnough = errors.New("enough rows")

// ErrUnknown is a statement that does not run, or not any more.
var ErrUnknown = errors.New("no such statement runs")

// ErrWrite is a statement that is not killed because it writes: its own limits end it, and half a transaction helps nobody.
var ErrWrite = errors.New("statements that write are not killed")

// Target is where a statement runs. Mark is a text in it that no other statement has.
type Target struct {
	Connection uint64
	Server     string
	Mark       string
}

// Sight is what a server says of a statement.
type Sight struct {
	Running      bool
	RowsExamined int64 // −1: not known
}

// Killer ends statements on one database's server. Both methods return a Sight that is not Running if the target does not run (any more). They fail
// if the server is not the one that the target names.
type Killer interface {
	Look(ctx context.Context, t Target) (Sight, error)
	// Kill ends the target if it runs, and returns what was seen right before.
	Kill(ctx context.Context, t Target) (Sight, error)
}

// Config configures a Guard. Zero values give the defaults named here.
type Config struct {
	Name        string                  // goes before the numbers of statements, to make ids: "s1~shard-proxy-1"; ""
	Deadlines   map[Class]time.Duration // of one statement, by class; 30 s for those not named
	KillTimeout time.Duration           // of one attempt to kill; 2 s
	MaxDigests  int                     // kept; the one that did not run for longest goes; 1,000

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // time.Now
}

const (
	defaultDeadline = 30 * time.Second
	defaultKillTime = 2 * time.Second
	defaultDigests  = 1000
)

// Guard keeps what runs.
type Guard struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	digests *digests
	run     string // of this process: numbers begin anew in the next
	numbers atomic.Uint64
	jobs    chan job

	mu      sync.Mutex // guards running
	running map[string]*Query
}

// New returns a guard. It does no I/O.
func New(cfg Config) *Guard {
	if cfg.KillTimeout <= 0 {
		cfg.KillTimeout = defaultKillTime
	}
	if cfg.MaxDigests <= 0 {
		cfg.MaxDigests = defaultDigests
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var run [4]byte
	_, _ = rand.Read(run[:]) // never fails: crypto/rand ends the process instead
	return &Guard{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Registerer), digests: newDigests(cfg.MaxDigests),
		run: hex.EncodeToString(run[:]), jobs: make(chan job, maxJobs), running: map[string]*Query{},
	}
}

// DeadlineOf returns how long a statement of a class may take.
func (g *Guard) DeadlineOf(class Class) time.Duration {
	if d := g.cfg.Deadlines[class]; d > 0 {
		return d
	}
	return defaultDeadline
}

// Statement is what a connection is about to send.
type Statement struct {
	Text       string
	Database   string
	Class      Class // unless the context says otherwise
	Connection uint64
	Server     string
	Killer     Killer
}

// Begin notes a statement that is about to be sent. Its Mark must go into the text. Call End or Abandon, once.
func (g *Guard) Begin(ctx context.Context, s Statement) *Query {
	now := g.cfg.Now()
	asked := labelOf(ctx)
	number := g.run + "-" + strconv.FormatUint(g.numbers.Add(1), 36)
	q := &Query{
		guard: g, number: number, statement: s, class: s.Class, caller: asked.caller, begun: now, examined: -1,
		target: Target{Connection: s.Connection, Server: s.Server},
	}
	if s.Class != Write {
		q.target.Mark = "/* q=" + number + " */"
		if asked.class != "" {
			q.class = asked.class
		}
	}
	q.deadline = now.Add(g.DeadlineOf(q.class))
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(q.deadline) {
		q.deadline = deadline
	}
	g.metrics.running.WithLabelValues(string(q.class)).Inc()
	g.mu.Lock()
	g.running[number] = q
	g.mu.Unlock()
	return q
}

func (g *Guard) forget(q *Query) {
	g.mu.Lock()
	delete(g.running, q.number)
	g.mu.Unlock()
	g.metrics.running.WithLabelValues(string(q.class)).Dec()
}

// all returns what runs just now.
func (g *Guard) all() []*Query {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*Query, 0, len(g.running))
	for _, q := range g.running {
		out = append(out, q)
	}
	return out
}

func (g *Guard) find(number string) *Query {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running[number]
}

type label struct {
	class  Class
	caller string
}

type labelKey struct{}

func labelOf(ctx context.Context) label {
	l, _ := ctx.Value(labelKey{}).(label)
	return l
}

// WithClass says what the statements of a context are for.
func WithClass(ctx context.Context, class Class) context.Context {
	l := labelOf(ctx)
	l.class = class
	return context.WithValue(ctx, labelKey{}, l)
}

// WithCaller says who asks, for lists and logs.
func WithCaller(ctx context.Context, caller string) context.Context {
	l := labelOf(ctx)
	l.caller = caller
	return context.WithValue(ctx, labelKey{}, l)
}
