package reader_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

const (
	minutesOfDay = 24 * 60
	groups       = 4         // of partitions, by their number modulo this
	objectBytes  = 3_481_502 // of each object
	readBytes    = 327_680   // of an object for a key
)

// vault is a model of cold storage: objects of minutes, by day and group of partitions.
type vault struct {
	mu      sync.Mutex // guards all below
	before  int64      // minutes before it are here, but for what came late
	objects map[string]*shelved
	written int
	fail    error                       // of every read
	onRead  func(context.Context) error // called without mu
	lookups int
}

type shelved struct {
	wire.ColdObject
	rows map[[2]string][]cold.Row // by type and key
	lost error
}

func (v *vault) set(change func(*vault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vault) Lookup(ctx context.Context, l *cold.Lookup) (map[string][]cold.Row, error) {
	v.mu.Lock()
	v.lookups++
	object, err, onRead := v.objects[l.Object.Object], v.fail, v.onRead
	v.mu.Unlock()
	if onRead != nil {
		if err := onRead(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read https://10.1.2.3/%s: %w", l.Object.Object, err)
	case object == nil:
		return nil, fmt.Errorf("read https://10.1.2.3/%s: %w", l.Object.Object, cold.ErrMissing)
	case object.lost != nil:
		return nil, fmt.Errorf("read https://10.1.2.3/%s: %w", l.Object.Object, object.lost)
	}
	if err := l.Spend(readBytes); err != nil {
		return nil, err
	}
	found := map[string][]cold.Row{}
	for _, key := range l.Keys {
		if rows := object.rows[[2]string{l.Type, key}]; rows != nil {
			found[key] = rows
		}
	}
	return found, nil
}

// archive moves what the ledger has before an instant (the start of a day) to objects; a second time, what came late for the first ones.
func (l *ledger) archive(v *vault, before int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	l.vault, v.before = v, max(v.before, before)
	fresh := map[[2]int64]*shelved{}
	l.events = slices.DeleteFunc(l.events, func(e event.Event) bool {
		minute := event.MinuteOf(e.TimeMs)
		if minute >= v.before {
			return false
		}
		partition := cluster.Partition(e.Type, e.Key, partitions)
		at := [2]int64{minute / minutesOfDay, int64(partition % groups)}
		if fresh[at] == nil {
			fresh[at] = v.newObject(at)
		}
		fresh[at].add(partition, minute, &e)
		return true
	})
}

func (v *vault) newObject(at [2]int64) *shelved {
	if v.objects == nil {
		v.objects = map[string]*shelved{}
	}
	v.written++
	o := &shelved{rows: map[[2]string][]cold.Row{}}
	o.Object = fmt.Sprintf("resolution=minute/date=%d/group-%d-%d.parquet", at[0], at[1], v.written)
	o.From, o.To, o.Bytes = at[0]*minutesOfDay, (at[0]+1)*minutesOfDay, objectBytes
	v.objects[o.Object] = o
	return o
}

func (o *shelved) add(partition int, minute int64, e *event.Event) {
	name := [2]string{e.Type, e.Key}
	rows := o.rows[name]
	at, ok := slices.BinarySearchFunc(rows, minute, func(r cold.Row, minute int64) int { return cmp.Compare(r.Start, minute) })
	if !ok {
		rows = slices.Insert(rows, at, cold.Row{Partition: partition, Start: minute, Aggregate: event.NewAggregate()})
	}
	rows[at].AddEvent(e.Weight, e.Value, e.HasValue)
	o.rows[name], o.Rows = rows, o.Rows+1
	if !slices.Contains(o.Partitions, partition) {
		o.Partitions = append(o.Partitions, partition)
	}
}

// compact replaces the objects of each day and group by one.
func (v *vault) compact() {
	v.mu.Lock()
	defer v.mu.Unlock()
	merged := map[[2]int64]*shelved{}
	for _, name := range slices.Sorted(maps.Keys(v.objects)) {
		old := v.objects[name]
		at := [2]int64{old.From / minutesOfDay, int64(old.Partitions[0] % groups)}
		if merged[at] == nil {
			merged[at] = v.newObject(at)
		}
		merged[at].take(old)
		delete(v.objects, name)
	}
}

func (o *shelved) take(old *shelved) {
	for _, p := range old.Partitions {
		if !slices.Contains(o.Partitions, p) {
			o.Partitions = append(o.Partitions, p)
		}
	}
	for name, rows := range old.rows {
		o.rows[name] = append(slices.Clone(o.rows[name]), rows...) // two rows of one minute are as good as their sum
	}
}

// parts says what a question is about that is in objects.
func (v *vault) parts(r *wire.StatsRequest, needed map[int]bool) []wire.ColdPart {
	v.mu.Lock()
	defer v.mu.Unlock()
	from, to := max(r.From, 0), min(r.To, v.before)
	if from >= to {
		return nil
	}
	parts := map[string]*wire.ColdPart{}
	for partition := range needed {
		shard := shardOf(partition)
		if parts[shard] == nil {
			parts[shard] = &wire.ColdPart{Shard: shard, Resolution: "minute", From: from, To: to, Objects: []wire.ColdObject{}}
		}
		parts[shard].Partitions = append(parts[shard].Partitions, partition)
	}
	var out []wire.ColdPart
	for _, shard := range slices.Sorted(maps.Keys(parts)) {
		p := parts[shard]
		slices.Sort(p.Partitions)
		for _, name := range slices.Sorted(maps.Keys(v.objects)) {
			o := v.objects[name].ColdObject
			o.Partitions = slices.DeleteFunc(slices.Clone(o.Partitions), func(n int) bool { return !slices.Contains(p.Partitions, n) })
			if len(o.Partitions) > 0 && o.From < p.To && o.To > p.From {
				p.Objects = append(p.Objects, o)
			}
		}
		out = append(out, *p)
	}
	return out
}

// withVault lets a reader read from a vault.
func withVault(t testing.TB, v *vault, more func(*reader.Config)) func(*reader.Config) {
	t.Helper()
	return func(c *reader.Config) {
		storage, err := cold.New(cold.Config{
			Files: v, Parallel: 4, CacheBytes: 1 << 20, Registerer: c.Registry, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Cold = storage
		c.Partition = func(eventType, key string) (int, bool) { return cluster.Partition(eventType, key, partitions), true }
		if more != nil {
			more(c)
		}
	}
}
