package load

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/quipudb/quipu/load/latency"
)

// Latency tells how long requests took, retries included: from when they were due, at a given rate, else from when they were sent.
type Latency struct {
	P50, P95, P99, Max time.Duration
}

func latencyOf(s *latency.Snapshot) Latency {
	return Latency{P50: s.Percentile(50), P95: s.Percentile(95), P99: s.Percentile(99), Max: s.Max()}
}

// Totals counts events, but for Requests and Retries.
type Totals struct {
	Posted    int64 // events whose outcome is known or given up
	Accepted  int64 // acknowledged
	Lost      int64 // not acknowledged
	Uncertain int64 // lost, though an attempt may have been accepted
	Requests  int64
	Retries   int64 // requests beyond the first of their batch
}

// Progress is how a run stands.
type Progress struct {
	Totals
	Elapsed   time.Duration
	PerSecond float64 // events acknowledged a second, since the last progress
	Latency   Latency // of the requests since the last progress; Max is of all
	Trouble   string  // why requests are being repeated just now; empty if they aren't
}

// Summary is how a run went.
type Summary struct {
	Totals
	Elapsed time.Duration // until the last acknowledgement
	LastAck time.Time
	Latency Latency
	Reasons map[string]Reason // of losses, by code
}

// Reason is why events were lost.
type Reason struct {
	Events  int64
	Example string // the first message
}

// PerSecond returns the events acknowledged a second.
func (s Summary) PerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Accepted) / s.Elapsed.Seconds()
}

// after returns the summary of two runs, one after the other. Latencies are those of the later one, which s is.
func (s Summary) after(earlier Summary) Summary {
	s.Posted += earlier.Posted
	s.Accepted += earlier.Accepted
	s.Lost += earlier.Lost
	s.Uncertain += earlier.Uncertain
	s.Requests += earlier.Requests
	s.Retries += earlier.Retries
	s.Elapsed += earlier.Elapsed
	if s.LastAck.IsZero() {
		s.LastAck = earlier.LastAck
	}
	for code, before := range earlier.Reasons {
		before.Events += s.Reasons[code].Events
		s.Reasons[code] = before
	}
	return s
}

func (r *run) totals() Totals {
	c := &r.counts
	return Totals{
		Posted: c.posted.Load(), Accepted: c.accepted.Load(), Lost: c.lost.Load(), Uncertain: c.uncertain.Load(),
		Requests: c.requests.Load(), Retries: c.retries.Load(),
	}
}

func (r *run) progress(previous Progress, since *latency.Snapshot) Progress {
	p := Progress{Totals: r.totals(), Elapsed: time.Since(r.begin), Latency: latencyOf(since)}
	if trouble := r.trouble.Load(); trouble != nil {
		p.Trouble = *trouble
	}
	p.PerSecond = float64(p.Accepted-previous.Accepted) / (p.Elapsed - previous.Elapsed).Seconds()
	return p
}

func (r *run) summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Summary{Totals: r.totals(), LastAck: r.lastAck, Latency: latencyOf(r.latencies.Snapshot()), Reasons: maps.Clone(r.reasons)}
	if !r.lastAck.IsZero() {
		s.Elapsed = r.lastAck.Sub(r.begin)
	}
	return s
}

// String is one line.
func (p Progress) String() string {
	line := fmt.Sprintf("%6.0fs %10.0f events/s  acknowledged %d  lost %d  retries %d", p.Elapsed.Seconds(), p.PerSecond, p.Accepted, p.Lost, p.Retries)
	if p.Latency.P99 > 0 {
		line += fmt.Sprintf("  latency p50 %s p95 %s p99 %s", short(p.Latency.P50), short(p.Latency.P95), short(p.Latency.P99))
	}
	if p.Trouble != "" {
		line += "  trying again: " + p.Trouble
	}
	return line
}

// Print writes the summary for people.
func (s Summary) Print(w io.Writer) {
	if s.Requests == 0 {
		fmt.Fprintln(w, "nothing was sent")
		return
	}
	fmt.Fprintf(w, "%d events acknowledged in %s: %.0f a second, in %d requests, %d of them retries\n",
		s.Accepted, s.Elapsed.Round(time.Millisecond), s.PerSecond(), s.Requests, s.Retries)
	fmt.Fprintf(w, "latency p50 %s  p95 %s  p99 %s  max %s\n", short(s.Latency.P50), short(s.Latency.P95), short(s.Latency.P99), short(s.Latency.Max))
	if s.Lost == 0 {
		return
	}
	fmt.Fprintf(w, "%d events not acknowledged, %d of which may have been accepted all the same:\n", s.Lost, s.Uncertain)
	for _, code := range slices.SortedFunc(maps.Keys(s.Reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Reasons[b].Events, s.Reasons[a].Events), cmp.Compare(a, b))
	}) {
		reason := s.Reasons[code]
		fmt.Fprintf(w, "  %8d  %s", reason.Events, code)
		if reason.Example != "" {
			fmt.Fprintf(w, ": %s", reason.Example)
		}
		fmt.Fprintln(w)
	}
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
