package reader_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/wire"
)

const (
	partitions = 16
	shards     = 2
)

// ledger is a model of the fleet behind the cluster proxies: it keeps every event and adds up on demand.
type ledger struct {
	mu      sync.Mutex // guards all below
	events  []event.Event
	asOf    int64
	onAsk   func(*ledger)        // called with mu held before each question
	fail    error                // every question's error
	missing map[string]wire.Code // shards that don't answer
	stale   bool                 // labels answers
	others  int64                // what a key that rankings left out may count
	// What a ranking is refused with.
	unranked error
	titles   map[string]wire.KeyInfo // by key
	asked    []*wire.StatsRequest
	// validates has answers of closed ranges carry validators; touches are all events there ever were, for that.
	validates bool
	touches   []event.Event
	vault     *vault // where events went that are no more in the ledger; nil: nowhere
}

func (l *ledger) add(events ...event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if e.Weight == 0 {
			e.Weight = 1
		}
		l.events = append(l.events, e)
		l.touches = append(l.touches, e)
	}
}

// validator tells how many events a closed range of a key has had; "" if it isn't closed.
func (l *ledger) validator(r *wire.StatsRequest, key string) string {
	if !l.validates || r.To*60_000+120_000 > l.asOf {
		return ""
	}
	n := 0
	for _, e := range l.touches {
		if minute := event.MinuteOf(e.TimeMs); e.Type == r.Type && e.Key == key && minute >= r.From && minute < r.To {
			n++
		}
	}
	return "v" + strconv.Itoa(n)
}

func (l *ledger) set(change func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledger) requests() []*wire.StatsRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

func shardOf(partition int) string { return "s" + strconv.Itoa(1+partition*shards/partitions) }

// provenance describes an answer that needs these partitions.
func (l *ledger) provenance(needed map[int]bool) wire.Provenance {
	p := wire.Provenance{Stale: l.stale}
	lost, used := map[string][]int{}, map[string]bool{}
	for n := range partitions {
		shard := shardOf(n)
		if !needed[n] {
			continue
		}
		p.Coverage.Partitions++
		if _, ok := l.missing[shard]; ok {
			lost[shard] = append(lost[shard], n)
			continue
		}
		p.Coverage.Answered++
		p.AsOf = l.asOf
		if !used[shard] {
			used[shard] = true
			p.Sources = append(p.Sources, wire.Source{Shard: shard, Database: shard + "-b", Role: "replica", Resolution: "minute+hour+day", AsOf: l.asOf})
		}
	}
	for shard, list := range lost {
		p.Coverage.Missing = append(p.Coverage.Missing, wire.Missing{Shard: shard, Partitions: list, Code: l.missing[shard], Detail: "dial tcp 10.1.2.3:3306: refused"})
	}
	return p
}

func (l *ledger) begin() error {
	if l.onAsk != nil {
		l.onAsk(l)
	}
	return l.fail
}

// Stats leaves out the keys of missing partitions, as the cluster proxy does.
func (l *ledger) Stats(_ context.Context, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r)
	if err := l.begin(); err != nil {
		return nil, err
	}
	needed, out := map[int]bool{}, &wire.StatsAnswer{Keys: []wire.KeyStats{}}
	told := map[int]bool{} // partitions of which points are told
	for i, key := range r.Keys {
		partition := cluster.Partition(r.Type, key, partitions)
		needed[partition] = true
		if _, ok := l.missing[shardOf(partition)]; ok {
			continue
		}
		validator := l.validator(r, key)
		if i < len(r.Validators) && validator != "" && r.Validators[i] == validator {
			out.Keys = append(out.Keys, wire.KeyStats{Key: key, Known: true, Unchanged: true, Validator: validator})
			continue
		}
		stats := l.keyStats(r, key)
		stats.Validator = validator
		told[partition] = true
		out.Keys = append(out.Keys, stats)
	}
	out.Provenance = l.provenance(needed)
	if len(told) == 0 {
		for i := range out.Sources {
			out.Sources[i].Role, out.Sources[i].Database, out.Sources[i].Resolution = wire.RoleCache, "", ""
		}
	}
	maps.DeleteFunc(needed, func(n int, _ bool) bool { return !told[n] })
	if l.vault != nil {
		maps.DeleteFunc(needed, func(n int, _ bool) bool { _, lost := l.missing[shardOf(n)]; return lost })
		out.Cold = l.vault.parts(r, needed)
	}
	before := l.coldBefore()
	for i := range out.Sources {
		s := &out.Sources[i]
		if r.To <= before {
			s.Resolution = "late"
		}
		for _, piece := range []wire.PlanSegment{{Place: wire.PlaceLate, From: r.From, To: min(r.To, before)}, {Place: wire.PlaceHot, From: max(r.From, before), To: r.To}} {
			if piece.Shard, piece.Database, piece.Resolution = s.Shard, s.Database, "minute"; r.Explain && piece.From < piece.To {
				out.Plan = append(out.Plan, piece)
			}
		}
	}
	return out, nil
}

func (l *ledger) coldBefore() int64 {
	if l.vault == nil {
		return 0
	}
	return l.vault.before
}

func unit(step wire.Step) int64 {
	return map[wire.Step]int64{wire.StepNone: 1 << 40, wire.StepMinute: 1, wire.StepHour: 60, wire.StepDay: 1440}[step]
}

func (l *ledger) keyStats(r *wire.StatsRequest, key string) wire.KeyStats {
	cells := map[int64]*event.Aggregate{}
	if r.Step == wire.StepNone {
		cells[r.From] = new(event.NewAggregate())
	}
	for _, e := range l.events {
		minute := event.MinuteOf(e.TimeMs)
		if e.Type != r.Type || e.Key != key || minute < r.From || minute >= r.To {
			continue
		}
		start := r.From + (minute-r.From)/unit(r.Step)*unit(r.Step)
		if cells[start] == nil {
			cells[start] = new(event.NewAggregate())
		}
		cells[start].AddEvent(e.Weight, e.Value, e.HasValue)
	}
	out := wire.KeyStats{Key: key, Points: []wire.Point{}}
	for start, a := range cells {
		out.Known = true
		out.Points = append(out.Points, wire.Point{Start: start, Count: a.Count, ValueCount: a.ValueCount, HasValues: a.HasValues, Sum: a.Sum, Min: a.Min, Max: a.Max})
	}
	slices.SortFunc(out.Points, func(a, b wire.Point) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

func (l *ledger) Top(_ context.Context, r *wire.TopRequest) (*wire.TopAnswer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.begin(); err != nil {
		return nil, err
	}
	if l.unranked != nil {
		return nil, l.unranked
	}
	sums, needed := map[string]int64{}, map[int]bool{}
	for p := range partitions {
		needed[p] = true
	}
	for _, e := range l.events {
		minute := event.MinuteOf(e.TimeMs)
		_, lost := l.missing[shardOf(cluster.Partition(e.Type, e.Key, partitions))]
		if e.Type == r.Type && minute >= r.From && minute < r.To && !lost {
			sums[e.Key] += e.Weight
		}
	}
	out := &wire.TopAnswer{Exact: true, Provenance: l.provenance(needed), Entries: []wire.TopEntry{}}
	for key, n := range sums {
		if n <= 0 {
			continue
		}
		out.Entries = append(out.Entries, wire.TopEntry{Key: key, Point: wire.Point{Start: r.From, Count: n}})
	}
	slices.SortFunc(out.Entries, func(a, b wire.TopEntry) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	if len(out.Entries) > r.N {
		out.Others, out.Entries = out.Entries[r.N].Count, out.Entries[:r.N]
	}
	if l.others > out.Others {
		out.Others, out.Exact = l.others, false
	}
	return out, nil
}

func (l *ledger) LookupKey(_ context.Context, r *wire.KeyRequest) (*wire.KeyInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.begin(); err != nil {
		return nil, err
	}
	info := l.titles[r.Key]
	partition := cluster.Partition(r.Type, r.Key, partitions)
	info.Type, info.Key, info.Partition, info.Shard = r.Type, r.Key, partition, shardOf(partition)
	if code, ok := l.missing[info.Shard]; ok {
		return nil, wire.NewProblem(code, "shard %s does not answer", info.Shard)
	}
	for _, e := range l.events {
		info.Known = info.Known || (e.Type == r.Type && e.Key == r.Key)
	}
	info.Provenance = l.provenance(map[int]bool{partition: true})
	return &info, nil
}
