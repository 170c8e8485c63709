package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quipudb/quipu/blob/countfile"
	"github.com/quipudb/quipu/rollup/shards"
	"github.com/quipudb/quipu/wire"
)

const (
	rowsPerCall  = 100_000
	writesAtOnce = 2
)

// errTooManyObjects says that a unit does not fit one commit.
var errTooManyObjects = errors.New("the rows need more objects than one commit takes")

// export reads rows of a shard and writes them to objects, which are announced beforehand.
//
//	shard ──portions by key──► bins (day, group) ──full──────────► object
//	                             │ all of them together too large     ▲
//	                             └─────────► files on this disk ──────┘
//
// So there are as few objects as can be, with memory for the rows of one object being gathered and of those being written.
func (l *lead) export(ctx context.Context, request wire.ArchiveRowsRequest) ([]wire.ArchiveObject, error) {
	group, ctx := errgroup.WithContext(ctx)
	portions := make(chan []wire.ArchiveRow)
	group.Go(func() error {
		defer close(portions)
		return l.fetch(ctx, request, portions)
	})
	e := &exporter{lead: l, resolution: request.Resolution, bins: map[bin]*gathered{}, spill: spill{folder: l.cfg.SpillDir}}
	group.Go(func() error { return e.run(ctx, portions) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return e.objects, nil
}

// fetch asks for portions until there are no more.
func (l *lead) fetch(ctx context.Context, request wire.ArchiveRowsRequest, portions chan<- []wire.ArchiveRow) error {
	request.Rows = rowsPerCall
	for {
		begun := time.Now()
		portion, err := l.rows(ctx, &request)
		if err != nil {
			return fmt.Errorf("read %s rows: %w", request.Resolution, err)
		}
		took := time.Since(begun)
		if len(portion.Rows) > 0 {
			select {
			case portions <- portion.Rows:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if portion.NextKey == 0 {
			return nil
		}
		request.NextKey = portion.NextKey
		if err := shards.Rest(ctx, took, l.cfg.Pause); err != nil {
			return err
		}
	}
}

// exporter divides rows into objects. Its methods but put belong to one goroutine.
type exporter struct {
	*lead
	resolution string
	bins       map[bin]*gathered
	held       int // rows in bins
	named      int // objects so far
	spill      spill

	mu      sync.Mutex
	objects []wire.ArchiveObject
}

// gathered is what a bin has.
type gathered struct {
	rows    []countfile.Row
	spilled int // rows on disk that come before them
}

func (e *exporter) run(ctx context.Context, portions <-chan []wire.ArchiveRow) (err error) {
	defer func() { err = errors.Join(err, e.spill.close()) }()
	writes, writing := errgroup.WithContext(ctx)
	writes.SetLimit(writesAtOnce)
	err = e.gather(writing, writes, portions)
	if err == nil {
		err = e.finish(writing, writes)
	}
	if failed := writes.Wait(); failed != nil {
		return failed // which is why the rest ended, if it did
	}
	return err
}

func (e *exporter) gather(ctx context.Context, writes *errgroup.Group, portions <-chan []wire.ArchiveRow) error {
	for {
		select {
		case rows, ok := <-portions:
			if !ok {
				return ctx.Err()
			}
			for len(rows) > 0 {
				n := min(len(rows), e.cfg.FileRows-e.held)
				e.add(rows[:n])
				rows = rows[n:]
				if e.held < e.cfg.FileRows {
					continue
				}
				if err := e.relieve(ctx, writes); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *exporter) add(rows []wire.ArchiveRow) {
	var at bin
	var to *gathered
	for i := range rows {
		row := countfile.Row(rows[i])
		if b := e.binOf(&row); to == nil || b != at {
			if at, to = b, e.bins[b]; to == nil {
				to = &gathered{}
				e.bins[b] = to
			}
		}
		to.rows = append(to.rows, row)
	}
	e.held += len(rows)
}

// relieve makes room: one bin that has it all becomes an object, several wait on disk until they are complete.
func (e *exporter) relieve(ctx context.Context, writes *errgroup.Group) error {
	for b, g := range e.bins {
		if len(g.rows) < e.held {
			continue
		}
		rows := g.rows
		g.rows, e.held = make([]countfile.Row, 0, len(rows)), 0
		names, err := e.name(ctx, b, 1)
		if err != nil {
			return err
		}
		e.write(ctx, writes, names[0], b, rows)
		return ctx.Err()
	}
	for b, g := range e.bins {
		if err := e.spill.append(b, g.rows); err != nil {
			return err
		}
		g.spilled += len(g.rows)
		g.rows = nil
	}
	e.held = 0
	return ctx.Err()
}

// finish writes what was gathered, day by day. All of it is announced at once.
func (e *exporter) finish(ctx context.Context, writes *errgroup.Group) error {
	bins := slices.SortedFunc(maps.Keys(e.bins), func(a, b bin) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.group, b.group))
	})
	names := map[bin][]string{}
	var all []string
	for _, b := range bins {
		g := e.bins[b]
		some, err := e.names(b, (g.spilled+len(g.rows)+e.cfg.FileRows-1)/e.cfg.FileRows)
		if err != nil {
			return err
		}
		names[b], all = some, append(all, some...)
	}
	if err := e.intend(ctx, all); err != nil {
		return err
	}
	for _, b := range bins {
		if err := e.finishBin(ctx, writes, b, names[b]); err != nil {
			return err
		}
		delete(e.bins, b)
	}
	return nil
}

func (e *exporter) finishBin(ctx context.Context, writes *errgroup.Group, b bin, names []string) error {
	g := e.bins[b]
	rows := g.rows
	if g.spilled > 0 {
		rows = make([]countfile.Row, 0, min(e.cfg.FileRows, g.spilled+len(g.rows)))
	}
	take := func(some []countfile.Row) error {
		for len(some) > 0 {
			n := min(len(some), e.cfg.FileRows-len(rows))
			rows, some = append(rows, some[:n]...), some[n:]
			if len(rows) == e.cfg.FileRows {
				e.write(ctx, writes, names[0], b, rows)
				rows, names = nil, names[1:]
			}
		}
		return ctx.Err()
	}
	if g.spilled > 0 {
		if err := e.spill.read(b, take); err != nil {
			return err
		}
		if err := take(g.rows); err != nil {
			return err
		}
	}
	if len(rows) > 0 {
		e.write(ctx, writes, names[0], b, rows)
	}
	return ctx.Err()
}

// write waits until few enough objects are being written.
func (e *exporter) write(ctx context.Context, writes *errgroup.Group, name string, b bin, rows []countfile.Row) {
	writes.Go(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		object, err := e.put(ctx, name, e.meta(e.resolution, b.day), rows)
		if err != nil {
			return err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.objects = append(e.objects, object)
		return nil
	})
}

// name makes names and announces them.
func (e *exporter) name(ctx context.Context, b bin, n int) ([]string, error) {
	names, err := e.names(b, n)
	if err != nil {
		return nil, err
	}
	return names, e.intend(ctx, names)
}

func (e *exporter) names(b bin, n int) ([]string, error) {
	if e.named += n; e.named > wire.MaxArchiveObjects {
		return nil, errTooManyObjects
	}
	names := make([]string, n)
	for i := range names {
		var err error
		if names[i], err = e.newName(e.resolution, b); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// intend announces objects.
func (l *lead) intend(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := l.call(ctx, wire.PathArchiveIntend, &wire.ArchiveIntent{Leader: l.leader, Objects: names}, &wire.Done{}); err != nil {
		return fmt.Errorf("announce objects: %w", err)
	}
	return nil
}
