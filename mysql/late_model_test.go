package mysql_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/mysql"
	"github.com/quipudb/quipu/testkit"
)

var resolutions = []string{"minute", "hour", "day"}

// INV-5, INV-6: events of any age, roll-ups, freezes, archiving, late rounds, merges, restores and drops in any order, some at the same time; every answer
// with its cold parts is the model's.
func TestArchiveAgainstModel(t *testing.T) {
	sequences(t, "20")
	b := rollupBench(t)
	store := newColdStore(b.servers.Primary.Root())
	sequence := 0
	ranks := &rankings{archive: true}
	rapid.Check(t, func(rt *rapid.T) {
		sequence++
		n := func(limit int) int { return rapid.IntRange(0, limit-1).Draw(rt, "n") }
		m := &rollupRun{b: b, t: rt, l: b.newLedger(t, 3), n: n, ranks: ranks}
		m.l.kind = fmt.Sprint("kind-", sequence) // a ranking is of all keys of a type
		m.l.store = store
		for i := range 12 {
			m.keys = append(m.keys, fmt.Sprintf("s%d-k%d", sequence, i))
		}
		m.claim()
		act := func(do func(resolution string) error) func(*rapid.T) {
			return func(*rapid.T) { m.must(do(resolutions[n(3)])) }
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(*rapid.T) { m.apply() }, "step": func(*rapid.T) { m.step() }, "day": func(*rapid.T) { m.day() },
			"freeze": act(store.freeze), "freeze and apply": func(*rapid.T) { m.beside(func() error { return store.freeze(resolutions[n(3)]) }) },
			"archive": act(func(r string) error { return store.commitFrozen(r, int64(1+n(3))) }),
			"seal":    act(store.seal), "archive late": act(store.commitLate), "merge": act(store.merge), "drop": act(store.drop),
			"restore": act(func(r string) error { return store.restore(r, int64(1+n(4)), int64(1+n(3))) }), "": func(*rapid.T) { m.read() },
		})
	})
	ranks.report(t)
}

// sequences sets how many a test draws, unless that was asked for.
func sequences(t *testing.T, n string) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == checks.DefValue {
		t.Cleanup(func() { _ = checks.Value.Set(before) })
		if err := checks.Value.Set(n); err != nil {
			t.Fatal(err)
		}
	}
}

// day rolls up to the end of the next day, as long as there are days.
func (m *rollupRun) day() {
	if m.around() < minute(0, 0)+90*day {
		m.lead.Until = max(m.lead.Until, m.around()+day)
	}
	for {
		done, err := stepRollup(context.Background(), m.b.primary, m.lead)
		m.must(err)
		if done.Action == mysql.RollupIdle {
			return
		}
	}
}

// beside applies rows while something else goes on.
func (m *rollupRun) beside(other func() error) {
	rows := m.rows()
	var wg sync.WaitGroup
	var applied, done error
	wg.Go(func() { applied = m.l.apply(context.Background(), m.b.primary, rows) })
	wg.Go(func() { done = other() })
	wg.Wait()
	m.must(errors.Join(applied, done))
}

// hesitate lets time pass before each statement, so that what a call takes for one instant is stretched over several.
func hesitate(c *mysql.Config) {
	c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		return hesitant{conn}, err
	}
}

type hesitant struct{ net.Conn }

func (h hesitant) Write(b []byte) (int, error) {
	time.Sleep(rand.N(40 * time.Millisecond))
	return h.Conn.Write(b)
}

// INV-5: readers of the primary and of its replica, which never pause, while two writers send late and young rows, the roll-up goes on, and days are frozen,
// archived and dropped right behind it.
func TestReadersDuringArchiving(t *testing.T) {
	b := rollupBench(t)
	store := newColdStore(b.servers.Primary.Root())
	var around atomic.Int64
	around.Store(minute(10, 30))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var answers, colds, applied atomic.Int64
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
	b.servers.AwaitReplica(t)
	readers := []*mysql.DB{b.read, pool(t, b.servers.Replica, local.AccountRead, nil)}
	for _, db := range []*testkit.Database{b.servers.Primary, b.servers.Replica} {
		readers = append(readers, pool(t, db, local.AccountRead, hesitate))
	}
	ranks := &rankings{archive: true}
	ledgers := []*ledger{b.newLedger(t, 3), b.newLedger(t, 4)}
	for i, l := range ledgers {
		l.store = store
		keys := make([]string, 12)
		for i := range keys {
			keys[i] = fmt.Sprintf("p%d-k%d", l.partition, i)
		}
		for _, read := range []*mysql.DB{readers[i], readers[i+2]} {
			background(func(n func(int) int) error {
				return ranks.check(ctx, read, rankingQuestion(n, "view", around.Load()), ledgers...)
			})
		}
		background(func(n func(int) int) error {
			rows := make([]event.Row, 1+n(8))
			for i := range rows {
				rows[i] = row(n, keys, around.Load())
			}
			applied.Add(1)
			return l.apply(context.WithoutCancel(ctx), b.primary, rows)
		})
		for _, read := range readers {
			background(func(n func(int) int) error {
				from, to, step := question(n, around.Load())
				asked := keys
				if n(2) == 0 {
					asked = keys[n(len(keys)):][:1]
				}
				answers.Add(1)
				if from < around.Load()-2*day {
					colds.Add(1)
				}
				return l.check(ctx, read, asked, from, to, step)
			})
		}
	}
	lead := b.lead(t, "r1")
	lead.ChunkRows, lead.RankedKeys = 200, 3
	must := func(err error) {
		if err != nil && ctx.Err() == nil {
			t.Error(err)
			stop()
		}
	}
	for end := minute(24, 0); end <= minute(24, 0)+3*day && ctx.Err() == nil; end += day {
		lead.Until = end
		b.rollUpTo(ctx, t, lead, &around)
		for i, r := range resolutions {
			must(store.freeze(r))
			if i == 2 && end < minute(24, 0)+day {
				continue // days stay longer
			}
			must(store.commitFrozen(r, 100))
			must(store.drop(r))
			must(store.seal(r))
			must(store.commitLate(r))
			must(store.restore(r, 2, 1))
		}
	}
	stop()
	wg.Wait()
	for _, table := range []string{"minute_counts", "hour_counts"} {
		if n := b.count(t, "SELECT COUNT(*) FROM information_schema.partitions WHERE table_schema = 'quipu' AND table_name = ? AND partition_name = 'before_time'", table); n != 0 && !t.Failed() {
			t.Errorf("no time partition of %s was dropped", table)
		}
	}
	ranks.report(t)
	t.Logf("%d answers, %d of them of old times, during %d flushes", answers.Load(), colds.Load(), applied.Load())
}
