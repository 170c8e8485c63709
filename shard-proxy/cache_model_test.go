package shardproxy_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quipudb/quipu/event"
	shardproxy "github.com/quipudb/quipu/shard-proxy"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// state is what a partition had counted at one as-of, which no other state has.
type state struct {
	asOf   int64
	counts map[string]map[int64]int64 // by key and minute
}

// partitionModel is the history of a partition.
type partitionModel struct {
	partition int
	epoch     uint64
	next      uint64
	keys      []string
	states    []state
}

// cacheModel is two proxies of a shard and what they may answer.
type cacheModel struct {
	t          *rapid.T
	primary    *rig
	proxies    []*rig
	partitions []*partitionModel
	clock      int64 // of as-of
	minutes    []int64
	thaw       func()
}

func (m *cacheModel) n(limit int) int { return rapid.IntRange(0, limit-1).Draw(m.t, "n") }

// apply commits some rows, late and live, or a heartbeat without any.
func (m *cacheModel) apply() {
	p := m.partitions[m.n(len(m.partitions))]
	last := p.states[len(p.states)-1]
	now := state{asOf: 0, counts: map[string]map[int64]int64{}}
	for key, counts := range last.counts {
		now.counts[key] = map[int64]int64{}
		for minute, n := range counts {
			now.counts[key][minute] = n
		}
	}
	cells := map[string]wire.Row{}
	for range m.n(4) {
		key, minute, weight := p.keys[m.n(len(p.keys))], m.minutes[m.n(len(m.minutes))], int64(m.n(9)+1)
		name := fmt.Sprint(key, minute)
		row, ok := cells[name]
		if !ok {
			row = counted(key, weight)
			row.Minute = minute
		} else {
			row.AddEvent(weight, 0, false)
		}
		cells[name] = row
		if now.counts[key] == nil {
			now.counts[key] = map[int64]int64{}
		}
		now.counts[key][minute] += weight
	}
	m.clock = max(m.clock+1, time.Now().UnixMilli())
	now.asOf = m.clock
	a := request(p.epoch, p.next, p.next+1)
	a.Partition, a.AsOf = p.partition, now.asOf
	for _, row := range cells {
		a.Rows = append(a.Rows, row)
	}
	through := m.proxies[m.n(len(m.proxies))]
	err := through.apply(a)
	for wire.CodeOf(err) == wire.CodeTermChanged {
		err = through.apply(a)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	p.next++
	p.states = append(p.states, now)
}

// read compares an answer with the model. The as-of of one key names one state; that of several is the oldest of them.
func (m *cacheModel) read() *wire.StatsAnswer {
	from, to := m.minutes[m.n(len(m.minutes))], m.minutes[m.n(len(m.minutes))]
	if from > to {
		from, to = to, from
	}
	asked := map[string]*partitionModel{}
	var keys []string
	for range 1 + m.n(3) {
		p := m.partitions[m.n(len(m.partitions))]
		key := p.keys[m.n(len(p.keys))]
		asked[key] = p
		keys = append(keys, key)
	}
	answer, err := m.proxies[m.n(len(m.proxies))].ask(&wire.StatsRequest{Type: "view", Keys: keys, From: from, To: to + 1})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, k := range answer.Keys {
		m.compare(asked[k.Key], &k, from, to+1, answer, len(answer.Keys) == 1)
	}
	return answer
}

func (m *cacheModel) compare(p *partitionModel, k *wire.KeyStats, from, to int64, answer *wire.StatsAnswer, exact bool) {
	var possible []int64
	for _, s := range p.states {
		if s.asOf < answer.AsOf || exact && len(possible) > 0 {
			continue
		}
		if exact && s.asOf != answer.AsOf {
			m.t.Fatalf("no state of partition %d is as of %d", p.partition, answer.AsOf)
		}
		n := int64(0)
		for minute, count := range s.counts[k.Key] {
			if minute >= from && minute < to {
				n += count
			}
		}
		possible = append(possible, n)
	}
	for _, n := range possible {
		if k.Points[0].Count == n {
			return
		}
	}
	m.t.Fatalf("%s from %d to %d is %d as of %d from %+v; then and later it was %v", k.Key, from, to, k.Points[0].Count, answer.AsOf, answer.Sources, possible)
}

// steer has a proxy read from the replica or the primary.
func (m *cacheModel) steer() {
	r := m.proxies[m.n(len(m.proxies))]
	if m.n(2) == 0 {
		r.onlyFrom(shared.Primary)
		return
	}
	r.onlyFrom(shared.Replica)
}

// lag has the replica stop to apply, or go on.
func (m *cacheModel) lag(t *testing.T) {
	if m.thaw != nil {
		m.thaw()
		m.thaw = nil
		shared.AwaitReplica(t)
		return
	}
	shared.AwaitReplica(t)
	m.thaw = frozen(t, shared.Replica)
}

// follow waits until the proxies know of all that the primary has.
func (m *cacheModel) follow() {
	for _, r := range m.proxies {
		r.onlyFrom(shared.Primary)
		for _, p := range m.partitions {
			want := p.states[len(p.states)-1].asOf
			testkit.Eventually(r.t, patience, func() error {
				answer, err := r.ask(&wire.StatsRequest{Type: "view", Keys: p.keys[:1], From: m.minutes[0], To: m.minutes[0] + 1})
				if err == nil && answer.AsOf < want {
					err = fmt.Errorf("as of %d, want %d", answer.AsOf, want)
				}
				return err
			})
		}
	}
}

// §11.14, INV-8: whatever is applied through whichever proxy, and whichever database answers: each answer is what was counted at the as-of that it says.
func TestKeptAnswersAgainstModel(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == checks.DefValue {
		t.Cleanup(func() { _ = checks.Value.Set(before) })
		if err := checks.Value.Set("12"); err != nil {
			t.Fatal(err)
		}
	}
	r := caching(t, shared, func(cfg *shardproxy.Config) {
		cfg.MaxLag = time.Hour
		cfg.Cache.OpenFor, cfg.Cache.Revalidate = 30*time.Millisecond, 30*time.Millisecond
	})
	proxies := []*rig{r, r.sibling()}
	epochs := map[int]uint64{1: r.claim(1), 2: r.claim(2)}
	next := map[int]uint64{1: 1, 2: 1}
	clock, sequence := time.Now().UnixMilli(), 0
	nowMinute := event.MinuteOf(time.Now().UnixMilli())
	rapid.Check(t, func(rt *rapid.T) {
		sequence++
		m := &cacheModel{t: rt, primary: r, proxies: proxies, clock: clock, minutes: []int64{countedAt, countedAt + 1, countedAt + 5, nowMinute - 1, nowMinute}}
		for _, partition := range []int{1, 2} {
			p := &partitionModel{partition: partition, epoch: epochs[partition], next: next[partition]}
			for range 3 {
				p.keys = append(p.keys, keyOf(partition, rand.IntN(1000)+1000*sequence))
			}
			p.states = []state{{}}
			m.partitions = append(m.partitions, p)
		}
		for range 4 { // each partition has a state of its own to begin with
			m.apply()
		}
		for _, p := range m.partitions {
			if len(p.states) == 1 {
				p.states[0].asOf = clockOf(rt, r, p)
			} else {
				p.states = p.states[1:]
			}
		}
		defer func() {
			if m.thaw != nil {
				m.thaw()
			}
			shared.AwaitReplica(t)
			clock = m.clock
			for _, p := range m.partitions {
				next[p.partition] = p.next
			}
		}()
		shared.AwaitReplica(t)
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(*rapid.T) { m.apply() }, "apply more": func(*rapid.T) { m.apply() }, "read": func(*rapid.T) { m.read() }, "read again": func(*rapid.T) { m.read() },
			"steer": func(*rapid.T) { m.steer() }, "lag": func(*rapid.T) { m.lag(t) }, "follow": func(*rapid.T) { m.follow() },
			"promote": func(*rapid.T) { exec(t, shared.Primary, "UPDATE quipu.shard_state SET term = term + 1") },
			"":        func(*rapid.T) { m.read() },
		})
	})
	if r.metric("cache_answers_total", "hit")+proxies[1].metric("cache_answers_total", "hit") == 0 {
		t.Error("nothing was ever answered from what is kept")
	}
}

// clockOf returns the as-of of a partition that nothing was applied to.
func clockOf(t *rapid.T, r *rig, p *partitionModel) int64 {
	answer, err := r.ask(&wire.StatsRequest{Type: "view", Keys: p.keys[:1], To: 1, Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	return answer.AsOf
}
