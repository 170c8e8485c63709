package cold

import (
	"context"
	"sync/atomic"

	"github.com/quipudb/quipu/wire"
)

// take gets segments of one object: from memory, from another question that reads them, or from the object.
type take struct {
	object wire.ColdObject
	kind   string
	spend  func(int64) error

	got     map[string]*segment // by key
	lookups int                 // of the object, by this take
	bytes   atomic.Int64        // read by them
}

// run returns nil when it has got every key. What it has got before an error stays.
func (t *take) run(ctx context.Context, s *Storage, keys []string) error {
	for {
		wanted := t.fromMemory(s, keys)
		if len(wanted) == 0 {
			return nil
		}
		theirs, mine := s.flights.claim(wanted)
		if err := t.lead(ctx, s, mine); err != nil {
			return err
		}
		again, err := t.follow(ctx, s, theirs)
		if err != nil || !again {
			return err
		}
	}
}

// fromMemory takes what the cache has and names the rest.
func (t *take) fromMemory(s *Storage, keys []string) []segmentName {
	var wanted []segmentName
	for _, key := range keys {
		if t.got[key] != nil {
			continue
		}
		name := segmentName{t.object.Object, t.kind, key}
		have, ok := s.cache.get(name)
		if !ok {
			wanted = append(wanted, name)
			continue
		}
		t.got[key] = have
		s.metrics.segments.WithLabelValues(fromMemory).Inc()
	}
	return wanted
}

// lead reads segments for this and every other question that waits for them.
func (t *take) lead(ctx context.Context, s *Storage, mine map[segmentName]*flight) (err error) {
	if len(mine) == 0 {
		return nil
	}
	segments := make(map[segmentName]*segment, len(mine))
	defer func() { s.flights.land(mine, segments, err) }()
	l := &Lookup{Object: t.object, Type: t.kind, Spend: func(bytes int64) error {
		if err := t.spend(bytes); err != nil {
			return err
		}
		t.bytes.Add(bytes)
		return nil
	}}
	for name := range mine {
		l.Keys = append(l.Keys, name.key)
	}
	rows, err := s.lookup(ctx, l)
	if err != nil {
		return err
	}
	t.lookups++
	for name := range mine {
		own := &segment{rows: rows[name.key]}
		segments[name], t.got[name.key] = own, own
		s.cache.add(name, own)
	}
	s.metrics.segments.WithLabelValues(fromObject).Add(float64(len(mine)))
	return nil
}

// follow waits for what others read. Again says that one of them gave up for reasons of its own.
func (t *take) follow(ctx context.Context, s *Storage, theirs map[segmentName]*flight) (again bool, err error) {
	for name, other := range theirs {
		got, failure := other.wait(ctx)
		switch {
		case failure == nil:
			t.got[name.key] = got
			s.metrics.segments.WithLabelValues(fromAnother).Inc()
		case ctx.Err() == nil && ofLeader(failure):
			again = true
		default:
			err = failure
		}
	}
	return again, err
}

// empty tells whether the object has nothing of the keys.
func (t *take) empty() bool {
	for _, s := range t.got {
		if len(s.rows) > 0 {
			return false
		}
	}
	return len(t.got) > 0
}
