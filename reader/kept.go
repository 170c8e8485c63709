package reader

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/quipudb/quipu/wire"
)

// keptKey is what a kept answer answers.
type keptKey struct {
	kind, key string
	from, to  int64
	step      wire.Step
}

// keptAnswer is a finished answer of a closed range: what cold storage holds of it is among the points. It never changes; whether it still holds, the shard tells by
// its validator.
type keptAnswer struct {
	points    []wire.Point
	validator string
	asOf      int64 // as of which it was last told to hold
	sources   []wire.Source
	size      int64
}

// About what a kept answer costs besides what it holds, and each of its points and sources.
const (
	keptOverhead = 512
	pointBytes   = 96
	sourceBytes  = 128
)

// kept are finished answers up to a bound of bytes; the least recently asked goes first. It is safe for concurrent use.
type kept struct {
	limit   int64
	metrics *metrics

	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[keptKey, *keptAnswer]
	bytes int64
}

func newKept(limit int64, m *metrics) *kept {
	k := &kept{limit: limit, metrics: m}
	k.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ keptKey, a *keptAnswer) { k.bytes -= a.size }) // fails on sizes below 1 only
	return k
}

// of returns what is kept of a lookup, by place; nil if nothing is.
func (k *kept) of(l *lookup) []*keptAnswer {
	if k.limit <= 0 {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []*keptAnswer
	for i, key := range l.keys {
		a, ok := k.lru.Get(l.keptKey(key))
		if !ok {
			continue
		}
		if found == nil {
			found = make([]*keptAnswer, len(l.keys))
		}
		found[i] = a
	}
	return found
}

// keep keeps an answer in place of another one, unless it is too large.
func (k *kept) keep(key keptKey, a keptAnswer) {
	a.size = keptOverhead + int64(len(key.key)+len(a.validator)+pointBytes*len(a.points)+sourceBytes*len(a.sources))
	if a.size > k.limit/8 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lru.Remove(key)
	for k.bytes+a.size > k.limit {
		k.lru.RemoveOldest()
		k.metrics.keptEvicted.Inc()
	}
	k.lru.Add(key, &a)
	k.bytes += a.size
	k.metrics.keptBytes.Set(float64(k.bytes))
	k.metrics.keptCount.Set(float64(k.lru.Len()))
}

func (l *lookup) keptKey(key string) keptKey {
	return keptKey{kind: l.kind, key: key, from: l.span.from, to: l.span.to, step: l.span.step}
}

// recall asks the shards, and takes from what is kept what they say is still the same; or, stale, of keys that nobody can be asked for. The answer's keys with points from
// there are those of the result.
func (r *Reader) recall(ctx context.Context, l *lookup, m manner) (*wire.StatsAnswer, map[string]bool, error) {
	var have []*keptAnswer
	if !m.explain {
		have = r.kept.of(l)
	}
	var validators []string
	if m.minAsOf != nothingKept {
		validators = validatorsOf(have)
	}
	answer, err := r.stats(ctx, l, m, validators)
	if have == nil {
		return answer, nil, err
	}
	if err != nil {
		if answer = r.withoutShards(l, have, err); answer == nil {
			return nil, nil, err
		}
	}
	recalled := map[string]bool{}
	byKey := make(map[string]*keptAnswer, len(have))
	for i, a := range have {
		if a != nil {
			byKey[l.keys[i]] = a
		}
	}
	var sources []wire.Source
	for i := range answer.Keys {
		k := &answer.Keys[i]
		a := byKey[k.Key]
		switch {
		case k.Unchanged && a != nil:
			k.Points, recalled[k.Key] = a.points, true
			sources = append(sources, a.sources...)
			again := *a
			again.asOf, again.validator = max(a.asOf, answer.AsOf), cmp.Or(k.Validator, a.validator)
			r.kept.keep(l.keptKey(k.Key), again)
			r.metrics.keptTold("unchanged")
		case a != nil:
			r.metrics.keptTold("changed")
		}
	}
	nameSources(answer, sources)
	r.fillGaps(l, answer, byKey, recalled)
	if err != nil && answer.Coverage.Answered == 0 {
		return nil, nil, err
	}
	return answer, recalled, nil
}

func validatorsOf(have []*keptAnswer) []string {
	if have == nil {
		return nil
	}
	out := make([]string, len(have))
	for i, a := range have {
		if a != nil {
			out[i] = a.validator
		}
	}
	return out
}

// nameSources names the tables of sources of which a shard told nothing but that the answer is still the same.
func nameSources(answer *wire.StatsAnswer, of []wire.Source) {
	for i := range answer.Sources {
		s := &answer.Sources[i]
		if s.Role != wire.RoleCache || s.Database != "" {
			continue
		}
		for _, was := range of {
			if was.Shard == s.Shard {
				s.Database, s.Resolution = was.Database, was.Resolution
				break
			}
		}
	}
}

// withoutShards is the answer to a lookup that nobody answered, before anything kept is filled in; nil if that would be of no use.
func (r *Reader) withoutShards(l *lookup, have []*keptAnswer, err error) *wire.StatsAnswer {
	problem := public(err)
	if !absence(problem.Code) {
		return nil
	}
	var partitions []int
	for _, key := range l.keys {
		partition, known := r.partition(l.kind, key)
		if !known {
			return nil
		}
		partitions = append(partitions, partition)
	}
	slices.Sort(partitions)
	partitions = slices.Compact(partitions)
	answer := &wire.StatsAnswer{}
	answer.Coverage = wire.Coverage{Partitions: len(partitions), Missing: []wire.Missing{{Partitions: partitions, Code: problem.Code, Detail: problem.Detail}}}
	return answer
}

// absence tells whether a problem is that of a shard which can't be asked now.
func absence(code wire.Code) bool {
	return code == wire.CodeUnavailable || code == wire.CodeDeadline || code == wire.CodeOverloaded
}

// fillGaps answers with what is kept for partitions that could not be asked, if it is kept for each of their keys.
func (r *Reader) fillGaps(l *lookup, answer *wire.StatsAnswer, byKey map[string]*keptAnswer, recalled map[string]bool) {
	gaps := map[int]bool{}
	for _, m := range answer.Coverage.Missing {
		for _, partition := range m.Partitions {
			gaps[partition] = absence(m.Code)
		}
	}
	if len(gaps) == 0 {
		return
	}
	keysOf := map[int][]string{}
	for _, key := range l.keys {
		partition, known := r.partition(l.kind, key)
		if !known {
			return
		}
		keysOf[partition] = append(keysOf[partition], key)
	}
	filled := map[int]bool{}
	for partition, fillable := range gaps {
		if !fillable || slices.ContainsFunc(keysOf[partition], func(key string) bool { return byKey[key] == nil }) {
			continue
		}
		filled[partition] = true
		for _, key := range keysOf[partition] {
			fillWith(answer, key, byKey[key])
			recalled[key] = true
			r.metrics.keptTold("stale")
		}
	}
	dropFilled(&answer.Coverage, filled)
}

// fillWith adds a kept answer of which nobody can say whether it still holds.
func fillWith(answer *wire.StatsAnswer, key string, a *keptAnswer) {
	if answer.AsOf == 0 || a.asOf < answer.AsOf {
		answer.AsOf = a.asOf
	}
	answer.Stale = true
	answer.Keys = append(answer.Keys, wire.KeyStats{Key: key, Known: true, Points: a.points})
	for _, s := range a.sources {
		s.Role, s.AsOf = wire.RoleCache, a.asOf
		answer.Sources = append(answer.Sources, s)
	}
}

// dropFilled takes partitions off those that are missing.
func dropFilled(c *wire.Coverage, filled map[int]bool) {
	c.Answered += len(filled)
	missing := c.Missing[:0:0]
	for _, m := range c.Missing {
		m.Partitions = slices.DeleteFunc(slices.Clone(m.Partitions), func(partition int) bool { return filled[partition] })
		if len(m.Partitions) > 0 {
			missing = append(missing, m)
		}
	}
	c.Missing = missing
}

// keepAll keeps what a told answer finished: keys that may be kept, with all that belongs to them.
func (r *Reader) keepAll(l *lookup, answer *told, recalled map[string]bool) {
	if r.kept.limit <= 0 || answer.plan != nil {
		return
	}
	var sources []wire.Source
	for _, s := range answer.Sources {
		if s.Role != wire.RoleCold {
			sources = append(sources, s)
		}
	}
	for i := range answer.Keys {
		k := &answer.Keys[i]
		if k.Validator == "" || recalled[k.Key] || answer.failed[k.Key] != nil || answer.lacking[k.Key] || !l.span.fits(k.Points) {
			continue
		}
		r.kept.keep(l.keptKey(k.Key), keptAnswer{points: k.Points, validator: k.Validator, asOf: answer.AsOf, sources: sources})
	}
}
