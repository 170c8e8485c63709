package lifetime_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/testkit"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rapid.checks"] {
		_ = flag.Set("rapid.checks", strconv.Itoa(sequences))
	}
	if !given["rapid.shrinktime"] {
		_ = flag.Set("rapid.shrinktime", "0s") // a sequence depends on those before it
	}
	if !given["rapid.seed"] {
		_ = flag.Set("rapid.seed", strconv.FormatInt(time.Now().UnixNano(), 10))
	}
	fmt.Printf("lifetime: -rapid.checks=%s -rapid.seed=%s\n", flag.Lookup("rapid.checks").Value, flag.Lookup("rapid.seed").Value)
	os.Exit(m.Run())
}

const day = 24 * 60 // minutes

// life is a cluster, what should be in it, and the sequence that it goes through.
type life struct {
	*roles
	model         *model
	sequence      int
	restored      []restored    // ranges
	sent          []event.Event // of this sequence, in order
	promoted      bool          // in this sequence
	did           map[string]int
	checked       int
	rankings      int
	lately        []string
	exactRankings int

	rt *rapid.T
}

// TestLifetimeAgainstModel: INV-1, INV-5 and INV-6 over the whole life of counts.
func TestLifetimeAgainstModel(t *testing.T) {
	l := &life{roles: startRoles(t, time.Date(1990, 1, 10, 0, 0, 0, 0, time.UTC)), model: newModel(), did: map[string]int{}}
	began := time.Now()
	rapid.Check(t, l.run)
	t.Logf("%d sequences through %s, %d answers compared, %d rankings of which %d exact, in %s; steps: %v", l.sequence, l.clock().Format(time.DateOnly), l.checked,
		l.rankings, l.exactRankings, time.Since(began).Round(time.Second), l.did)
}

func (l *life) run(rt *rapid.T) {
	l.rt, l.sent, l.promoted = rt, nil, false
	l.sequence++
	l.advance(int64(l.n("hours", 24)) * 3600)
	for range 8 + l.n("steps", 12) {
		name, step := l.choose()
		l.did[name]++
		l.note("%d %s: %s", l.sequence, l.clock().Format(time.DateTime), name)
		if err := step(); err != nil {
			rt.Fatalf("%v\nlately:\n%s", err, strings.Join(l.lately, "\n"))
		}
		l.settle()
		if err := l.check(); err != nil {
			rt.Fatalf("afterwards: %v\nlately:\n%s", err, strings.Join(l.lately, "\n"))
		}
	}
	l.end()
}

// note remembers what was done, for the case of a failure.
func (l *life) note(format string, args ...any) {
	l.lately = append(l.lately[max(0, len(l.lately)-60):], fmt.Sprintf(format, args...))
}

func (l *life) n(label string, limit int) int { return rapid.IntRange(0, limit-1).Draw(l.rt, label) }

func (l *life) choose() (string, func() error) {
	steps := l.steps()
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	at := l.n("step", total)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			return s.name, s.do
		}
	}
	panic("unreachable: the weights add up to the total")
}

type step struct {
	name   string
	weight int
	do     func() error
}

func (l *life) steps() []step {
	steps := []step{
		{"events", 8, l.events},
		{"pass time", 3, l.passTime},
		{"roll up", 4, l.rollUp},
		{"archive", 6, l.archive},
		{"compact", 1, l.compact},
		{"restore", 2, l.restore},
		{"verify", 1, l.verify},
		{"restart proxy", 1, l.restartProxy},
		{"restart writer", 1, l.restartWriter},
	}
	if len(l.restored) > 0 {
		steps = append(steps, step{"release", 2, l.release})
	}
	switch {
	case l.promoted:
	case l.data.stalled:
		steps = append(steps, step{"promote", 1, l.promote}, step{"resume", 1, l.resume})
	default:
		steps = append(steps, step{"stall", 1, l.stall})
	}
	return steps
}

// keys are those of this sequence, and two that live for ever.
func (l *life) key() string {
	if i := l.n("key", 7); i < 5 {
		return fmt.Sprintf("%d-%d", l.sequence, i)
	}
	return "eternal"
}

func (l *life) events() error {
	batches := map[int][]event.Event{}
	for range 1 + l.n("events", 12) {
		e := l.event()
		l.sent = append(l.sent, e)
		l.model.add(&e)
		p := cluster.Partition(e.Type, e.Key, partitions)
		batches[p] = append(batches[p], e)
	}
	for p := range partitions {
		if len(batches[p]) == 0 {
			continue
		}
		if _, err := l.log.Append(context.Background(), p, encode(batches[p])); err != nil {
			return err
		}
	}
	return nil
}

// event draws a new one, or one that was sent before.
func (l *life) event() event.Event {
	if len(l.sent) > 0 && l.n("again", 5) == 0 {
		if e := l.sent[l.n("which", len(l.sent))]; e.ID != "" {
			return e
		}
	}
	e := event.Event{Type: "view", Key: l.key(), Weight: 1 + int64(l.n("weight", 9))}
	if l.n("type", 3) == 0 {
		e.Type = "stock"
		if e.Weight -= 5; e.Weight == 0 {
			e.Weight = -5
		}
	}
	age := l.n("age", 36*3600)
	switch l.n("late", 6) {
	case 0:
		age = l.n("age in days", 60) * 86400
	case 1:
		age = l.n("age", 6*86400)
	}
	e.TimeMs = (l.now.Load() - int64(age)) * 1000
	if e.HasValue = l.n("has value", 2) == 0; e.HasValue {
		e.Value = int64(l.n("value", 2000)) - 1000
	}
	if l.n("has id", 4) > 0 {
		e.ID = fmt.Sprintf("%d-%d", l.sequence, len(l.sent))
	}
	return e
}

func (l *life) advance(seconds int64) { l.now.Add(seconds) }

func (l *life) passTime() error {
	l.advance(int64(l.n("seconds", 86400)))
	return nil
}

func (l *life) rollUp() error {
	until := l.clock().Add(-time.Duration(l.n("hours ago", 30)) * time.Hour)
	return l.dying(func(ctx context.Context) error { return l.roller.RunOnce(ctx, "s1", until) })
}

// dying runs a leader's work. One in two dies on the way.
func (l *life) dying(work func(context.Context) error) error {
	calls := 0
	if l.n("dies", 2) == 0 {
		calls = 1 + l.n("calls", 40)
	}
	err := l.fuse.run(calls, l.n("before", 2) == 0, work)
	l.note("  dies at call %d: %v", calls, err)
	return err
}

func (l *life) restartProxy() error {
	l.stopProxy()
	l.startShardProxy()
	return nil
}

func (l *life) restartWriter() error {
	l.stopWriter()
	l.startWriter()
	return nil
}

func (l *life) stall() error {
	l.data.stall(l.t)
	return nil
}

func (l *life) resume() error {
	l.data.resume(l.t)
	return nil
}

// promote loses the primary while its replica is in an older state. The lost server comes back later, as a replica.
func (l *life) promote() error {
	l.promoted = true
	l.data.promote(l.t)
	l.publish()
	l.settle()
	if err := l.check(); err != nil {
		return err
	}
	l.data.rebuild(l.t)
	l.publish()
	return nil
}

// settle waits until everything that was sent is counted, also on the replica.
func (l *life) settle() {
	l.t.Helper()
	testkit.Eventually(l.t, patience, func() error {
		stored, err := l.data.offsets()
		if err != nil {
			return err
		}
		for p := range partitions {
			bounds, err := l.log.Bounds(context.Background(), p)
			if err != nil {
				return err
			}
			if stored[p] != bounds.Next {
				return fmt.Errorf("partition %d is counted up to offset %d of %d", p, stored[p], bounds.Next)
			}
		}
		return nil
	})
	l.data.await(l.t)
}

// check asks random questions, and for the totals of all keys of the sequence.
func (l *life) check() error {
	today := l.now.Load() / 60 / day * day
	var questions []question
	for _, kind := range []string{"view", "stock"} {
		for i := range 5 {
			questions = append(questions, question{kind, fmt.Sprintf("%d-%d", l.sequence, i), today - 70*day, today + day, 0})
		}
		questions = append(questions, question{kind, "eternal", 0, today + day, 0})
		for range 2 {
			questions = append(questions, l.question(kind, today))
		}
	}
	l.checked += len(questions)
	if err := l.ask(questions); err != nil {
		return err
	}
	return l.checkTop(today)
}

func (l *life) question(kind string, today int64) question {
	q := question{kind: kind, key: l.key(), step: []int64{0, 0, 1, 60, day}[l.n("step", 5)]}
	unit := max(q.step, 1)
	q.from = today - int64(l.n("days back", 65))*day
	if l.n("ragged", 2) == 0 {
		q.from += int64(l.n("minute", day))
	}
	q.from -= q.from % unit
	longest := []int{0, 3 * day, 30 * 24, 70}[map[int64]int{0: 1, 1: 1, 60: 2, day: 3}[q.step]]
	if q.step == 0 {
		longest = 70 * day
	}
	q.to = q.from + unit*int64(1+l.n("length", longest))
	return q
}

func (l *life) checkTop(today int64) error {
	from := today - int64(l.n("days back", 20))*day
	to := from + day*int64(1+l.n("days", 20))
	switch l.n("range", 3) {
	case 0:
		from, to = from+60*int64(l.n("hour", 24)), to+60*int64(l.n("hour", 24))
	case 1:
		from = today + int64(l.n("minute", day))
		to = from + 1 + int64(l.n("minutes", 180))
	}
	kind := []string{"view", "stock"}[l.n("type", 2)]
	return l.askTop(kind, from, to, 1+l.n("n", 6))
}

// end leaves the cluster whole for the next sequence.
func (l *life) end() {
	if l.data.stalled {
		l.data.resume(l.t)
	}
	l.settle()
}
