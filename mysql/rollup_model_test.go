package mysql_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
)

// ledger is what was applied to a partition, in order: the plain model that answers are compared with. An answer's as-of says how many of its
// batches the answer's snapshot holds, so the two can be compared at every instant.
type ledger struct {
	partition int
	kind      string // event type
	epoch     uint64
	first     uint64     // offset of the first batch
	store     *coldStore // for what left the tables; optional
	mu        sync.Mutex
	batches   [][]event.Row
}

// newLedger continues a partition from its checkpoint.
func (b *bench) newLedger(t testing.TB, partition int) *ledger {
	t.Helper()
	epoch := b.claim(t, partition)
	return &ledger{partition: partition, kind: "view", epoch: epoch, first: b.checkpoint(t, partition).NextOffset}
}

// apply adds rows to the model first: a reader may see them before Apply returns.
func (l *ledger) apply(ctx context.Context, p *mysql.Primary, rows []event.Row) error {
	l.mu.Lock()
	offset := l.first + uint64(len(l.batches))
	for i := range rows {
		rows[i].Type = l.kind
	}
	l.batches = append(l.batches, rows)
	l.mu.Unlock()
	r := request(l.epoch, offset, offset+1, rows...)
	r.Partition = l.partition
	for {
		err := p.Apply(ctx, r)
		if errors.Is(err, mysql.ErrOffsetMoved) || !errors.Is(err, mysql.ErrUnavailable) && !errors.Is(err, mysql.ErrUnknownOutcome) {
			return err
		}
	}
}

// rowsAt are the rows in a range that a snapshot with a given as-of holds.
func (l *ledger) rowsAt(asOf, from, to int64) iter.Seq[*event.Row] {
	l.mu.Lock()
	batches := l.batches
	l.mu.Unlock()
	n := max(0, asOf/1000-int64(l.first)) // request sets as-of to the next offset's thousand
	return func(yield func(*event.Row) bool) {
		for _, batch := range batches[:n] {
			for i := range batch {
				if row := &batch[i]; row.Minute >= from && row.Minute < to && !yield(row) {
					return
				}
			}
		}
	}
}

// answer is what a snapshot with a given as-of holds of a key.
func (l *ledger) answer(asOf int64, key string, from, to int64, step mysql.Step) []mysql.Point {
	points := map[int64]*mysql.Point{}
	at := func(start int64) *mysql.Point {
		if points[start] == nil {
			points[start] = &mysql.Point{Start: start, Aggregate: event.NewAggregate()}
		}
		return points[start]
	}
	if step == mysql.StepNone {
		at(from)
	}
	for row := range l.rowsAt(asOf, from, to) {
		if row.Key != key {
			continue
		}
		start := from
		if step != mysql.StepNone {
			start = row.Minute - row.Minute%int64(step)
		}
		at(start).Merge(row.Aggregate)
	}
	var out []mysql.Point
	for _, p := range points {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b mysql.Point) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// check asks a question and compares the answer with the model's at the same instant.
func (l *ledger) check(ctx context.Context, read *mysql.DB, keys []string, from, to int64, step mysql.Step) error {
	r := &mysql.StatsRequest{Type: l.kind, From: from, To: to, Step: step, MaxPoints: 50_000, MaxColdObjects: 1000}
	for _, k := range keys {
		r.Keys = append(r.Keys, mysql.StatsKey{Partition: l.partition, Name: k})
	}
	answer, err := read.Stats(ctx, r)
	if err != nil {
		return err
	}
	for i, k := range keys {
		want := l.answer(answer.AsOf[l.partition], k, from, to, step)
		got, err := l.store.addTo(answer.Keys[i].Points, answer.Cold, k, r)
		if diff := gocmp.Diff(want, got); diff != "" || err != nil {
			return fmt.Errorf("key %s from %d to %d by step %d as of %d by %s and %+v (-want +got):\n%s%w", k, from, to, step, answer.AsOf[l.partition], answer.Resolution, answer.Cold, diff, err)
		}
	}
	return nil
}

// question draws a range around a minute, and a step that fits it.
func question(n func(int) int, around int64) (from, to int64, step mysql.Step) {
	step = []mysql.Step{mysql.StepNone, mysql.StepNone, mysql.StepMinute, mysql.StepHour, mysql.StepDay}[n(5)]
	unit := max(1, int64(step))
	from = (around - int64(n(3*1440))) / unit * unit
	return from, from + unit*(1+int64(n(int(4*1440/unit)))), step
}

// row draws what is counted: late or young, negative or not, with a value or without.
func row(n func(int) int, keys []string, around int64) event.Row {
	key, at := keys[n(len(keys))], around+int64(n(180))-90
	if n(4) == 0 {
		at = around + int64(n(3*1440)) - 2*1440
	}
	weight := int64(n(9)) - 3
	if n(2) == 0 {
		return counted(key, at, weight)
	}
	return measured(key, at, weight, int64(n(1000))-500)
}

// INV-5, INV-6: events of any age, steps of a roll-up, crashes, zombies and reads in any order, some at the same time,
// against the model.
func TestRollupAgainstModel(t *testing.T) {
	sequences(t, "30")
	b := rollupBench(t)
	sequence := 0
	ranks := &rankings{}
	rapid.Check(t, func(rt *rapid.T) {
		sequence++
		n := func(limit int) int { return rapid.IntRange(0, limit-1).Draw(rt, "n") }
		m := &rollupRun{b: b, t: rt, l: b.newLedger(t, 3), n: n, ranks: ranks}
		m.l.kind = fmt.Sprint("kind-", sequence) // a ranking is of all keys of a type
		for i := range 12 {
			m.keys = append(m.keys, fmt.Sprintf("s%d-k%d", sequence, i))
		}
		m.claim()
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(*rapid.T) { m.apply() }, "step": func(*rapid.T) { m.step() }, "crash": func(*rapid.T) { m.claim() }, "cut": func(*rapid.T) { m.cut() },
			"zombie": func(*rapid.T) { m.zombie() }, "both": func(*rapid.T) { m.both() }, "finish": func(*rapid.T) { m.finish() }, "": func(*rapid.T) { m.read() },
		})
	})
	ranks.report(t)
}

// rollupRun is one sequence of the random test.
type rollupRun struct {
	b           *bench
	t           *rapid.T
	l           *ledger
	n           func(int) int
	keys        []string
	lead, older *mysql.RollupRequest
	ranks       *rankings
}

func (m *rollupRun) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

// around is a minute near to the hour that is computed now.
func (m *rollupRun) around() int64 {
	state, err := m.b.read.Rollup(context.Background())
	m.must(err)
	return state.Marks[0].CompleteBefore + int64(m.n(90))
}

// claim is what follows the crash of a leader between two steps.
func (m *rollupRun) claim() {
	epoch, err := m.b.primary.ClaimRollup(context.Background(), "r1")
	m.must(err)
	m.older, m.lead = m.lead, &mysql.RollupRequest{Epoch: epoch, Owner: "r1", ChunkRows: 1 + m.n(4), RankedKeys: 1 + m.n(3)/2} // short ones are pruned more often
}

func (m *rollupRun) rows() []event.Row {
	around := m.around()
	rows := make([]event.Row, 1+m.n(24))
	for i := range rows {
		rows[i] = row(m.n, m.keys, around)
	}
	return rows
}

func (m *rollupRun) apply() { m.must(m.l.apply(context.Background(), m.b.primary, m.rows())) }

// aim lets the roll-up go on for some hours.
func (m *rollupRun) aim() { m.lead.Until = max(m.lead.Until, m.around()+int64(m.n(200))) }

func (m *rollupRun) step() {
	m.aim()
	_, err := stepRollup(context.Background(), m.b.primary, m.lead)
	m.must(err)
}

// cut ends a step anywhere within its transaction: whether it was done is not known.
func (m *rollupRun) cut() {
	m.aim()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(m.n(3000))*time.Microsecond)
	defer cancel()
	_, _ = m.b.primary.StepRollup(ctx, m.lead)
}

func (m *rollupRun) zombie() {
	if m.older == nil {
		return
	}
	m.older.Until = m.lead.Until
	if _, err := m.b.primary.StepRollup(context.Background(), m.older); !errors.Is(err, mysql.ErrFenced) {
		m.t.Fatalf("got %v, want %v", err, mysql.ErrFenced)
	}
}

// both applies and steps at the same time.
func (m *rollupRun) both() {
	rows := m.rows()
	m.aim()
	var wg sync.WaitGroup
	var applied, stepped error
	wg.Go(func() { applied = m.l.apply(context.Background(), m.b.primary, rows) })
	wg.Go(func() { _, stepped = stepRollup(context.Background(), m.b.primary, m.lead) })
	wg.Wait()
	m.must(errors.Join(applied, stepped))
}

func (m *rollupRun) finish() {
	m.aim()
	for {
		done, err := stepRollup(context.Background(), m.b.primary, m.lead)
		m.must(err)
		if done.Action == mysql.RollupIdle {
			return
		}
	}
}

func (m *rollupRun) read() {
	from, to, step := question(m.n, m.around())
	keys := m.keys
	if m.n(2) == 0 {
		keys = m.keys[m.n(len(m.keys)):][:1]
	}
	m.must(m.l.check(context.Background(), m.b.read, keys, from, to, step))
	m.must(m.ranks.check(context.Background(), m.b.read, rankingQuestion(m.n, m.l.kind, m.around()), m.l))
	if m.n(8) == 0 {
		m.must(m.b.checkLists(context.Background()))
	}
}

// INV-5, INV-6: readers that never pause compare each answer with the model at the answer's own instant, while two writers send
// late and young rows and the roll-up goes through the rest of a day, led anew every six hours.
func TestReadersDuringAdvances(t *testing.T) {
	b := rollupBench(t)
	var around atomic.Int64
	around.Store(minute(10, 30))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var answers, applied atomic.Int64
	background := func(work func(n func(int) int) error) {
		seed := rand.Uint64()
		wg.Go(func() {
			n := rand.New(rand.NewPCG(seed, 1)).IntN
			for ctx.Err() == nil {
				if err := work(n); err != nil && ctx.Err() == nil {
					t.Errorf("seed %d: %v", seed, err)
					stop()
				}
			}
		})
	}
	ranks := &rankings{}
	ledgers := []*ledger{b.newLedger(t, 3), b.newLedger(t, 4)}
	for _, l := range ledgers {
		background(func(n func(int) int) error {
			return ranks.check(ctx, b.read, rankingQuestion(n, "view", around.Load()), ledgers...)
		})
		keys := make([]string, 12)
		for i := range keys {
			keys[i] = fmt.Sprintf("p%d-k%d", l.partition, i)
		}
		background(func(n func(int) int) error {
			rows := make([]event.Row, 1+n(8))
			for i := range rows {
				rows[i] = row(n, keys, around.Load())
			}
			applied.Add(1)
			return l.apply(context.WithoutCancel(ctx), b.primary, rows)
		})
		for _, many := range []bool{false, true} {
			background(func(n func(int) int) error {
				from, to, step := question(n, around.Load())
				asked := keys
				if !many {
					asked = keys[n(len(keys)):][:1]
				}
				answers.Add(1)
				return l.check(ctx, b.read, asked, from, to, step)
			})
		}
	}
	background(func(func(int) int) error { return b.checkLists(ctx) })
	for end := minute(12, 0); end <= minute(24, 0) && ctx.Err() == nil; end += 6 * 60 {
		lead := b.lead(t, "r1")
		lead.RankedKeys = 3
		lead.Until = end
		b.rollUpTo(ctx, t, lead, &around)
	}
	stop()
	wg.Wait()
	if _, day := b.marks(t); day.CompleteBefore != minute(24, 0) && !t.Failed() {
		t.Errorf("got the day's watermark %d, want %d", day.CompleteBefore, minute(24, 0))
	}
	t.Logf("%d answers during %d flushes", answers.Load(), applied.Load())
	ranks.report(t)
	b.viewsAgree(t)
}

// rollUpTo steps until nothing is left to do, or ctx ends, and tells those who work beside it what is computed. Lists of other hours are pruned too.
func (b *bench) rollUpTo(ctx context.Context, t testing.TB, lead *mysql.RollupRequest, around *atomic.Int64) {
	t.Helper()
	for ctx.Err() == nil {
		switch done := b.step(t, lead); done.Action {
		case mysql.RollupIdle:
			return
		case mysql.RollupAnnounced, mysql.RollupComputed, mysql.RollupAdvanced:
			around.Store(done.Start + 30)
		}
	}
}

// viewsAgree compares what analysts see of each key and day, by minutes, hours and days.
func (b *bench) viewsAgree(t testing.TB) {
	t.Helper()
	sums := func(view string) []string {
		return table(t.(*testing.T), b.servers.Primary.Root(), `SELECT counted_key, CAST(DATE(start) AS CHAR), SUM(event_count), SUM(value_sum), SUM(value_count), MIN(value_min), MAX(value_max)
FROM analytics.`+view+` GROUP BY 1, 2 ORDER BY 1, 2`)
	}
	minutes := sums("counts_per_minute")
	for _, view := range []string{"counts_per_hour", "counts_per_day"} {
		if diff := gocmp.Diff(minutes, sums(view)); diff != "" {
			t.Errorf("minutes and %s (-want +got):\n%s", view, diff)
		}
	}
}
