package reader

import "github.com/quipudb/quipu/wire"

// lookup is one question to one source: keys of one type over one span.
type lookup struct {
	kind string
	span span
	keys []string
	// of lists, by place in keys, the queries that the key answers: the functions asked of it.
	of [][]int
}

// planLookups decides what to ask to answer the queries: each key of a type and span once, however many functions of it
// are wanted, in questions that the shards accept. It is pure. Where the rows of a range are, in which table or in cold storage, is for the
// shards to say, from the snapshot that they answer from.
func planLookups(queries []query, skip func(int) bool) []*lookup {
	if len(queries) == 1 && !skip(0) {
		q := &queries[0]
		return []*lookup{{kind: q.kind.Name, span: q.span, keys: []string{q.key}, of: [][]int{{0}}}}
	}
	type place struct {
		kind string
		span span
	}
	var out []*lookup
	open := map[place]*lookup{}
	seen := map[place]map[string]keyPlace{}
	for i, q := range queries {
		if skip(i) {
			continue
		}
		at := place{q.kind.Name, q.span}
		if seen[at] == nil {
			seen[at] = map[string]keyPlace{}
		}
		if k, ok := seen[at][q.key]; ok {
			k.in.of[k.at] = append(k.in.of[k.at], i)
			continue
		}
		l := open[at]
		if l == nil || len(l.keys) == maxKeys(q.span) {
			l = &lookup{kind: at.kind, span: at.span}
			open[at] = l
			out = append(out, l)
		}
		seen[at][q.key] = keyPlace{l, len(l.keys)}
		l.keys = append(l.keys, q.key)
		l.of = append(l.of, []int{i})
	}
	return out
}

type keyPlace struct {
	in *lookup
	at int
}

// maxKeys is how many keys fit in one question over a span.
func maxKeys(s span) int {
	return max(1, min(wire.MaxKeysPerStats, wire.MaxPointsPerStats/int(s.points())))
}

func (l *lookup) request(m manner, validators []string) *wire.StatsRequest {
	return &wire.StatsRequest{
		Type: l.kind, Keys: l.keys, From: l.span.from, To: l.span.to, Step: l.span.step, Explain: m.explain, MinAsOf: m.minAsOf,
		Validators: validators,
	}
}
